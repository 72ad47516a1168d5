"""The view *New run*: its fields, made from the config classes, and answers to what is typed.

Nothing remote is read for an answer, except by `preview_of`, which one asks for. The run itself is started by
Airflow's own API, which checks whether the user may.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from qarib_airflow.forms.fields import choices_of, kind_of, typed
from qarib_airflow.forms.pretrain import (
    build_params,
    field_names,
    preset_values,
    read_values,
    settings,
    shown,
)
from qarib_airflow.preflight.deployment import allowed_places, allowed_sources, deployment_defaults
from qarib_airflow.preflight.pretrain import first_step_of
from qarib_tasks.config.corpus import CollectConfig, SourceConfig
from qarib_tasks.config.evaluation import TaskConfig
from qarib_tasks.config.loading import faults_of, from_dict, to_dict
from qarib_tasks.config.presets import all_values
from qarib_tasks.config.run import RunConfig
from qarib_tasks.config.typed import source_names
from qarib_tasks.corpus.allowed import require_no_secret
from qarib_tasks.corpus.sources import list_files
from qarib_tasks.errors import ConfigError, Faults, QaribError
from qarib_tasks.machines.planning.advice import advice
from qarib_tasks.machines.planning.estimate import Range
from qarib_tasks.machines.planning.options import Option, Plan, plan
from qarib_tasks.runs.disk_space import dataset_size, text_bytes

ESSENTIALS = ("preset", "sources", "bucket", "machine", "accelerator_type", "provisioning", "max_cost")
PREVIEW_SECONDS = 10.0
# Threads that wait for a server which does not answer are not ended, so there must not be many.
_PREVIEWS = threading.BoundedSemaphore(4)
_ROWS: dict[str, type] = {"sources": SourceConfig, "tasks": TaskConfig}


def form() -> dict[str, Any]:
    """The fields: name, title, help, section, kind, choices, and each preset's value as text."""
    values = preset_values()
    fields = []
    for name, param in build_params().items():
        schema = param.schema
        section, setting = field_names().get(name, ("", name))
        fields.append(
            {
                "name": name,
                "title": schema["title"],
                "help": param.description or schema.get("description_md", ""),
                "section": "" if name in ESSENTIALS else schema["section"],
                "kind": kind_of(_schema(name) or {**schema, "type": "string"}),
                "choices": [choice for choice in schema.get("enum", schema.get("examples", [])) if choice],
                "presets": {preset: shown(of[section][setting]) for preset, of in values.items()}
                if section
                else {},
                "fields": _row_fields(name) if name in _ROWS else [],
            }
        )
    order = {name: place for place, name in enumerate(ESSENTIALS)}
    fields.sort(key=lambda field: order.get(field["name"], len(order)))
    return {"fields": fields, "deployment": _deployment()}


def _schema(name: str) -> Mapping[str, Any] | None:
    """The schema of a field's setting; None for a field that is no setting."""
    if name not in field_names():
        return None
    section, setting = field_names()[name]
    return settings()[section][setting]


