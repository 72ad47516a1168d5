"""The trigger form: Airflow `Param`s made from the config classes' own field metadata, and back.

A field has the setting's name, that of the published scripts; see `field_names`. Every override can stay
empty: null means the preset's value, because a `Param` cannot distinguish a default from a typed value.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import Any, get_args

import yaml
from airflow.sdk import Param, get_parsing_context
from pydantic import TypeAdapter

from qarib_airflow.forms.fields import param, typed
from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.config.evaluation import TaskConfig
from qarib_tasks.config.loading import to_dict
from qarib_tasks.config.presets import PRESETS, deployed, overridden, resolve
from qarib_tasks.config.run import RunConfig
from qarib_tasks.config.training.recipe import REMOVED, log_removed
from qarib_tasks.errors import ConfigError, Faults
from qarib_tasks.layout import ID
from qarib_tasks.machines.chips import CHIPS, PRICES_OF
from qarib_tasks.runs.run import FirstStep
from qarib_tasks.tpu.api.client import is_emulator

SECTIONS = {
    "upload": "Where it publishes",
    "collect": "Corpus",
    "vocab": "Vocabulary",
    "split": "Shards",
    "convert": "Pre-training data",
    "model": "Model",
    "train": "Training",
    "evaluate": "Evaluation",
    "promotion": "Promotion",
    "tpu": "Where it trains",
}
# The task that the form is for.
READER = "preflight"
_PRESET_HELP = {
    "qarib": "the recipe that QARiB's authors published; needs your own sources and weeks on a TPU",
    "qarib_modern": "the recipe that we recommend: each text once, packed, at a higher rate; needs a TPU too",
    "demo": "the published recipe on the sample corpus, with a tiny model; takes minutes on two CPU cores",
    "demo_modern": "the same with the recipe that we recommend",
    "tpu_smoke": "checks a Google Cloud project: minutes on a TPU of one chip, for 2 US dollars at most. "
    "Your administrator's TPU type and limits do not count",
}
_PRESET_TITLES = {"qarib_modern": "QARiB modern", "demo": "Demo", "demo_modern": "Demo modern"}
_SOURCES_HELP = """The text to read: one path or address a line, for example

    /data/tweets/*.txt.gz
    gs://a-bucket/books/

or YAML or JSON, for example

    - name: tweets
      path: /data/tweets/*.txt.gz
      document: line

A source in YAML can have:

"""
_TASKS_HELP = """Files of texts with labels, as YAML or JSON, for example

    - name: sentiment
      train: /data/train.csv
      text: tweet
      label: sentiment

The run needs none. A task can have:

"""
# Settings that are lists of settings.
_LISTS = {"sources": (SourceConfig, _SOURCES_HELP), "tasks": (TaskConfig, _TASKS_HELP)}
# Google's names that the form proposes. The preflight asks Google which of them the project can use.
PROPOSED = {
    "accelerator_type": [
        *("v2-8", "v3-8", "v4-8", "v4-16", "v4-32"),
        *("v5litepod-1", "v5litepod-4", "v5litepod-8", "v5litepod-16", "v5litepod-32"),
        *("v5p-8", "v5p-16", "v6e-1", "v6e-4", "v6e-8", "v6e-16"),
    ],
    "zones": [
        *("us-central1-a", "us-central1-b", "us-central1-c", "us-central2-b", "us-east1-d", "us-east5-a"),
        *("us-east5-b", "us-west4-a", "europe-west4-a", "europe-west4-b", "asia-east1-c"),
    ],
}


def build_params() -> dict[str, Param]:
    """The fields of the form, in the order of the run: the preset, then one section per step."""
    params = {
        "preset": Param(
            None,
            type=["null", "string"],
            enum=[None, *PRESETS],
            title="Preset",
            description_md="The values of all fields that you keep empty. Empty: **qarib** if a bucket is "
            "set, here or by your administrator, otherwise **demo**.\n\n"
            + "\n".join(f"- **{name}**: {text}" for name, text in _PRESET_HELP.items()),
        ),
        "workspace": Param(
            None,
            type=["null", "string"],
            minLength=1,
            title="Workspace",
            section=SECTIONS["upload"],
            description="The folder for the run's files; every worker must have access to it. "
            "Empty: the Airflow Variable qarib_workspace, or the environment variable QARIB_WORKSPACE.",
        ),
    }
    params["dataset"] = Param(
        None,
        type=["null", "string"],
        pattern=f"^{ID}$",
        title="Use an existing dataset",
        section=SECTIONS["collect"],
        description="The dataset's name (dataset_id, for example qarib-0123456789). The run skips the steps "
        "before the first step and uses the dataset's settings for them. Empty: make a new dataset.",
    )
    params["first_step"] = Param(
        None,
        type=["null", "string"],
        enum=[None, *get_args(FirstStep)],
        title="First step",
        section=SECTIONS["collect"],
        description="For an existing dataset: train uses it as it is; convert first converts and uploads "
        "its missing shards. Empty: train with an existing dataset, collect without one.",
    )
    presets = preset_values()
    for key, (section, name) in field_names().items():
        values = {preset: presets[preset][section][name] for preset in PRESETS}
        params[key] = _param(name, settings()[section][name], SECTIONS[section], values)
    return params


@cache
def preset_values() -> dict[str, dict[str, Any]]:
    """The values of each preset, nested as in a config file."""
    return {name: to_dict(resolve({"preset": name, "workspace": "-"})) for name in PRESETS}


def params_in_use() -> dict[str, Param]:
    """The form, or nothing in the tasks that do not read it.

    Airflow validates every field in each task's process, which would cost a tenth of a second for each of a
    thousand shards.
    """
    return build_params() if get_parsing_context().task_id in (None, READER) else {}


@cache
def settings() -> dict[str, dict[str, dict[str, Any]]]:
    """The JSON schema of every setting, by config section and name."""
    schema = TypeAdapter(RunConfig).json_schema()
    classes = {section: schema["properties"][section]["$ref"].rpartition("/")[2] for section in SECTIONS}
    return {section: schema["$defs"][name]["properties"] for section, name in classes.items()}


@cache
def field_names() -> dict[str, tuple[str, str]]:
    """The section and the name of the setting of each field.

    Of settings of one name, the first section's field has it; the others' begin with their section, such as
    train_masked_lm_prob.
    """
    found: dict[str, tuple[str, str]] = {}
    for section, fields in settings().items():
        for name in fields:
            found[f"{section}_{name}" if name in found else name] = section, name
    return found


def _param(name: str, field: Mapping[str, Any], section: str, presets: Mapping[str, Any]) -> Param:
    if name in _LISTS:
        cls, text = _LISTS[name]
        schema = TypeAdapter(cls).json_schema()
        keys = schema["properties"].items()
        lines = [f"- **{key}**: {value.get('description') or value['title']}" for key, value in keys]
        items = {"type": "object", "required": schema["required"]}
        return param(field, section=section, description_md=text + "\n".join(lines), items=items)
    help_text = field.get("description", "")
    if name == "accelerator_type":
        prices = (f"{chip.name} {chip.spot:.2f} / {chip.on_demand:.2f}" for chip in CHIPS.values())
        help_text += f" US dollars per chip-hour as of {PRICES_OF}, spot / on demand: {', '.join(prices)}."
    if name == "bucket":
        help_text += " Empty: the Airflow Variable qarib_bucket, or the environment variable QARIB_BUCKET."
    elif section == SECTIONS["upload"]:
        help_text += f" Empty: {presets['qarib'] or 'none'}."
    else:
        help_text += _deployed(name) if section == SECTIONS["tpu"] else ""
        help_text += f" QARiB: {shown(presets['qarib'])}."
        for preset, title in _PRESET_TITLES.items():
            if presets[preset] != presets["qarib"]:
                help_text += f" {title}: {shown(presets[preset])}."
    # With examples the form shows a list to choose from; a text field also accepts any other text.
    choices = PROPOSED.get(name) or field.get("items", {}).get("enum")
    examples = {"examples": choices} if choices else {}
    return param(field, section=section, description=help_text.strip(), **examples)


def _deployed(name: str) -> str:
    """What an empty field of the section `tpu` means before the preset's value.

    Only the environment is read: the scheduler builds the form, and a Variable costs it a query.
    """
    try:
        values = yaml.safe_load(os.environ.get("QARIB_TPU", ""))
    except yaml.YAMLError:
        values = None
    here = values.get(name) if isinstance(values, dict) else None
    text = " Empty: the Airflow Variable qarib_tpu, or QARIB_TPU in the environment"
    text += f" (here {shown(here)})" if here is not None else ""
    if name == "machine" and is_emulator(None):
        text = f" Here, Cloud TPU is an emulator, a process on this machine, and costs nothing.{text}"
    return f"{text}; if neither sets it, the preset's value."


def shown(value: Any) -> str:
    """A setting's value as the forms show it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(one["name"] if isinstance(one, dict) else str(one) for one in value)
    if value is None or value == "":
        return "none"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def read_params(params: Mapping[str, Any], defaults: Mapping[str, Any]) -> RunConfig:
    """The settings that a filled-in form sets.

    Args:
        params: the form's values by name.
        defaults: the deployment's own, nested as in a config file; they override the preset, and the form
            overrides them.

    Raises:
        ConfigError: a name is not a setting, or a value is invalid. One error has all.
    """
    faults = Faults()
    values = read_values(params, defaults, faults)
    faults.raise_all()
    return resolve(values, where="trigger form")


def read_values(params: Mapping[str, Any], defaults: Mapping[str, Any], faults: Faults) -> dict[str, Any]:
    """The values that a filled-in form sets, nested as in a config file. `read_params` says what is what.

    Args:
        faults: of names that are no settings, and of what cannot be read; `where` of each is the field.
    """
    values: dict[str, Any] = {section: {} for section in SECTIONS}
    unknown = []
    for name, value in params.items():
        # The first two set which steps are skipped.
        if name in ("dataset", "first_step"):
            continue
        if name in REMOVED:
            log_removed(name)
            continue
        if name in ("preset", "workspace"):
            values[name] = value
        elif name not in field_names():
            unknown.append(name)
        else:
            section, setting = field_names()[name]
            with faults.kept():
                values[section][setting] = typed(settings()[section][setting], value, name)
    if unknown:
        with faults.kept():
            raise ConfigError(
                "unknown setting", where=", ".join(sorted(unknown)), do="Use the names of the trigger form"
            )
    if not values.get("preset"):
        has_bucket = values["upload"].get("bucket") or (defaults.get("upload") or {}).get("bucket")
        values["preset"] = "qarib" if has_bucket else "demo"
    return overridden(deployed(defaults, values["preset"]), values)
