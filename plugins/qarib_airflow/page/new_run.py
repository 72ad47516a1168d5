"""The view *New run*: its fields, made from the config classes, and answers to what is typed.

Nothing remote is read for an answer, except by `preview_of`, which one asks for. The run itself is started by
Airflow's own API, which checks whether the user may.
"""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from qarib_airflow.forms.fields import choices_of, kind_of, typed
from qarib_airflow.forms.pretrain import (
    SECTIONS,
    build_params,
    field_names,
    preset_values,
    read_values,
    settings,
    shown,
)
from qarib_airflow.page.planned import deadline, planned
from qarib_airflow.preflight.deployment import (
    allowed_places,
    allowed_sources,
    deployment_defaults,
    require_bucket,
)
from qarib_airflow.preflight.pretrain import first_step_of
from qarib_tasks.config.corpus import CollectConfig, SourceConfig
from qarib_tasks.config.deployment.limits import deployment_limits
from qarib_tasks.config.evaluation import TaskConfig
from qarib_tasks.config.loading import faults_of, from_dict, to_dict
from qarib_tasks.config.presets import all_values, deployed, merged
from qarib_tasks.config.run import RunConfig
from qarib_tasks.config.typed import source_names
from qarib_tasks.corpus.allowed import limited, require_no_secret
from qarib_tasks.corpus.collect import require_sources
from qarib_tasks.corpus.sources import list_files
from qarib_tasks.errors import ConfigError, Faults, QaribError
from qarib_tasks.registry.comparison import check_rule
from qarib_tasks.runs.disk_space import text_bytes

ESSENTIALS = ("preset", "sources", "bucket", "machine", "accelerator_type", "provisioning", "max_cost")
MOST_SHOWN = 500  # characters of a fault
_ROWS: dict[str, type] = {"sources": SourceConfig, "tasks": TaskConfig}