@cache
def _row_schema(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = TypeAdapter(_ROWS[name]).json_schema()
    return schema


def _row_fields(name: str) -> list[dict[str, Any]]:
    schema = _row_schema(name)
    return [
        {
            "name": key,
            "title": field["title"],
            "help": field.get("description", ""),
            "kind": kind_of(field),
            "choices": choices_of(field) if kind_of(field) in ("switch", "choice") else [],
            "required": key in schema["required"],
            "default": shown(field.get("default")) if key not in schema["required"] else "",
        }
        for key, field in schema["properties"].items()
    ]


def _deployment() -> dict[str, Any]:
    """What the deployment sets, to be shown in empty fields."""
    try:
        defaults = deployment_defaults()
    except ConfigError as error:
        return {"trouble": str(error)}
    return {"bucket": defaults["upload"]["bucket"] or "", "workspace": defaults["workspace"] or ""}


def values_of(conf: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The form's values that a run was triggered with, and the names of those that it does not have."""
    values: dict[str, Any] = {}
    lost: list[str] = []
    known = build_params()
    for name, value in conf.items():
        schema = _schema(name)
        if value in ("", None, []):
            continue
        if name not in known:
            lost.append(name)
            continue
        try:
            values[name] = typed(schema, value, name) if schema and name in _ROWS else value
        except ConfigError:
            lost.append(name)
        if name in _ROWS and not isinstance(values.get(name), list) and name not in lost:
            lost.append(name)
    return values, lost


def check(
    values: Mapping[str, Any], text: float | None = None, within: float | None = None
) -> dict[str, Any]:
    """Check what is typed as the preflight does, and plan the run.

    Args:
        values: the fields that are not empty, by name: texts, lists of texts, or lists of rows of texts.
        text: bytes of the sources, if they are known.
        within: hours in which the training should end.

    Returns:
        the faults by field. Without any: what Airflow is to be given, the value of every setting, and
        the plan.
    """
    found: list[dict[str, str]] = []
    conf = _conf(values, found)
    faults = Faults()
    try:
        defaults = deployment_defaults()
        nested = read_values(conf, defaults, faults)
        everything = all_values({**nested, "workspace": nested.get("workspace") or "-"}, "preset")
    except ConfigError as error:
        return {"faults": [*found, _fault(error)], "conf": {}, "preset": None, "values": {}, "plan": None}
    found += [{"field": _field(name), "what": what} for name, what in faults_of(RunConfig, everything)]
    config: RunConfig | None = None
    if not found and not faults.found:
        config = from_dict(RunConfig, everything)
        with faults.kept():
            first_step_of(conf)
        _check_places(nested.get("workspace") or "", config, found)
        _check_addresses(config, found)
    found += [_fault(error) for error in faults.found]
    return {
        "faults": found,
        "conf": conf if not found else {},
        "preset": everything["preset"],
        "values": _shown(config) if config else {},
        "plan": _plan(config, text, within) if config else None,
    }


def _shown(config: RunConfig) -> dict[str, str]:
    values = to_dict(config)
    return {name: shown(values[section][setting]) for name, (section, setting) in field_names().items()}


def _conf(values: Mapping[str, Any], found: list[dict[str, str]]) -> dict[str, Any]:
    """What Airflow is to be given: numbers as numbers, and rows with the names that they get."""
    conf: dict[str, Any] = {}
    for name, value in values.items():
        if value in ("", None, []):
            continue
        if name in _ROWS and isinstance(value, list):
            conf[name] = _rows(name, value, found)
            continue
        schema = _schema(name)
        try:
            # Airflow's form has true and false as texts.
            conf[name] = typed(schema, value, name) if schema and kind_of(schema) != "switch" else value
        except ConfigError as error:
            found.append(_fault(error))
    return {name: value for name, value in conf.items() if value is not None}


def _rows(name: str, rows: list[Any], found: list[dict[str, str]]) -> list[dict[str, Any]]:
    schema = _row_schema(name)["properties"]
    read: list[dict[str, Any]] = []
    for number, row in enumerate(rows):
        own: dict[str, Any] = {}
        for key, value in row.items() if isinstance(row, dict) else ():
            if value in ("", None, []):
                continue
            try:
                own[key] = typed(schema.get(key, {"type": "string"}), value, f"{name}.{number}.{key}")
            except ConfigError as error:
                found.append(_fault(error))
            if isinstance(value, list) and len(value) == 1 and "anyOf" in schema.get(key, {}):
                own[key] = value[0]  # A text and a list of one text are different settings.
        read.append(own)
    address = "path" if "path" in schema else "train"
    unnamed = [row for row in read if address in row and "name" not in row]
    for row, given in zip(unnamed, source_names([str(row[address]) for row in unnamed]), strict=True):
        row["name"] = given
    return [{"name": row["name"], **row} if "name" in row else row for row in read]


def _fault(error: QaribError) -> dict[str, str]:
    return {"field": str(error.where or ""), "what": f"{error.what}. {error.do}" if error.do else error.what}


def _field(name: str) -> str:
    """The field of a setting's full name: `max_seq_length`, or `sources.0.path`; empty for a section."""
    section, _, rest = name.partition(".")
    setting, _, more = rest.partition(".")
    field = next((key for key, place in field_names().items() if place == (section, setting)), "")
    return f"{field}.{more}" if field and more else field or section


def _check_places(workspace: str, config: RunConfig, found: list[dict[str, str]]) -> None:
    places, upload = allowed_places(), config.upload
    try:
        places.workspace(workspace)
    except ConfigError as error:
        found.append(_fault(error) | {"field": "workspace"})
    try:
        places.check_prefix(upload.bucket, upload.prefix)
    except ConfigError as error:
        found.append(_fault(error) | {"field": "prefix" if upload.prefix else "bucket"})


def _check_addresses(config: RunConfig, found: list[dict[str, str]]) -> None:
    allowed = allowed_sources()
    places = [(f"sources.{n}.path", source.path) for n, source in enumerate(config.collect.sources)]
    for number, task in enumerate(config.evaluate.tasks):
        places += [(f"tasks.{number}.train", task.train), (f"tasks.{number}.test", task.test)]
    for field, address in places:
        if address:
            try:
                require_no_secret(address)
                allowed.check(address, field)
            except ConfigError as error:
                found.append(_fault(error) | {"field": field})


def _plan(config: RunConfig, text: float | None, within: float | None) -> dict[str, Any] | None:
    if config.tpu.machine == "local":
        return None
    try:
        made = plan(config, dataset_size(config, text) if text else None, within)
    except ConfigError as error:
        return {"trouble": str(error)}
    asked = made.asked
    return {
        "asked": _option(asked)
        | {"price_source": asked.estimate.price_source, "chips": asked.estimate.chips},
        "rows": _table(made),
        "advice": advice(config, made),
        "above_budget": bool(config.tpu.max_cost and asked.estimate.cost.high > config.tpu.max_cost),
    }


def _table(made: Plan) -> list[dict[str, Any]]:
    """A row per type and batch, with the prices of spot and on demand."""
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for option in made.options:
        row = rows.setdefault(
            (option.accelerator_type, option.batch), _option(option) | {"prices": {}, "marks": []}
        )
        row["prices"][option.provisioning] = _ends(option.estimate.cost)
        row["marks"] += option.marks
    return list(rows.values())


def _option(option: Option) -> dict[str, Any]:
    return {
        "accelerator_type": option.accelerator_type,
        "provisioning": option.provisioning,
        "batch": option.batch,
        "steps": option.steps,
        "parts": option.parts,
        "steps_per_second": _ends(option.estimate.steps_per_second),
        "hours": _ends(option.estimate.hours),
        "cost": _ends(option.estimate.cost),
    }


def _ends(range_: Range) -> list[float]:
    return [range_.low, range_.high]


def preview_of(values: Mapping[str, Any], number: int) -> dict[str, Any]:
    """A sample of a source before and after cleaning, as text, and the source's size.

    Raises:
        QaribError: the source is invalid, not allowed, or cannot be read; or there is no time for it.
    """
    found: list[dict[str, str]] = []
    conf, faults = _conf(values, found), Faults()
    nested = read_values(
        {**conf, "sources": conf.get("sources", [])[number : number + 1]}, deployment_defaults(), faults
    )
    faults.raise_all()
    if found:
        raise ConfigError(found[0]["what"], where=found[0]["field"])
    config = from_dict(CollectConfig, all_values(nested)["collect"])
    if not config.sources:
        raise ConfigError("no such source", where=f"sources.{number}")
    if not _PREVIEWS.acquire(blocking=False):
        raise ConfigError("too many previews are being made", do="Try again in some seconds")
    return _in_time(config, config.sources[0])


def _in_time(config: CollectConfig, source: SourceConfig) -> dict[str, Any]:
    """The preview, made in a thread, because a server that does not answer cannot be interrupted."""
    from qarib_tasks.corpus.preview.preview import preview
    from qarib_tasks.corpus.preview.text import text_of, title

    results: queue.Queue[dict[str, Any] | Exception] = queue.Queue()

    def work() -> None:
        try:
            allowed = allowed_sources()
            files = list_files(source, allowed)
            made = preview(config, source, allowed, files=files, seconds=PREVIEW_SECONDS / 2)
            results.put(
                {
                    "title": title(made),
                    "lines": text_of(made),
                    "warnings": list(made.warnings),
                    "bytes": text_bytes(files) if made.bytes is not None else None,
                }
            )
        except Exception as error:
            results.put(error)
        finally:
            _PREVIEWS.release()

    threading.Thread(target=work, name=f"preview {source.name}", daemon=True).start()
    try:
        result = results.get(timeout=PREVIEW_SECONDS)
    except queue.Empty:
        raise ConfigError(
            f"no preview within {PREVIEW_SECONDS:.0f} seconds",
            where=source.path,
            do="qarib preview has no limit",
        ) from None
    if isinstance(result, Exception):
        raise result
    return result
