"""Old datasets, models and fetched sources, in workspace and bucket: which may go, and making them go.

What is kept: everything that changed lately; promoted models; whatever one that is kept refers to, be it
a model's dataset, the model it goes on from, or the dataset that a dataset extends; and what the workspace
has of runs that publish elsewhere, whose promoted models are not looked at.
"""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qarib_tasks.config.loading import load_yaml
from qarib_tasks.corpus.sources import fetched, forget
from qarib_tasks.layout import DATASETS, FETCHED, ID, MANIFEST, MODELS, SETTINGS
from qarib_tasks.registry.promotion import record_of
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.files import DAY

log = logging.getLogger(__name__)
KINDS = (DATASETS, MODELS)
OURS = re.compile(ID)
# Where a model or a dataset names others. The settings of a dataset name the one that it extends.
SPEAKING_FILES = (SETTINGS, MANIFEST)
REFERENCE = re.compile(rf"\b((?:{DATASETS}|{MODELS})/{ID})\b")
EXTENDS = re.compile(rf"^extends: *['\"]?({ID})", re.MULTILINE)


@dataclass
class Made:
    """A dataset or a model, wherever it is, or a source that was fetched.

    Attributes:
        name: `datasets/<id>`, `models/<id>` or `cache/sources/<file>`.
        changed: seconds since 1970 of the newest file or object.
        bytes: of all files and objects.
        refers: names that its settings and its manifest mention.
        kept: why it is kept; empty for what may go.
    """

    name: str
    changed: float = 0.0
    bytes: int = 0
    refers: set[str] = field(default_factory=set)
    kept: str = ""

    def __str__(self) -> str:
        day = time.strftime("%Y-%m-%d", time.gmtime(self.changed))
        return f"{self.name} ({self.bytes / 1e9:,.3f} GB, last changed {day})"


def survey(
    workspace: Path, address: str | None, days: float, client: Any = None, now: float | None = None
) -> list[Made]:
    """Everything that runs have made, with the reasons why some is kept, by name.

    Args:
        address: `gs://bucket/prefix/`; None for a workspace that publishes nowhere.
        days: what changed since so many days ago is kept.
        client: a `google.cloud.storage.Client`.

    Raises:
        CorruptError: the record of promoted models cannot be understood, so that nobody knows what may go.
    """
    made: dict[str, Made] = {}
    _look_in_workspace(workspace, made, address)
    for path in fetched(workspace / FETCHED):
        name = f"{FETCHED}/{path.name}"
        made[name] = Made(name, path.stat().st_mtime, path.stat().st_size)
    if address:
        _look_in_bucket(Bucket(address, client), made)
    since = (time.time() if now is None else now) - days * DAY
    for one in made.values():
        if one.changed >= since:
            one.kept = f"changed within {days:g} days"
    for name, why in _promoted(record_of(workspace, address, client).read()):
        if name in made:
            made[name].kept = why
    _keep_what_is_referred_to(made)
    return [made[name] for name in sorted(made)]


def _look_in_workspace(workspace: Path, made: dict[str, Made], address: str | None) -> None:
    for kind in KINDS:
        for folder in (workspace / kind).glob("*/"):
            if not OURS.fullmatch(folder.name):
                continue
            one = made.setdefault(f"{kind}/{folder.name}", Made(f"{kind}/{folder.name}"))
            for path in folder.rglob("*"):
                if path.is_file():
                    status = path.stat()
                    one.changed = max(one.changed, status.st_mtime)
                    one.bytes += status.st_size
            for file in SPEAKING_FILES:
                if (folder / file).is_file():
                    _note(one, (folder / file).read_text(encoding="utf-8"))
            other = _publishes_to(folder / SETTINGS, one.name)
            if other and other != address:
                one.kept = f"publishes to {other}"


def _publishes_to(config: Path, name: str) -> str | None:
    """The bucket and prefix that a dataset's or a model's settings name; None where they name none."""
    values = load_yaml(config) if config.is_file() and config.stat().st_size else {}
    if upload := values.get("upload"):
        return f"gs://{upload['bucket']}/{upload['prefix']}" if upload["bucket"] else None
    publish_to = values.get("publish_to")
    return str(publish_to).removesuffix("/").removesuffix(name) if publish_to else None


def _look_in_bucket(bucket: Bucket, made: dict[str, Made]) -> None:
    for kind in KINDS:
        for name, blob in bucket.list(f"{kind}/").items():
            parts = name.split("/")
            if len(parts) < 3 or not OURS.fullmatch(parts[1]):  # such as models/promoted.json
                continue
            one = made.setdefault(f"{kind}/{parts[1]}", Made(f"{kind}/{parts[1]}"))
            one.changed = max(one.changed, blob.updated.timestamp())
            one.bytes += blob.size
            if len(parts) == 3 and parts[2] in SPEAKING_FILES:
                _note(one, bucket.read_text(name) or "")


def _note(one: Made, text: str) -> None:
    found = {*REFERENCE.findall(text), *(f"{DATASETS}/{name}" for name in EXTENDS.findall(text))}
    one.refers |= found - {one.name}


def _promoted(values: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for preset, own in values.get("presets", {}).items():
        promoted = own.get("promoted")
        for entry in own.get("judged", ()):
            if entry["model_id"] == promoted:
                yield f"{MODELS}/{promoted}", f"is the promoted model of {preset}"
                yield f"{DATASETS}/{entry['dataset_id']}", f"{MODELS}/{promoted} refers to it"


def _keep_what_is_referred_to(made: Mapping[str, Made]) -> None:
    todo = [one for one in made.values() if one.kept]
    while todo:
        one = todo.pop()
        for name in one.refers:
            if name in made and not made[name].kept:
                made[name].kept = f"{one.name} refers to it"
                todo.append(made[name])


def delete(one: Made, workspace: Path, address: str | None, client: Any = None) -> None:
    """Delete it everywhere. Its manifest goes first: it is never there without what it speaks of."""
    if one.name.startswith(FETCHED):
        forget(workspace / one.name)
    else:
        _delete_folders(one, workspace, address, client)
    log.info("deleted: %s", one)


def _delete_folders(one: Made, workspace: Path, address: str | None, client: Any) -> None:
    folder = workspace / one.name
    (folder / MANIFEST).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)
    if address:
        bucket = Bucket(address, client)
        names = bucket.list(f"{one.name}/")
        for name in sorted(names, key=lambda name: not name.endswith(f"{one.name}/{MANIFEST}")):
            names[name].delete()
