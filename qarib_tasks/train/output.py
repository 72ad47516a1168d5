"""The files of a training: their paths, and their transfer to and from the bucket."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import TrainingError
from qarib_tasks.layout import WORKER, ModelLayout, evaluation_step
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.recognition import (
    HEAD,
    check_model_folder,
    check_model_objects,
    is_ours,
    is_training_events,
)
from qarib_tasks.storage.records.aside import set_aside
from qarib_tasks.storage.records.read import take_record
from qarib_tasks.storage.records.schemas import Evaluation

log = logging.getLogger(__name__)
THEN = "that of the newest checkpoint is made again"


class Output:
    """The folder `job.output` and, if `job.publish_to` is set, the same names in the bucket.

    Args:
        worker: the rank. Rank 0 writes and publishes for all; each other rank writes to its own folder of the
            cache and publishes nothing.
    """

    def __init__(self, job: TrainingJob, worker: int = 0) -> None:
        layout = ModelLayout(Path(job.output), job)
        self.model_id = layout.model_id
        # The same for all ranks of a machine.
        self.tasks = [layout.task(task.name) for task in job.tasks]
        self.cache = Path(job.cache) if job.cache else layout.cache
        if worker:
            self.cache = self.cache / f"{WORKER}{worker}"
            layout = ModelLayout(self.cache / self.model_id, job)
        self.layout, self.root = layout, layout.root
        self.checkpoints, self.evaluations = layout.bert_model, layout.bert_evals
        self.export, self.progress, self.history = layout.export, layout.progress, layout.history
        self.config, self.manifest = layout.config, layout.manifest
        self._address = None if worker else job.publish_to
        self._bucket: Bucket | None = None

    @property
    def bucket(self) -> Bucket | None:
        if self._bucket is None and self._address:
            self._bucket = Bucket(self._address.rstrip("/") + "/")
        return self._bucket

    def name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def publish(self, *paths: Path) -> None:
        """Upload the files that exist, in this order, and verify each; without `publish_to`, do nothing."""
        if self.bucket:
            for path in paths:
                if path.is_file():
                    self.bucket.upload(path, self.name(path))

    def try_to_publish(self, *paths: Path) -> None:
        """Publish files that are soon published again: if the bucket is unreachable, only warn."""
        try:
            self.publish(*paths)
        except Exception as error:
            log.warning("not published, trying again later: %s", error)

    def publish_events(self, folder: Path) -> None:
        """Publish a folder's event files, and remove those of ours that it no longer has from the bucket."""
        if self.bucket and folder.is_dir():
            self.publish(*(path for path in sorted(folder.iterdir()) if is_ours(path, is_training_events)))
            for name in self.bucket.list(self.name(folder) + "/"):
                here = (self.root / name).exists()
                if not here and is_training_events(self.bucket.read_start(name, HEAD)):
                    self.bucket.delete(name)

    def unpublish(self, *paths: Path) -> None:
        if self.bucket:
            for path in paths:
                self.bucket.delete(self.name(path))

    def fetch(self, path: Path, *, again: bool = False) -> bool:
        """Download the file if it is only in the bucket; return whether it exists on this machine.

        Args:
            again: replace the file on this machine, which is damaged; return whether that worked.
        """
        if path.is_file() and not again:
            return True
        if self.bucket and self.bucket.get(self.name(path)):
            self.bucket.download(self.name(path), path)
            return True
        return False

    def fetch_evaluations(self) -> None:
        """Fetch the evaluations that the bucket has and this machine lacks. Damaged ones are set aside."""
        if self.bucket:
            prefix = self.name(self.evaluations) + "/"
            for name in self.bucket.list(prefix):
                if (step := evaluation_step(name.removeprefix(prefix))) is not None:
                    self.evaluation(step)
                    self.fetch(self.root / name)

    def evaluation(self, step: int) -> dict[str, Any] | None:
        """Read the evaluation of a step; None if there is none, or a damaged one, which is set aside."""
        path = self.layout.evaluation(step)
        values = take_record(path, Evaluation, THEN)
        if values is not None and values["step"] != step:
            set_aside(path, f"is of step {values['step']}", THEN)
            return None
        return values

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder against a second trainer; the lock ends with the process.

        Raises:
            InputError: files that we did not make have names of the training's files; nothing is written.
            TrainingError: another process has the lock.
        """
        check_model_folder(self.layout)
        if self.bucket:
            check_model_objects(self.layout, self.bucket)
        self.root.mkdir(parents=True, exist_ok=True)
        with self.layout.lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TrainingError(
                    "another process is training in this folder", where=self.root, do="Wait for it or stop it"
                ) from None
            yield
