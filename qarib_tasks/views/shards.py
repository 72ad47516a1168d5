"""The state of every shard of a run, from the run's tasks, the manifests and the bucket's listing.

At most one listing of the dataset's folder and the dataset's own manifest are read of the bucket, however
many shards there are. A shard's manifest is read from the workspace, once for each version of the file.
"""

from __future__ import annotations

import base64
import builtins
import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import google_crc32c

from qarib_tasks.layout import DatasetLayout
from qarib_tasks.views.files import SETTLED, Cache, Files, Stored, as_object
from qarib_tasks.views.runs import RunRecord, trouble

State = Literal["waiting", "converting", "uploading", "done", "failed", "corrupt", "missing"]
STATES: tuple[str, ...] = get_args(State)
AT_WORK = ("running", "restarting", "deferred")
FAILED = ("failed", "upstream_failed")
SHARD_NAME = re.compile(r"(heldout/)?shards/shard_[0-9]+")
# For so long the bucket's listing may be older than an upload that has ended, s.
JUST_UPLOADED_SECONDS = 10
FIGURES = ("examples", "lines", "documents", "words", "wordpieces", "unknown_share")


@dataclass(frozen=True)
class ShardTask:
    """A mapped task instance of a shard; times in seconds since 1970.

    Attributes:
        step: "convert" or "upload".
        label: `shard_0000` or `heldout/shard_0000`, once Airflow has rendered it.
    """

    step: Literal["convert", "upload"]
    map_index: int
    state: str | None
    tries: int = 0
    started: float | None = None
    ended: float | None = None
    label: str | None = None


@dataclass(frozen=True)
class ShardManifest:
    """What the page needs of a shard's manifest; `crc32c_of_file` is that of the manifest itself."""

    state: str
    reason: str
    bytes: int | None
    crc32c: str | None
    crc32c_of_file: str
    figures: Mapping[str, Any]

    @classmethod
    def of(cls, data: builtins.bytes) -> ShardManifest | None:
        """None for bytes that are no manifest."""
        values = as_object(data)
        outputs: Sequence[Mapping[str, Any]] = values.get("outputs") or ()
        if values.get("kind") != "shard":
            return None
        record = next((o for o in outputs if str(o.get("name", "")).endswith(".tfrecord")), {})
        statistics = values.get("statistics") or {}
        return cls(
            state=str(values.get("state")),
            reason=str(values.get("reason") or ""),
            bytes=record.get("bytes"),
            crc32c=record.get("crc32c"),
            crc32c_of_file=base64.b64encode(google_crc32c.Checksum(data).digest()).decode(),
            figures={name: statistics[name] for name in FIGURES if name in statistics},
        )


def shards_view(
    record: RunRecord, files: Files, tasks: Sequence[ShardTask], repairs: Sequence[ShardTask] = ()
) -> dict[str, Any]:
    """Every shard's state and figures, and the totals.

    Args:
        tasks: of the run. repairs: those of backfills that are at work on the dataset's shards.
    """
    dataset = record.dataset
    if dataset is None:
        return {"shards": [], "totals": {}, "trouble": None}
    objects = files.objects(dataset.name)
    recorded = recorded_outputs(files.json(f"{dataset.name}manifest.json"))
    names = shard_names(dataset, files, recorded, objects, tasks)
    of_shard = tasks_of_shards(names, tasks)
    manifests, sizes = local_files(dataset, files)
    repaired = {_named(task.label): task for task in repairs if task.label}
    rows = []
    for name in names:
        convert, upload = of_shard.get((name, "convert")), of_shard.get((name, "upload"))
        place = dataset.tfrecord_name(name)
        manifest = manifests.get(place)
        state, reason = state_of(
            place, manifest, sizes.get(place), recorded.get(place), objects, convert, upload
        )
        if repair := repaired.get(name):
            state, reason = ("converting" if repair.step == "convert" else "uploading"), "by a backfill"
        size = (manifest.bytes if manifest else None) or recorded.get(place, {}).get("bytes")
        rows.append(
            {
                "name": name,
                "state": state,
                "reason": reason,
                "bytes": size or (objects[place].size if objects and place in objects else None),
                **({} if manifest is None else manifest.figures),
                **_of_tasks(convert, upload),
            }
        )
    return {
        "dataset_id": dataset.dataset_id,
        "states": list(STATES),
        "shards": rows,
        "workspace": record.config.get("workspace"),
        "totals": totals(rows),
        **pace(rows, tasks, record.state),
        "trouble": trouble(files.trouble),
    }


