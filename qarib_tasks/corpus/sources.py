"""Lists the files that sources name, and fetches remote ones.

The user who fills in a form names the sources, and the worker reads them with its own permissions. A
deployment therefore limits with `AllowedSources` which folders, buckets and hosts sources may name. The
command line has no such limit, because users read their own files.
"""

from __future__ import annotations

import glob
import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urljoin, urlsplit

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.corpus.allowed import AllowedSources, is_remote
from qarib_tasks.errors import ConfigError, CorruptError, InputError, QaribError, StorageError
from qarib_tasks.storage.files import atomic_path, checksums
from qarib_tasks.storage.manifest import FileRecord, Manifest

log = logging.getLogger(__name__)
CONNECT_SECONDS = 30.0
SILENT_SECONDS = 60.0  # without a byte from a web server, until the download fails


@dataclass(frozen=True)
class SourceFile:
    """A file of a source.

    Attributes:
        address: path or URL.
        bytes: the size; 0 if the web server does not report it.
        version: of a remote file: checksum, generation, ETag, or date, which change with the content.
    """

    address: str
    bytes: int
    version: str = ""

    @property
    def path(self) -> Path | None:
        return None if is_remote(self.address) else Path(self.address)

    @property
    def name(self) -> str:
        """The last part of the path."""
        path = urlsplit(self.address).path if is_remote(self.address) else self.address
        return PurePosixPath(path).name or "file"


def list_files(source: SourceConfig, allowed: AllowedSources | None = None) -> list[SourceFile]:
    """Return the files that a source names, sorted by address.

    Raises:
        ConfigError: the source may not be read. InputError: it names no file. StorageError: the bucket or the
            web server does not answer as it should.
    """
    if is_remote(source.path):
        if allowed:
            allowed.check(source.path, source.name)
        with _remote_errors(source.path):
            files = _list_remote(source.path, allowed)
    else:
        paths = sorted(path for path in glob.glob(source.path, recursive=True) if Path(path).is_file())
        if allowed:
            # Check before reporting a missing file: whether a file exists is private, too.
            for path in [glob_root(source.path), *paths]:
                allowed.check(path, source.name)
        files = [SourceFile(path, Path(path).stat().st_size) for path in paths]
    if not files:
        raise InputError("no such file", where=source.path, do=f"Correct the path of source {source.name!r}")
    if source.sha256 and len(files) > 1:
        raise ConfigError(
            f"sha256 is set, but the path matches {len(files)} files",
            where=source.path,
            do=f"Set the path of source {source.name!r} to one file, or remove sha256",
        )
    return files


def glob_root(pattern: str) -> str:
    """Return the folder that a glob begins with."""
    parts = Path(pattern).parts
    plain = [part for i, part in enumerate(parts) if not any(map(glob.has_magic, parts[: i + 1]))]
    return str(Path(*plain)) if plain else "."


def _list_remote(address: str, allowed: AllowedSources | None) -> list[SourceFile]:
    system = _filesystem(address, allowed)
    if not address.startswith("gs://"):
        info = system.info(address)
        version = next((info[key] for key in ("ETag", "Content-MD5", "Last-Modified") if info.get(key)), "")
        return [SourceFile(address, info.get("size") or 0, version)]
    found = system.glob(address, detail=True) if glob.has_magic(address) else {"": system.info(address)}
    files = [info for info in found.values() if info["type"] == "file"]
    return [
        SourceFile(f"gs://{info['name'].removeprefix('gs://')}", info["size"], _object_version(info))
        for info in sorted(files, key=lambda info: str(info["name"]))
    ]


def _object_version(info: dict[str, Any]) -> str:
    return str(info.get("crc32c") or info.get("md5Hash") or info.get("etag") or info.get("generation"))


