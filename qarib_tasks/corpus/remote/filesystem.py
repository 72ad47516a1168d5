"""Opens web servers and buckets as file systems, with errors that say what happened."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from qarib_tasks.corpus.allowed import AllowedSources
from qarib_tasks.errors import InputError, QaribError, RefusedError, StorageError
from qarib_tasks.storage.bucket import default_client, refused

CONNECT_SECONDS = 30.0
SILENT_SECONDS = 60.0  # without a byte from a web server, until the download fails
# Codes of the class of refusals that can be another answer later: timeout, too early, too many requests.
_PASSES = (408, 425, 429)


def download_stored(address: str, path: Path) -> None:
    """Download an object as it is stored: gcsfs would unpack one with Content-Encoding.

    Raises:
        FileNotFoundError: it does not exist. StorageError: it cannot be downloaded.
    """
    from google.api_core.exceptions import GoogleAPIError, NotFound
    from google.cloud.storage import Blob
    from google.cloud.storage.exceptions import DataCorruption

    try:
        Blob.from_uri(address, default_client()).download_to_filename(str(path), raw_download=True)
    except NotFound as error:
        raise FileNotFoundError(str(error)) from None
    except (GoogleAPIError, DataCorruption) as error:
        raise refused(error, address) from error


def filesystem(address: str, allowed: AllowedSources | None) -> Any:
    """Return the fsspec file system of an address."""
    import fsspec

    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # It logs the traceback of what it raises, too.
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

    async def check_status(response: aiohttp.ClientResponse) -> None:
        # Of these, only the first three have the file. fsspec takes all for a file that can be empty, such as
        # a redirect without an address. It raises the others itself.
        if response.status not in (200, 203, 206) and response.status < 400:
            raise aiohttp.ClientResponseError(
                response.request_info,
                response.history,
                status=response.status,
                message=f"{response.reason or ''}, not the file".lstrip(", "),
            )

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(on_redirect)
    timeout = aiohttp.ClientTimeout(
        total=None, connect=CONNECT_SECONDS, sock_connect=CONNECT_SECONDS, sock_read=SILENT_SECONDS
    )
    options = {"trace_configs": [trace], "timeout": timeout, "raise_for_status": check_status}
    return fsspec.filesystem("http", client_kwargs=options, skip_instance_cache=True)


@contextmanager
def remote_errors(address: str) -> Iterator[None]:
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
        if isinstance(cause, aiohttp.InvalidURL):
            raise InputError("not an address", where=address, do="Correct the address") from None
        if status:
            what = f"the server answered {status} {getattr(cause, 'message', '')}".strip()
        else:
            what = f"cannot download: {str(cause) or type(cause).__name__}"
        if do := _remedy(address, status, cause):
            raise RefusedError(what, where=address, do=do) from None
        raise StorageError(what, where=address, do="Try again later") from None


def _remedy(address: str, status: int | None, cause: BaseException) -> str:
    """What to do about an answer that stays the same; empty for one that can be another the next time."""
    import aiohttp

    if isinstance(cause, aiohttp.ClientConnectorCertificateError):
        return "Correct the server's certificate, or name its authority in SSL_CERT_FILE on each machine"
    if address.startswith("gs://") and str(cause).startswith("Forbidden"):  # As gcsfs says it.
        return "Grant the account the role Storage Object Viewer on the bucket"
    if status is None or not 400 <= status < 500 or status in _PASSES:
        return ""
    if status == 401:
        return "Give an address that needs no login, such as a signed one, or copy the file to a bucket"
    if status == 403:
        return "Give an address that this machine may read; make a new one if it was signed and has expired"
    return "Correct the address: the server does not give this file"
