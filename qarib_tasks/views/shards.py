"""The state of every shard of a run: the judgement of `dataset.shard_state`, and the run's tasks.

For any number of shards, at most one listing of the dataset's folder and the dataset's own manifest are read
from the bucket. A shard's manifest is read from the workspace, once per version of the file.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

from qarib_tasks.dataset.audit import raw_shards, split_manifests
from qarib_tasks.dataset.shard_state import ShardFacts, ShardState, judge, tfrecord_of
from qarib_tasks.dataset.shard_state import State as JudgedState
from qarib_tasks.errors import CorruptError, QaribError
from qarib_tasks.layout import (
    MANIFEST,
    TFRECORD,
    DatasetLayout,
    is_heldout,
    is_shard,
    shard_of_label,
)
from qarib_tasks.storage.manifest import FileRecord, Manifest, manifest_names
from qarib_tasks.views.files import SETTLED, Cache, Files, Stored
from qarib_tasks.views.runs import RunRecord, trouble
from qarib_tasks.views.shapes import STATISTICS, conform
from qarib_tasks.views.versions import version_of

# The page adds only the states of shards with unfinished tasks to the judge's states.
TaskState = Literal["waiting", "converting", "uploading"]
STATES: tuple[str, ...] = (*get_args(TaskState), *get_args(JudgedState))
MEANINGS = {
    "waiting": "queued",
    "converting": "being converted",
    "uploading": "being uploaded to the bucket",
    "complete": "converted, files match their manifests",
    "missing": "not converted, or a file or an object is missing",
    "failed": "conversion failed or did not finish",
    "corrupt": "a file or an object does not match its manifest",
}
# States of Airflow's tasks.
AT_WORK = ("running", "restarting", "deferred")
OPEN = (None, "scheduled", "queued", "up_for_retry", "up_for_reschedule")
FAILED = ("failed", "upstream_failed")
SEE_LOG = "a task failed: see its log"
NOT_REACHED = "not converted, because an earlier task of the run failed"
# How long the bucket's listing can be older than a finished upload, s.
JUST_UPLOADED_SECONDS = 10
MOST_LISTED = 100_000  # files of shards
MOST_OF_SHARD = 4 << 20  # bytes of a shard's manifest
MOST_SPLITS = 16  # lists of shards that are kept
FIGURES = ("examples", "lines", "documents", "words", "wordpieces", "unknown_share", "packing_efficiency")


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


def shards_view(
    record: RunRecord, files: Files, tasks: Sequence[ShardTask], repairs: Sequence[ShardTask] = ()
) -> dict[str, Any]:
    """The state and figures of every shard, and the totals.

    Args:
        tasks: the run's tasks.
        repairs: active tasks of backfills for the dataset's shards.
    """
    dataset = record.dataset
    if dataset is None:
        return {"shards": [], "totals": {}, "trouble": None}
    objects = files.objects(dataset.name)
    split = _split_shards(dataset, files)
    recorded = {} if split else recorded_outputs(files.read(dataset.name_of(dataset.manifest)))
    names = list(split) or shard_names(dataset, recorded, objects, tasks)
    of_shard = tasks_of_shards(names, tasks)
    facts, sizes = local_files(dataset, files)
    repaired = {shard_of_label(task.label): task for task in repairs if task.label}
    pending = bool(split) and not tasks and _converts_shards(record)
    rows = []
    for name in names:
        convert, upload = of_shard.get((name, "convert")), of_shard.get((name, "upload"))
        place = dataset.tfrecord_name(name)
        found = facts.get(place)
        if not split:
            found = found or _facts_elsewhere(place, recorded, objects)
        unanswered = (files.bucket is not None and objects is None) or _is_just_uploaded(upload)
        # Without the workspace, do not judge a shard without facts if its task failed or the listing is late.
        blind = not split and found is None and (objects is None or unanswered or _failed(convert, upload))
        judged = (
            None
            if blind
            else judge(
                dataset,
                name,
                found,
                sizes.get(place),
                objects,
                unanswered=unanswered,
                text=split[name].sha256 if split else "",
            )
        )
        state, reason = state_of(judged, convert, upload, unanswered=unanswered, pending=pending)
        if repair := repaired.get(name):
            state, reason = ("converting" if repair.step == "convert" else "uploading"), "by a backfill"
        size = next((one.bytes for one in (found and found.tfrecord, recorded.get(place)) if one), None)
        rows.append(
            {
                "name": name,
                "state": state,
                "reason": reason,
                "bytes": size or (objects[place].size if objects and place in objects else None),
                **({} if found is None else figures(found)),
                **_of_tasks(convert, upload),
            }
        )
    return {
        "dataset_id": dataset.dataset_id,
        "states": {state: MEANINGS[state] for state in STATES},
        "shards": rows,
        "workspace": record.config.get("workspace"),
        "totals": totals(rows),
        **pace(rows, tasks, record.state),
        "trouble": trouble(files.trouble or files.fault),
    }


def state_of(
    judged: ShardState | None,
    convert: ShardTask | None,
    upload: ShardTask | None,
    *,
    unanswered: bool = False,
    pending: bool = False,
) -> tuple[str, str]:
    """The state that the page shows, and the reason: the judge's unless a task is active or pending.

    Args:
        judged: None if only the shard's tasks are known.
        unanswered: see `shard_state.judge`.
        pending: the run converts shards, but their tasks do not exist yet.
    """
    if convert and convert.state in AT_WORK:
        return "converting", ""
    if upload and upload.state in AT_WORK:
        return "uploading", ""
    complete = judged is not None and judged.state == "complete"
    if complete and not unanswered:
        return "complete", ""
    if convert and convert.state == "upstream_failed":
        return (judged.state, judged.reason) if judged else ("missing", NOT_REACHED)
    if _failed(convert, upload):
        if judged is None or complete:
            return "failed", SEE_LOG
        return judged.state, f"{judged.reason}; {SEE_LOG}" if judged.state == "missing" else judged.reason
    if convert and convert.state in OPEN:
        if convert.state != "up_for_retry":
            return "waiting", ""
        known = judged.reason if judged and judged.state in ("failed", "corrupt") else "failed"
        return "waiting", f"{known}, will be retried"
    if upload and upload.state in OPEN:
        return "uploading", "waiting for its upload"
    if pending and not complete:
        return "waiting", ""
    if judged:
        return judged.state, judged.reason
    return ("complete", "") if convert or upload else ("waiting", "")


def _failed(*tasks: ShardTask | None) -> bool:
    return any(task is not None and task.state in FAILED for task in tasks)


def _converts_shards(record: RunRecord) -> bool:
    """Check whether the run is active and its steps include the conversion."""
    return record.state in ("running", "queued") and record.values.get("first_step") != "train"


def _is_just_uploaded(upload: ShardTask | None) -> bool:
    if upload is None or upload.state != "success" or upload.ended is None:
        return False
    return time.time() - upload.ended < JUST_UPLOADED_SECONDS


def recorded_outputs(manifest: bytes | None) -> dict[str, FileRecord]:
    """The records of the TFRecord files in a dataset's manifest."""
    try:
        outputs = Manifest.parse(manifest or b"", MANIFEST).outputs
    except CorruptError:
        return {}
    return {record.name: record for record in outputs if record.name.endswith(TFRECORD)}


