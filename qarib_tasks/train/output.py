"""The files of a training: their paths, and their transfer to and from the bucket."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qarib_tasks.config.training import TrainingJob
from qarib_tasks.errors import TrainingError
from qarib_tasks.layout import WORKER, ModelLayout
from qarib_tasks.storage.bucket import Bucket

log = logging.getLogger(__name__)


class Output:
    """The folder `job.output` and, if `job.publish_to` is set, the same names in the bucket.

    Args:
        worker: the rank. Rank 0 writes and publishes for all; each other rank writes to its own folder of the
            cache and publishes nothing.
    """

    def __init__(self, job: TrainingJob, worker: int = 0) -> None:
        layout = ModelLayout(Path(job.output), job)
        self.model_id = layout.model_id
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

    def publish_folder(self, folder: Path) -> None:
        """Publish a folder's files and remove those from the bucket that the folder no longer has."""
        if self.bucket and folder.is_dir():
            self.publish(*sorted(path for path in folder.iterdir() if not path.name.startswith(".")))
            for name in self.bucket.list(self.name(folder) + "/"):
                if not (self.root / name).exists():
                    self.bucket.delete(name)

    def unpublish(self, *paths: Path) -> None:
        if self.bucket:
            for path in paths:
                self.bucket.delete(self.name(path))

    def fetch(self, path: Path) -> bool:
        """Download the file if it is only in the bucket; return whether it exists on this machine."""
        if path.is_file():
            return True
        if self.bucket and self.bucket.get(self.name(path)):
            self.bucket.download(self.name(path), path)
            return True
        return False

    def fetch_below(self, folder: Path, suffix: str) -> None:
        """Fetch the files that the bucket has directly in a folder and this machine lacks."""
        if self.bucket:
            prefix = self.name(folder) + "/"
            for name in self.bucket.list(prefix):
                if name.endswith(suffix) and "/" not in name.removeprefix(prefix):
                    self.fetch(self.root / name)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder against a second trainer; the lock ends with the process.

        Raises:
            TrainingError: another process has the lock.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with self.layout.lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TrainingError(
                    "another process is training in this folder", where=self.root, do="Wait for it or stop it"
                ) from None
            yield