def state_of(
    place: str,
    manifest: ShardManifest | None,
    size: int | None,
    recorded: Mapping[str, Any] | None,
    objects: Mapping[str, Stored] | None,
    convert: ShardTask | None,
    upload: ShardTask | None,
) -> tuple[State, str]:
    """A shard's state, and why where it is not as it should be.

    Args:
        place: name of its TFRecords below the dataset's folder.
        manifest: of the workspace. size: of the workspace's TFRecords, bytes.
        recorded: what the dataset's manifest says of the TFRecords.
        objects: the bucket's below the dataset's folder; None where nothing is known of them.
    """
    if convert and convert.state in AT_WORK:
        return "converting", ""
    if upload and upload.state in AT_WORK:
        return "uploading", ""
    failed = any(task is not None and task.state in FAILED for task in (convert, upload))
    if manifest and manifest.state == "failed":
        return "failed", manifest.reason or "the conversion failed"
    if manifest and manifest.state == "running":
        # It stands there while the shard is converted, and stays where the process was killed.
        if failed:
            return "failed", f"its conversion was killed ({manifest.reason})"
        return ("converting", "") if convert is None else ("waiting", "was interrupted, will be tried again")
    bytes_, crc32c = (
        (manifest.bytes, manifest.crc32c)
        if manifest
        else (recorded.get("bytes"), recorded.get("crc32c"))
        if recorded
        else (None, None)
    )
    if bytes_ is not None:
        if size is not None and size != bytes_:
            return "corrupt", f"the workspace's {place} has {size:,} bytes, its manifest says {bytes_:,}"
        if objects is None:
            if failed:
                return "failed", "a task failed: see its log"
            return _on_its_way(convert) if _is_open(upload) else ("done", "")
        if _is_just_uploaded(upload):
            return "done", ""
        expected = [(place, bytes_, crc32c)]
        if manifest:
            expected.append((place.removesuffix(".tfrecord") + ".json", None, manifest.crc32c_of_file))
        for name, length, crc in expected:
            if (found := objects.get(name)) is None:
                if failed:
                    return "failed", "a task failed: see its log"
                if _is_open(upload):
                    return _on_its_way(convert)
                return "missing", f"the bucket has no {name}"
            if (length is not None and found.size != length) or (crc and found.crc32c != crc):
                return "corrupt", f"the bucket's {name} has other bytes than its manifest tells"
        return "done", ""
    if objects is not None and place in objects and not failed:
        return "done", ""
    if failed:
        return "failed", "a task failed: see its log"
    return _on_its_way(convert)


def _on_its_way(convert: ShardTask | None) -> tuple[State, str]:
    """The state of a shard that no task is at work on and none has given up."""
    if convert and convert.state == "success":
        return "uploading", "waits for its upload"
    if convert and convert.state == "up_for_retry":
        return "waiting", "failed, will be tried again"
    return "waiting", ""


def _is_open(upload: ShardTask | None) -> bool:
    """Whether the upload is still to come."""
    return upload is not None and upload.state != "success"


def _is_just_uploaded(upload: ShardTask | None) -> bool:
    if upload is None or upload.state != "success" or upload.ended is None:
        return False
    return time.time() - upload.ended < JUST_UPLOADED_SECONDS


