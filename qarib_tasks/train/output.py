"""Where a training puts its files, and their way to the bucket and back."""

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
    """The folder `job.output` and, where `job.publish_to` is set, the same names in the bucket.

    Args:
        worker: its number among those that train together. Worker 0 writes and publishes for all; each other
            one keeps what it writes to itself, in a folder of the cache.
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
        """Upload the files that exist, in this order, each verified; nothing where nothing is published."""
        if self.bucket:
            for path in paths:
                if path.is_file():
                    self.bucket.upload(path, self.name(path))

    def try_to_publish(self, *paths: Path) -> None:
        """As `publish`, for files that are soon published again: a bucket out of reach is only a warning."""
        try:
            self.publish(*paths)
        except Exception as error:
            log.warning("not published this time: %s", error)

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
        """Have the file here: it is, or the bucket has it. False where neither does."""
        if path.is_file():
            return True
        if self.bucket and self.bucket.get(self.name(path)):
            self.bucket.download(self.name(path), path)
            return True
        return False

    def fetch_below(self, folder: Path, suffix: str) -> None:
        """Fetch what the bucket has directly in a folder and this machine lacks."""
        if self.bucket:
            prefix = self.name(folder) + "/"
            for name in self.bucket.list(prefix):
                if name.endswith(suffix) and "/" not in name.removeprefix(prefix):
                    self.fetch(self.root / name)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second trainer out; the lock goes with the process, however that ends.

        Raises:
            TrainingError: another process has it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with self.layout.lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TrainingError(
                    "another process trains here", where=self.root, do="Wait for it, or stop it"
                ) from None
            yield
