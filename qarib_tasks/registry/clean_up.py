"""Find and delete old datasets, models and fetched sources, in the workspace and the bucket.

These artifacts are kept: those that changed recently; promoted models; artifacts that a kept one refers to
(the dataset of a model, the model that it started from, the dataset that a dataset extends); and artifacts in
the workspace of runs that publish elsewhere, because their promoted models are not known here.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qarib_tasks.config.loading import load_yaml
from qarib_tasks.errors import ConfigError, CorruptError
from qarib_tasks.layout import DATASETS, FETCHED, ID, MANIFEST, MODELS, PROMOTED, SETTINGS
from qarib_tasks.registry.contents import split_files, split_objects
from qarib_tasks.registry.fetched import fetched, forget
from qarib_tasks.registry.promotion import record_of
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.files import DAY
from qarib_tasks.storage.recognition import MOVE_SHARED
from qarib_tasks.storage.records.read import LARGEST, fault_of
from qarib_tasks.storage.records.schemas import PromotedModels
from qarib_tasks.storage.regular_files import read_regular
from qarib_tasks.storage.working_folder import MARKER, remove_folder

log = logging.getLogger(__name__)
KINDS = (DATASETS, MODELS)
_SETTINGS_DO = "Restore it from a copy, or move its folder: what it refers to could be deleted"
MOST_NAMED = 10  # files that stay, in a line of the log
OURS = re.compile(ID)
# The files in which an artifact names others. A dataset's settings name the dataset that it extends.
REFERENCING_FILES = (SETTINGS, MANIFEST)
REFERENCE = re.compile(rf"\b((?:{DATASETS}|{MODELS})/{ID})\b")
EXTENDS = re.compile(rf"^extends: *['\"]?({ID})", re.MULTILINE)


@dataclass
class Artifact:
    """A dataset or a model in the workspace, the bucket or both, or a fetched source.

    Attributes:
        name: `datasets/<id>`, `models/<id>` or `cache/sources/<file>`.
        changed: modification time of the newest file or object, in seconds since 1970.
        bytes: total size of all files and objects that are ours.
        others: files and objects in its folders that are not, which stay when it is deleted.
        refers: names of other artifacts in its settings and its manifest.
        kept: the reason to keep it; empty if you can delete it.
    """

    name: str
    changed: float = 0.0
    bytes: int = 0
    others: list[str] = field(default_factory=list)
    refers: set[str] = field(default_factory=set)
    kept: str = ""

    def __str__(self) -> str:
        day = time.strftime("%Y-%m-%d", time.gmtime(self.changed))
        text = f"{self.name} ({self.bytes / 1e9:,.3f} GB, last changed {day})"
        return text + (f", except {_few(self.others)}, which qarib did not make" if self.others else "")


def survey(
    workspace: Path, address: str | None, days: float, client: Any = None, now: float | None = None
) -> list[Artifact]:
    """List all artifacts by name, with the reason to keep those that are kept.

    Args:
        address: `gs://bucket/prefix/`, or None for a workspace that publishes nowhere.
        days: keep what changed within this many days.
        client: a `google.cloud.storage.Client`.

    Raises:
        CorruptError: the record of promoted models is damaged, so the promoted models are not known.
    """
    made: dict[str, Artifact] = {}
    _add_from_workspace(workspace, made, address)
    for path in fetched(workspace / FETCHED):
        name = f"{FETCHED}/{path.name}"
        made[name] = Artifact(name, path.stat().st_mtime, path.stat().st_size)
    if address:
        _add_from_bucket(Bucket(address, client), made)
    since = (time.time() if now is None else now) - days * DAY
    for one in made.values():
        if one.changed >= since:
            one.kept = f"changed within {days:g} days"
    for name, why in _promoted(record_of(workspace, address, client).read()):
        if name in made:
            made[name].kept = why
    _keep_what_is_referred_to(made)
    return [made[name] for name in sorted(made)]


def _add_from_workspace(workspace: Path, made: dict[str, Artifact], address: str | None) -> None:
    for kind in KINDS:
        for folder in (workspace / kind).glob("*/"):
            if not OURS.fullmatch(folder.name):
                continue
            ours, others = split_files(folder)
            if not ours:
                continue
            one = made.setdefault(f"{kind}/{folder.name}", Artifact(f"{kind}/{folder.name}"))
            one.others += [path.relative_to(workspace).as_posix() for path in others]
            one.changed = max(one.changed, *(path.lstat().st_mtime for path in (*ours, *others)))
            one.bytes += sum(path.stat().st_size for path in ours)
            for file in REFERENCING_FILES:
                if (folder / file).is_file():
                    _note(one, read_regular(folder / file, LARGEST).decode("utf-8", "replace"))
            other = _publishes_to(folder / SETTINGS, one.name)
            if other and other != address:
                one.kept = f"publishes to {other}"


def _publishes_to(config: Path, name: str) -> str | None:
    """Return the bucket and prefix in a dataset's or a model's settings, or None.

    Raises:
        CorruptError: the settings are damaged.
    """
    try:
        values = load_yaml(config) if config.is_file() and config.stat().st_size else {}
    except ConfigError as error:
        raise CorruptError(f"is damaged: {error.what}", where=error.where, do=_SETTINGS_DO) from None
    if upload := values.get("upload"):
        places = [upload.get(part) if isinstance(upload, Mapping) else None for part in ("bucket", "prefix")]
        if not all(isinstance(place, str) for place in places):
            raise CorruptError("is damaged: upload has no bucket and prefix", where=config, do=_SETTINGS_DO)
        return "gs://{}/{}".format(*places) if places[0] else None
    publish_to = values.get("publish_to")
    return str(publish_to).removesuffix("/").removesuffix(name) if publish_to else None


def _add_from_bucket(bucket: Bucket, made: dict[str, Artifact]) -> None:
    found: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        for name, blob in bucket.list(f"{kind}/").items():
            parts = name.split("/", 2)
            if len(parts) == 3 and OURS.fullmatch(parts[1]):  # not models/promoted.json
                found.setdefault(f"{kind}/{parts[1]}", {})[parts[2]] = blob
    for artifact, objects in found.items():
        ours, others = split_objects(bucket.below(f"{artifact}/"), objects)
        if not ours:
            continue
        one = made.setdefault(artifact, Artifact(artifact))
        one.others += [f"{bucket.address}{artifact}/{name}" for name in others]
        one.changed = max(one.changed, *(blob.updated.timestamp() for blob in objects.values()))
        one.bytes += sum(objects[name].size for name in ours)
        for name in REFERENCING_FILES:
            if name in objects:
                _note(one, bucket.read_text(f"{artifact}/{name}") or "")


def _note(one: Artifact, text: str) -> None:
    found = {*REFERENCE.findall(text), *(f"{DATASETS}/{name}" for name in EXTENDS.findall(text))}
    one.refers |= found - {one.name}


def _promoted(values: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Yield what the record of promoted models refers to, and why it is kept.

    Raises:
        CorruptError: the record is damaged: what it refers to could be removed.
    """
    fault = fault_of(values, PromotedModels, missing=False)
    for own in values.get("presets", {}).values() if not fault else ():
        for entry in own.get("judged", ()):
            if not entry.keys() >= {"model_id", "dataset_id"}:
                fault = "an entry does not name its model and dataset"
    if fault:
        raise CorruptError(f"not a record of promoted models: {fault}", where=PROMOTED, do=MOVE_SHARED)
    for preset, own in values.get("presets", {}).items():
        promoted = own.get("promoted")
        for entry in own.get("judged", ()):
            if entry["model_id"] == promoted:
                yield f"{MODELS}/{promoted}", f"is the promoted model of {preset}"
                yield f"{DATASETS}/{entry['dataset_id']}", f"{MODELS}/{promoted} refers to it"


