"""Test texts of a run's labelled tasks in the text that its model is trained on.

They are left out when a dataset is collected. The name of a dataset does not depend on tasks, so a run can
find one that was collected without leaving them out. It stays as it is, and the documents are counted: in the
statistics of the corpus's manifest, under `contamination`, by the digest of the test texts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

from qarib_tasks.corpus.collect import WITHOUT
from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.labelled.decontamination import TaskTexts, contamination
from qarib_tasks.labelled.staged import read_staged, staged_task
from qarib_tasks.runs.run import Run
from qarib_tasks.storage.manifest import Manifest, manifest_of

log = logging.getLogger(__name__)
COUNTED = "contamination"
TO_DO = "To leave them out, collect the text in another workspace, and publish it to another prefix"


def task_texts(run: Run) -> TaskTexts:
    """Read the test texts of the run's tasks from its model's folder.

    Raises:
        InputError: a task is not there, see `pipeline.stage_tasks`. CorruptError: a file is damaged.
    """
    paths = {task.name: run.model.task(task.name) for task in run.config.evaluate.tasks}
    return TaskTexts.of([read_staged(staged_task(name, path), path) for name, path in paths.items()])


def count(run: Run, texts: TaskTexts) -> None:
    """Count documents with test texts in datasets of the run that were collected without leaving them out.

    What was counted before is not counted again.
    """
    for one, manifest in _corpora(run):
        known = _left_out(manifest) | manifest.statistics.get(COUNTED, {}).keys()
        some = {name: texts.tasks[name] for name, digest in texts.digests.items() if digest not in known}
        data = one.dataset.data
        if not some:
            continue
        if not data.is_file():
            log.warning(
                "%s: no such file, so documents with test texts of %s are not counted", data, ", ".join(some)
            )
            continue
        figures = contamination(TaskTexts(some), one.config.collect, data)
        counted = dict(manifest.statistics.get(COUNTED, {}))
        for name, task in figures["tasks"].items():
            found = [row for row in figures["tested"] if row[0] == name]
            counted[task["digest"]] = {**task, "task": name, "tested": found}
        statistics = {**manifest.statistics, COUNTED: counted}
        replace(manifest, statistics=statistics).write(manifest_of(data))


def found(run: Run, digest: str) -> tuple[int, int | None]:
    """Return the number of documents that were left out because of a task, and of those that were not.

    The second number is None if it is not known for all datasets of the run.
    """
    left_out, stayed = 0, 0
    known = 0
    for _, manifest in _corpora(run):
        if digest in _left_out(manifest):
            tasks = manifest.statistics["tasks"].values()
            left_out += next(task["documents"] for task in tasks if task["digest"] == digest)
        elif counted := manifest.statistics.get(COUNTED, {}).get(digest):
            stayed += counted["documents"]
        else:
            continue
        known += 1
    return left_out, stayed if known == len(run.earlier) + 1 else None


def notes(run: Run, texts: TaskTexts) -> list[str]:
    """Return a line for each task and dataset whose text was collected without leaving the test texts out."""
    lines = []
    for one, manifest in _corpora(run):
        left_out, counted = _left_out(manifest), manifest.statistics.get(COUNTED, {})
        for name, digest in texts.digests.items():
            if digest in left_out:
                continue
            where = f"the text of {one.dataset_id}, which was collected without leaving them out"
            if digest not in counted:
                lines.append(f"test texts of the task {name} may be in {where}; collect counts them. {TO_DO}")
            elif documents := counted[digest]["documents"]:
                lines.append(
                    f"test texts of the task {name} are in {documents:,} documents of {where}. {TO_DO}"
                )
    return lines


def _corpora(run: Run) -> Iterator[tuple[Run, Manifest]]:
    """Yield the manifests of the complete texts that the model is trained on."""
    for one in (*run.earlier, run):
        try:
            yield one, Manifest.complete(manifest_of(one.dataset.data))
        except (InputError, CorruptError):
            continue


def _left_out(manifest: Manifest) -> set[str]:
    return set(manifest.config.get(WITHOUT, {}).values())