def form() -> dict[str, Any]:
    """The fields: name, title, help, section, kind, choices, and each preset's value as text."""
    values = {preset: merged(of, deployed(_deployed(), preset)) for preset, of in preset_values().items()}
    fields = []
    for name, param in build_params().items():
        schema = param.schema
        section, setting = field_names().get(name, ("", name))
        fields.append(
            {
                "name": name,
                "title": schema["title"],
                "help": _plain(param.description or schema.get("description_md", "")),
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


def _plain(markdown: str) -> str:
    """The text of a help that Airflow's form shows as Markdown."""
    return markdown.replace("**", "").replace("\n- ", "\n")


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


def _deployed() -> dict[str, Any]:
    """What the deployment sets of where it trains, nested as in a config file; it goes before the presets."""
    try:
        return {"tpu": deployment_defaults()["tpu"]}
    except ConfigError:
        return {}


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
    values: Mapping[str, Any], text: float | None = None, within: float | str | None = None
) -> dict[str, Any]:
    """Check what is typed as the preflight does, and plan the run.

    Args:
        values: the fields that are not empty, by name: texts, lists of texts, or lists of rows of texts.
        text: bytes of the sources, if they are known.
        within: hours in which the training should end, as typed.

    Returns:
        the faults by field. Without any: what Airflow is to be given, the value of every setting, and
        the plan.
    """
    found: list[dict[str, str]] = []
    conf = _conf(values, found)
    faults = Faults()
    hours = deadline(within, found)
    try:
        defaults = deployment_defaults()
        nested = read_values(conf, defaults, faults)
        everything = all_values({**nested, "workspace": nested.get("workspace") or "-"}, "preset")
    except ConfigError as error:
        return {
            "faults": _shortened([*found, _fault(error)]),
            "conf": {},
            "preset": None,
            "values": {},
            "plan": None,
        }
    faulty = faults_of(RunConfig, everything)
    found += [{"field": _beside(name, what, conf), "what": what} for name, what in faulty]
    config: RunConfig | None = None
    if not found and not faults.found:
        config = from_dict(RunConfig, everything)
        with faults.kept():
            if first_step_of(conf) == "collect":
                require_sources(config.collect)
        with faults.kept():
            require_bucket(config.upload)
        with faults.kept():
            check_rule(config)
        _check_places(nested.get("workspace") or "", config, found)
        _check_addresses(config, found)
    plan = planned(config, text, hours, faults) if config else None
    found += [_fault(error) for error in faults.found]
    return {
        "faults": _shortened(found),
        "conf": conf if not found else {},
        "preset": everything["preset"],
        "values": _shown(config) if config else {},
        "plan": plan,
    }


def _shortened(found: list[dict[str, str]]) -> list[dict[str, str]]:
    return [
        {**one, "what": one["what"][:MOST_SHOWN] + "…" * (len(one["what"]) > MOST_SHOWN)} for one in found
    ]


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
    for place, row in enumerate(rows):
        own: dict[str, Any] = {}
        for key, value in row.items() if isinstance(row, dict) else ():
            if value in ("", None, []):
                continue
            try:
                own[key] = typed(schema.get(key, {"type": "string"}), value, f"{name}.{place}.{key}")
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
    place = str(error.where or "")
    field = _field(place) if place.partition(".")[0] in SECTIONS else place
    return {"field": field, "what": f"{error.what}. {error.do}" if error.do else error.what}


def _beside(name: str, what: str, given: Mapping[str, Any]) -> str:
    """The field of a fault: of one that names several settings, the first given one, or else the first."""
    own, words = _field(name), re.findall(r"[a-z_][a-z0-9_.]*[a-z0-9_]", what[:MOST_SHOWN])
    first, _, rest = own.partition(".")
    if first in _ROWS and rest.isdecimal():
        return next((f"{own}.{word}" for word in words if word in _row_schema(first)["properties"]), own)
    if first in field_names() or first not in ("", *SECTIONS):
        return own
    named = [_field(place) for word in words for place in (word, f"{name}.{word}")]
    named = [field for field in named if field in field_names()]
    return next((field for field in named if field in given), named[0] if named else own)


@cache
def _fields_of_settings() -> dict[tuple[str, str], str]:
    return {place: field for field, place in field_names().items()}


def _field(name: str) -> str:
    """The field of a setting's full name: `max_seq_length`, or `sources.0.path`; empty for a section."""
    section, _, rest = name.partition(".")
    setting, _, more = rest.partition(".")
    field = _fields_of_settings().get((section, setting), "")
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
    for n, task in enumerate(config.evaluate.tasks):
        places += [(f"tasks.{n}.train", task.train), (f"tasks.{n}.test", task.test)]
    for name, rows in (("sources", config.collect.sources), ("tasks", config.evaluate.tasks)):
        for n, one in enumerate(rows):
            try:
                limited(one, allowed)
            except ConfigError as error:
                found.append(_fault(error) | {"field": f"{name}.{n}"})
    for field, address in places:
        if address:
            try:
                require_no_secret(address)
                allowed.check(address, field)
            except ConfigError as error:
                found.append(_fault(error) | {"field": field})


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
    limits = deployment_limits()
    places = _places(limits.previews_at_once)
    if not places.acquire(blocking=False):
        raise ConfigError("too many previews are being made", do="Try again in some seconds")
    return _in_time(config, config.sources[0], limits.preview_seconds, places)


@cache
def _places(previews: int) -> threading.BoundedSemaphore:
    """Threads that wait for a server which does not answer are not ended, so there must not be many."""
    return threading.BoundedSemaphore(previews)


def _in_time(
    config: CollectConfig, source: SourceConfig, seconds: float, places: threading.BoundedSemaphore
) -> dict[str, Any]:
    """The preview, made in a thread, because a server that does not answer cannot be interrupted."""
    from qarib_tasks.corpus.preview.preview import preview
    from qarib_tasks.corpus.preview.text import text_of, title

    results: queue.Queue[dict[str, Any] | Exception] = queue.Queue()

    def work() -> None:
        try:
            allowed = allowed_sources()
            # The answer does not wait longer for the names.
            briefly = replace(source, listing_seconds=min(source.listing_seconds, seconds))
            files = list_files(briefly, allowed)
            made = preview(config, source, allowed, files=files, seconds=seconds / 2)
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
            places.release()

    threading.Thread(target=work, name=f"preview {source.name}", daemon=True).start()
    try:
        result = results.get(timeout=seconds)
    except queue.Empty:
        raise ConfigError(
            f"no preview within {seconds:.0f} seconds",
            where=source.path,
            do="qarib preview has no limit",
        ) from None
    if isinstance(result, Exception):
        raise result
    return result
