"""Uploads that skip what the bucket already holds and verify what they send."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.google.cloud.hooks.gcs import GCSHook
from airflow.providers.google.cloud.transfers.local_to_gcs import LocalFilesystemToGCSOperator

from qarib_tasks.dataset.shard_state import is_dropped, is_safe_to_drop
from qarib_tasks.errors import InputError
from qarib_tasks.layout import TFRECORD
from qarib_tasks.storage.bucket import Bucket

if TYPE_CHECKING:
    from airflow.sdk import Context


class VerifiedUploadOperator(LocalFilesystemToGCSOperator):
    """A `LocalFilesystemToGCSOperator` that verifies its uploads.

    It differs in four ways. It skips an object that already has the file's size and CRC32C, so the object's
    generation does not change. After an upload it compares the object's size and CRC32C with the file's;
    `storage.bucket.Bucket.upload` does both. The files keep their path below `relative_to`. TFRecords that
    were removed from the workspace after an upload are no error if the object matches their manifest.
    Files are uploaded one after another in the given order: put the manifest last, and it never exists in the
    bucket without the files that it names.

    :param relative_to: the folder that the object names are relative to: with `/srv` and `dst="prefix/"`,
        `/srv/a/b.txt` becomes `prefix/a/b.txt`. Without it, an object has only the file's own name.
        (templated)
    :param keep_local: False, or the text "False", to remove TFRecords after all files are uploaded.
        (templated)
    """

    template_fields: Sequence[str] = (
        *LocalFilesystemToGCSOperator.template_fields,
        "relative_to",
        "keep_local",
    )

    def __init__(
        self, *, relative_to: str | None = None, keep_local: bool | str = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.keep_local = keep_local
        if self.gzip:
            raise ValueError("gzip is not supported: it changes the object's checksum. Remove the argument")
        self.relative_to = relative_to

    def execute(self, context: Context) -> list[str]:
        """Upload the files that the bucket does not hold yet.

        :return: the objects' addresses.
        :raises InputError: a file is missing.
        :raises StorageError: an uploaded object fails its checksum, or Google refuses a request.
        """
        hook = GCSHook(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain)
        bucket = Bucket(f"gs://{self.bucket}/", hook.get_conn())
        files = [self.src] if isinstance(self.src, str) else self.src
        addresses = []
        sent, seconds = 0, 0.0

        def send() -> None:
            nonlocal seconds
            started = time.perf_counter()
            hook.upload(
                bucket_name=self.bucket,
                object_name=name,
                filename=str(path),
                mime_type=self.mime_type,
                chunk_size=self.chunk_size,
                num_max_attempts=1,
            )
            seconds += time.perf_counter() - started

        for file in files:
            path = Path(file)
            name = self._name(path)
            addresses.append(bucket.address + name)
            if not path.exists() and is_dropped(path, bucket.get(name)):
                self.log.info("%s: already in the bucket, and removed from the workspace", path.name)
                continue
            if not path.is_file():
                raise InputError("no such file to upload", where=path, do="Clear the task that makes it")
            if bucket.upload(path, name, send):
                sent += 1
            else:
                self.log.info("%s already holds the same bytes: skipped", addresses[-1])
        self.log.info(
            "%d files uploaded, %d already in the bucket; sending took %.3f s",
            sent,
            len(files) - sent,
            seconds,
        )
        if str(self.keep_local) == "False":
            for path in map(Path, files):
                if path.suffix == TFRECORD and is_safe_to_drop(path, bucket.get(self._name(path))):
                    path.unlink()
        return addresses

    def _name(self, path: Path) -> str:
        """The name of a file's object."""
        return str(self.dst + os.path.relpath(path, self.relative_to or path.parent))