def recorded_outputs(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The TFRecords that a dataset's manifest names."""
    outputs: Iterable[Mapping[str, Any]] = manifest.get("outputs") or ()
    return {str(o["name"]): o for o in outputs if str(o.get("name", "")).endswith(".tfrecord")}


def shard_names(
    dataset: DatasetLayout,
    files: Files,
    recorded: Mapping[str, Any],
    objects: Mapping[str, Stored] | None,
    tasks: Sequence[ShardTask],
) -> list[str]:
    """The names of all shards, those of the held-out part last, from whatever tells of them."""
    split: list[str] = []
    for data in (dataset.data, dataset.heldout_data):
        folder = dataset.shards(data)
        at = folder.relative_to(dataset.root).as_posix()
        manifest = as_object(files.local(f"{dataset.name}{at}.json"))
        parent = at.removesuffix("shards")
        split += [f"{parent}{o['name']}" for o in manifest.get("outputs") or ()]
    if split:
        return split
    places = set(recorded) or {name for name in objects or () if name.endswith(".tfrecord")}
    known = {_shard_of(dataset, place) for place in places} - {""}
    known |= {_named(task.label) for task in tasks if task.label}
    if unnamed := {task.map_index for task in tasks} - {t.map_index for t in tasks if t.label}:
        # Airflow names a mapped task when it starts: until then its number is all there is.
        known |= {f"#{index}" for index in unnamed if len(known) < len({t.map_index for t in tasks})}
    return sorted(known, key=lambda name: (name.startswith("#"), name.startswith("heldout/"), name))


def _shard_of(dataset: DatasetLayout, place: str) -> str:
    """The inverse of `DatasetLayout.tfrecord_name`; empty for another file."""
    folder = dataset.upload.pretraining_data
    for part in ("heldout/", ""):
        if place.startswith(part + folder):
            return f"{part}shards/{place.removeprefix(part + folder).removesuffix('.tfrecord')}"
    return ""


def _named(label: str) -> str:
    part, _, name = label.rpartition("/")
    return f"{part}/shards/{name}" if part else f"shards/{name}"


def tasks_of_shards(names: Sequence[str], tasks: Sequence[ShardTask]) -> dict[tuple[str, str], ShardTask]:
    """Each shard's task by name and step. One that has no name yet is that of its number."""
    labels = {task.map_index: task.label for task in tasks if task.label}
    found: dict[tuple[str, str], ShardTask] = {}
    for task in tasks:
        if label := labels.get(task.map_index):
            name = _named(label)
        elif f"#{task.map_index}" in names:
            name = f"#{task.map_index}"
        elif 0 <= task.map_index < len(names):
            name = names[task.map_index]
        else:
            continue
        found[name, task.step] = task
    return found


def local_files(dataset: DatasetLayout, files: Files) -> tuple[dict[str, ShardManifest], dict[str, int]]:
    """The manifests in the workspace and the sizes of the TFRecords there, by the TFRecords' names."""
    manifests: dict[str, ShardManifest] = {}
    sizes: dict[str, int] = {}
    if files.workspace is None:
        return manifests, sizes
    root = files.workspace / dataset.name
    for part in ("", "heldout/"):
        folder = part + dataset.upload.pretraining_data
        try:
            entries = list(os.scandir(root / folder))
        except OSError:
            continue
        for entry in entries:
            stem, _, suffix = entry.name.rpartition(".")
            place = f"{folder}{stem}.tfrecord"
            try:
                about = entry.stat()
                if suffix == "tfrecord":
                    sizes[place] = about.st_size
                elif suffix == "json" and not entry.name.startswith("."):
                    version = (entry.path, about.st_mtime_ns, about.st_size)
                    if manifest := _manifest(Path(entry.path), version, files.cache):
                        manifests[place] = manifest
            except OSError:
                continue  # Replaced or removed meanwhile.
    return manifests, sizes


def _manifest(path: Path, version: tuple[str, int, int], cache: Cache) -> ShardManifest | None:
    found: ShardManifest | None = cache.get(version, lambda: ShardManifest.of(path.read_bytes()), SETTLED)
    return found


def _of_tasks(convert: ShardTask | None, upload: ShardTask | None) -> dict[str, Any]:
    task = upload if upload and upload.state not in (None, "upstream_failed", "removed") else convert
    values: dict[str, Any] = {}
    if task:
        values = {"step": task.step, "map_index": task.map_index, "tries": task.tries}
        if convert and convert.state in FAILED:
            values |= {"step": "convert", "tries": convert.tries}
    for one in (convert, upload):
        if one and one.started and one.ended:
            values[f"{one.step}_seconds"] = round(one.ended - one.started, 1)
    return values


def totals(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Shards by state, and the sums of what is known; the held-out part counts among the shards."""
    counts = Counter(row["state"] for row in rows)
    sums = {name: sum(row.get(name) or 0 for row in rows) for name in ("examples", "lines", "bytes")}
    return {"shards": len(rows), "states": {state: counts[state] for state in STATES}, **sums}


def pace(
    rows: Sequence[Mapping[str, Any]], tasks: Sequence[ShardTask], run_state: str
) -> dict[str, float | None]:
    """Shards a second since the first task began, and the seconds that the rest will take at that pace."""
    ends = [task.ended for task in tasks if task.step == "upload" and task.state == "success" and task.ended]
    starts = [task.started for task in tasks if task.step == "convert" and task.started]
    if not ends or not starts or max(ends) <= min(starts):
        return {"shards_per_second": None, "seconds_left": None}
    speed = len(ends) / (max(ends) - min(starts))
    left = sum(row["state"] in ("waiting", "converting", "uploading") for row in rows)
    at_work = run_state in ("running", "queued") and left
    return {"shards_per_second": speed, "seconds_left": left / speed if at_work else None}


def shard_detail(record: RunRecord, files: Files, name: str) -> dict[str, Any]:
    """The whole of one shard's manifest, of which the page shows figures and the sample."""
    dataset = record.dataset
    if dataset is None or not SHARD_NAME.fullmatch(name):
        return {}
    place = dataset.tfrecord_name(name).removesuffix(".tfrecord") + ".json"
    values = files.json(f"{dataset.name}{place}")
    kept = ("id", "state", "reason", "statistics", "sample", "made_at", "made_by")
    return {key: values[key] for key in kept if key in values} | {"trouble": trouble(files.trouble)}
