"""Uploads that leave alone what the bucket holds already, and verify what they send."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.google.cloud.hooks.gcs import GCSHook
from airflow.providers.google.cloud.transfers.local_to_gcs import LocalFilesystemToGCSOperator

from qarib_airflow.errors import failing_for_good
from qarib_tasks.dataset.shard_state import is_dropped
from qarib_tasks.errors import InputError
from qarib_tasks.layout import TFRECORD
from qarib_tasks.storage.bucket import Bucket

if TYPE_CHECKING:
    from airflow.sdk import Context


class VerifiedUploadOperator(LocalFilesystemToGCSOperator):
    """`LocalFilesystemToGCSOperator` for files whose bytes must arrive.

    It differs in four ways. An object that has the file's size and CRC32C already is left alone, so that
    its generation does not change. After an upload the object's size and CRC32C are compared with the
    file's; `storage.bucket.Bucket.upload` does both. The files keep their place below `relative_to`. And
    TFRecords that were removed here after an upload are no fault if the object is as their manifest says.
    Files are uploaded one after another in the order given: name the manifest last, and it never exists in
    the bucket without the files that it names.

    :param relative_to: folder that the object names start below: with `/srv` and `dst="prefix/"`,
        `/srv/a/b.txt` becomes `prefix/a/b.txt`. Without it only the file's own name is kept. (templated)
    :param keep_local: False, or the text "False", to remove TFRecords once all files are up. (templated)
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
            raise ValueError("gzip: the object's checksum could not be compared with the file's")
        self.relative_to = relative_to

    def execute(self, context: Context) -> list[str]:
        """Upload what is not there yet.

        :return: the objects' addresses.
        :raises AirflowFailException: a file is missing, or Google refuses a request.
        :raises StorageError: an uploaded object fails its checksum.
        """
        with failing_for_good():
            return self._upload()

    def _upload(self) -> list[str]:
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
            name = self.dst + os.path.relpath(path, self.relative_to or path.parent)
            addresses.append(bucket.address + name)
            if not path.exists() and is_dropped(path, bucket.get(name)):
                self.log.info("%s was removed here, and the bucket has it", path.name)
                continue
            if not path.is_file():
                raise InputError("no such file to upload", where=path, do="Clear the task that makes it")
            if bucket.upload(path, name, send):
                sent += 1
            else:
                self.log.info("%s holds the same bytes already: left alone", addresses[-1])
        self.log.info(
            "%d files sent, %d were there already; sending took %.3f s", sent, len(files) - sent, seconds
        )
        if str(self.keep_local) == "False":
            for path in map(Path, files):
                if path.suffix == TFRECORD:
                    path.unlink(missing_ok=True)
        return addresses