def fetch(
    file: SourceFile, cache: Path, *, sha256: str = "", allowed: AllowedSources | None = None
) -> tuple[Path, FileRecord]:
    """Return a file on this machine: a remote one is downloaded into `cache` once, and checked at each call.

    Returns:
        the path, and the file's size and checksums.

    Raises:
        StorageError: the file cannot be downloaded now. CorruptError: its SHA-256 is not `sha256`.
    """
    path = file.path
    if path is None:
        key = hashlib.sha256(f"{file.address}\n{file.version}\n{file.bytes}".encode()).hexdigest()[:16]
        path = cache / f"{key}-{file.name}"
        record = _cached(path) or _download(file, path, allowed)
    else:
        record = FileRecord.of(path)
    if sha256 and record.sha256 != sha256:
        raise CorruptError(
            f"the SHA-256 is {record.sha256}, expected {sha256}",
            where=file.address,
            do="Check the file, then correct sha256",
        )
    return path, record


def fetched(cache: Path) -> Iterator[Path]:
    """Yield the files in `cache`, sorted; a file's modification time is when it was last read."""
    for path in sorted(cache.glob("*")):
        if _manifest_path(path).is_file():
            yield path


def forget(path: Path) -> None:
    """Remove a fetched file. It is fetched again when it is needed."""
    _manifest_path(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _manifest_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _cached(path: Path) -> FileRecord | None:
    try:
        manifest = Manifest.read(_manifest_path(path))
    except (InputError, CorruptError):
        return None
    if manifest.faults(path.parent):
        return None
    os.utime(path)  # `clean_up` removes files that have not been read for a long time.
    return manifest.outputs[0]


def _download(file: SourceFile, path: Path, allowed: AllowedSources | None) -> FileRecord:
    log.info("fetching %s", file.address)
    with atomic_path(path) as temporary, _remote_errors(file.address):
        _filesystem(file.address, allowed).get_file(file.address, str(temporary))
        found = checksums(temporary)
        if file.bytes and found.bytes != file.bytes:
            raise StorageError(
                f"downloaded {found.bytes:,} bytes, expected {file.bytes:,}",
                where=file.address,
                do="Try again",
            )
        is_crc32c = file.address.startswith("gs://") and len(file.version) == 8
        if is_crc32c and file.version.endswith("==") and found.crc32c != file.version:
            raise StorageError("checksum mismatch after download", where=file.address, do="Try again")
    record = FileRecord(path.name, **asdict(found))
    Manifest(
        kind="corpus",
        id=path.name,
        config={"address": file.address, "version": file.version},
        outputs=[record],
    ).write(_manifest_path(path))
    return record


def _filesystem(address: str, allowed: AllowedSources | None) -> Any:
    """Return the fsspec file system of an address."""
    import fsspec

    if address.startswith("gs://"):
        if os.environ.get("STORAGE_EMULATOR_HOST"):
            # With an emulator, gcsfs would wait a minute for gRPC.
            os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
            return fsspec.filesystem("gs", token="anon", skip_instance_cache=True)
        return fsspec.filesystem("gs")
    import aiohttp

    async def on_redirect(session: Any, context: Any, parameters: Any) -> None:
        # Without this check, an allowed host could redirect anywhere, even to the metadata server.
        response = parameters.response
        target = urljoin(str(response.url), response.headers.get("Location") or response.headers.get("URI"))
        if allowed:
            allowed.check(target, address)

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(on_redirect)
    timeout = aiohttp.ClientTimeout(
        total=None, connect=CONNECT_SECONDS, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS
    )
    options = {"trace_configs": [trace], "timeout": timeout}
    return fsspec.filesystem("http", client_kwargs=options, skip_instance_cache=True)


@contextmanager
def _remote_errors(address: str) -> Iterator[None]:
    """Turn the errors of remote file systems into one clear error."""
    import aiohttp

    try:
        yield
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        # fsspec reports every error of a web server as a missing file.
        cause = error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ else error
        status = getattr(cause, "status", None)
        if isinstance(cause, QaribError):
            raise cause from None
        if status in (404, 410) or isinstance(cause, FileNotFoundError):
            raise InputError("no such file", where=address, do="Correct the address") from None
        if status:
            what = f"the server answered {status} {getattr(cause, 'message', '')}".strip()
        else:
            what = f"cannot download: {str(cause) or type(cause).__name__}"
        raise StorageError(what, where=address, do="Try again later") from None