def _facts_elsewhere(
    place: str, recorded: Mapping[str, FileRecord], objects: Mapping[str, Stored] | None
) -> ShardFacts | None:
    """The facts of a shard without a local manifest: from the dataset's manifest or the object."""
    if place in recorded:
        return ShardFacts("complete", tfrecord=recorded[place])
    if objects and (found := objects.get(place)):
        return ShardFacts("complete", tfrecord=FileRecord(place, found.size, "", found.crc32c))
    return None


def _split_shards(dataset: DatasetLayout, files: Files) -> dict[str, FileRecord]:
    """The raw shards by name from the split in the workspace; none without a split."""
    if files.workspace is None:
        return {}
    here = replace(dataset, workspace=files.workspace)
    try:
        versions = [version_of(str(path), files.most) for path in split_manifests(here)]
        key = ("split", *versions)
        found: dict[str, FileRecord] | None = None if None in versions else files.cache.last(key)
        if found is None:
            found = raw_shards(here, files.most, files.workspace)
            if None not in versions:
                files.cache.keep(key, found, SETTLED)
                files.cache.forget(lambda one: isinstance(one, tuple) and one[:1] == ("split",), MOST_SPLITS)
        return found
    except (QaribError, OSError):
        return {}


def shard_names(
    dataset: DatasetLayout,
    recorded: Iterable[str],
    objects: Iterable[str] | None,
    tasks: Sequence[ShardTask],
) -> list[str]:
    """The names of all shards if the split's list is not available, the held-out part last."""
    places = set(recorded) or {name for name in objects or () if name.endswith(TFRECORD)}
    known = {dataset.shard_of_tfrecord(place) for place in places}
    known |= {shard_of_label(task.label) for task in tasks if task.label}
    known -= {""}
    if unnamed := {task.map_index for task in tasks} - {t.map_index for t in tasks if t.label}:
        # Airflow names a mapped task when it starts; before that, only its number is known.
        known |= {f"#{index}" for index in unnamed if len(known) < len({t.map_index for t in tasks})}
    return sorted(known, key=lambda name: (name.startswith("#"), is_heldout(name), name))


