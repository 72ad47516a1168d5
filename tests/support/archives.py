"""Archives in memory."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping


def tar(members: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def zipped(members: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def zst(data: bytes) -> bytes:
    from backports import zstd

    return zstd.compress(data)


ARCHIVES: dict[str, Callable[[Mapping[str, bytes]], bytes]] = {"zip": zipped, "tar": tar}