def _keep_what_is_referred_to(made: Mapping[str, Artifact]) -> None:
    todo = [one for one in made.values() if one.kept]
    while todo:
        one = todo.pop()
        for name in one.refers:
            if name in made and not made[name].kept:
                made[name].kept = f"{one.name} refers to it"
                todo.append(made[name])


def delete(one: Artifact, workspace: Path, address: str | None, client: Any = None) -> None:
    """Delete an artifact everywhere, its manifest first: a manifest never names files that do not exist.

    Files and objects in its folders that are not ours stay.
    """
    if one.name.startswith(FETCHED):
        forget(workspace / one.name)
    else:
        _delete_folders(one, workspace, address, client)
    log.info("deleted: %s", one)


def _delete_folders(one: Artifact, workspace: Path, address: str | None, client: Any) -> None:
    folder = workspace / one.name
    left: list[object] = []
    if folder.exists():
        ours, others = split_files(folder)
        left += others
        for path in sorted(ours, key=lambda path: path != folder / MANIFEST):
            path.unlink()
        _remove_empty(folder)
    if address:
        bucket = Bucket(address, client).below(f"{one.name}/")
        objects = bucket.list()
        names, foreign = split_objects(bucket, objects)
        for name in sorted(names, key=lambda name: name != MANIFEST):
            objects[name].delete()
        left += [bucket.address + name for name in foreign]
    if left:
        log.warning("%s: stays: qarib did not make %s", one.name, _few([str(path) for path in left]))


def _remove_empty(folder: Path) -> None:
    """Remove the empty folders below a folder, and it."""
    marked = [marker.parent for marker in folder.rglob(MARKER)]
    for working_folder in marked:
        remove_folder(working_folder)
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
            path.rmdir()
    if not any(folder.iterdir()):
        folder.rmdir()


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