def tasks_of_shards(names: Sequence[str], tasks: Sequence[ShardTask]) -> dict[tuple[str, str], ShardTask]:
    """Each shard's tasks by name and step. A task without a name yet is assigned by its number."""
    labels = {task.map_index: task.label for task in tasks if task.label}
    found: dict[tuple[str, str], ShardTask] = {}
    for task in tasks:
        if label := labels.get(task.map_index):
            name = shard_of_label(label)
        elif f"#{task.map_index}" in names:
            name = f"#{task.map_index}"
        elif 0 <= task.map_index < len(names):
            name = names[task.map_index]
        else:
            continue
        found[name, task.step] = task
    return found


def local_files(dataset: DatasetLayout, files: Files) -> tuple[dict[str, ShardFacts], dict[str, int]]:
    """The facts of the manifests and the sizes of the TFRecord files in the workspace, by TFRecord name."""
    facts: dict[str, ShardFacts] = {}
    sizes: dict[str, int] = {}
    if files.workspace is None:
        return facts, sizes
    root = files.workspace / dataset.name
    for path in (dataset.training_data, dataset.heldout_training_data):
        folder = path.relative_to(dataset.root).as_posix()
        try:
            with os.scandir(root / folder) as names:
                entries = list(islice(names, MOST_LISTED))
        except OSError:
            continue
        for entry in entries:
            try:
                about = entry.stat()
                if entry.name.endswith(TFRECORD):
                    sizes[f"{folder}/{entry.name}"] = about.st_size
                elif described := tfrecord_of(entry.name):
                    place = f"{folder}/{described}"
                    version = (entry.path, about.st_mtime_ns, about.st_size)
                    newest = entry.name == manifest_names(described)[0]
                    if (newest or place not in facts) and (
                        found := _facts(version, files.cache, files.workspace)
                    ):
                        facts[place] = found
            except OSError:
                continue  # Replaced or removed in the meantime.
    return facts, sizes


def _facts(version: tuple[str, int, int], cache: Cache, workspace: Path) -> ShardFacts | None:
    def read() -> ShardFacts | None:
        found = ShardFacts.read(Path(version[0]), MOST_OF_SHARD, workspace)
        # Once for each version, because it takes longer than all else.
        return found and replace(found, statistics=conform(found.statistics, STATISTICS)[0])

    kept = cache.last(version)
    found: ShardFacts | None = kept if isinstance(kept, ShardFacts) else cache.get(version, read, SETTLED)
    return found


def figures(facts: ShardFacts) -> dict[str, Any]:
    """The shard's statistics that the page shows."""
    return {name: facts.statistics[name] for name in FIGURES if name in facts.statistics}


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
    """The shards by state, and the sums of their known figures; includes the held-out part.

    A sum is None if no shard's figure is known; `examples_of` and so on are the numbers of shards it is of.
    """
    counts = Counter(row["state"] for row in rows)
    known = {
        name: [row[name] for row in rows if row.get(name) is not None]
        for name in ("examples", "lines", "bytes")
    }
    sums = {name: sum(values) if values else None for name, values in known.items()}
    of = {f"{name}_of": len(values) for name, values in known.items()}
    return {"shards": len(rows), "states": {state: counts[state] for state in STATES}, **sums, **of}


def pace(
    rows: Sequence[Mapping[str, Any]], tasks: Sequence[ShardTask], run_state: str
) -> dict[str, float | None]:
    """Shards per second while any task was at work, and the seconds left at that pace.

    The hours between a run and its repair are not work.
    """
    ends = [task.ended for task in tasks if task.step == "upload" and task.state == "success" and task.ended]
    worked = work_seconds((task.started, task.ended) for task in tasks if task.started and task.ended)
    if not ends or not worked:
        return {"shards_per_second": None, "seconds_left": None}
    speed = len(ends) / worked
    left = sum(row["state"] in ("waiting", "converting", "uploading") for row in rows)
    at_work = run_state in ("running", "queued") and left
    return {"shards_per_second": speed, "seconds_left": left / speed if at_work else None}


def work_seconds(intervals: Iterable[tuple[float, float]]) -> float:
    """The length of the union of intervals."""
    # Lists of numbers: thousands of pairs, for each answer, would be work for the garbage collection.
    starts, ends = list[float](), list[float]()
    for start, end in intervals:
        starts.append(start)
        ends.append(max(start, end))
    starts.sort()
    ends.sort()
    total, began, done = 0.0, 0.0, 0
    for number, end in enumerate(ends):
        while done < len(starts) and starts[done] <= end:
            if done == number:  # All that started has ended.
                began = starts[done]
            done += 1
        if done == number + 1:
            total += end - began
    return total


def shard_detail(record: RunRecord, files: Files, name: str) -> dict[str, Any]:
    """One shard's manifest without its files; the page shows its sample."""
    dataset = record.dataset
    if dataset is None or not is_shard(name):
        return {}
    values = files.manifest(dataset, dataset.tfrecord(name))
    kept = ("id", "state", "reason", "statistics", "sample", "made_at", "made_by")
    return {key: values[key] for key in kept if key in values} | {
        "trouble": trouble(files.trouble or files.fault)
    }
