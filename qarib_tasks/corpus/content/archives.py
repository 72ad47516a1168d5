"""Members of zip and tar archives, one after the other."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, cast

from qarib_tasks.corpus.content.decompression import BLOCK
from qarib_tasks.corpus.content.detection import PACKED, document_name
from qarib_tasks.errors import InputError


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    Attributes:
        stream: its contents; only until the next member.
        size: the number of bytes that the archive says it has.
    """

    name: str
    stream: IO[bytes]
    size: int


def zip_members(
    file: IO[bytes], where: str, ignored: Callable[[str], bool], wanted: Callable[[str], bool]
) -> Iterator[Member]:
    """Yield the members that are wanted, in the order of their names.

    Args:
        ignored: whether a member does not count, whatever it is; asked once for each.

    Raises:
        InputError: the zip file is a document or a program, or not safe.
    """
    with zipfile.ZipFile(file) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        members.sort(key=lambda member: member.filename)
        if name := document_name([member.filename for member in members]):
            raise refusal(name, where)
        members = [member for member in members if not ignored(member.filename)]
        for member in members:
            _check_path(member.filename, where)
            if stat.S_ISLNK(member.external_attr >> 16):
                raise _unsafe(f"member {member.filename!r} is a link", where)
        for member in members:
            if wanted(member.filename):
                if member.flag_bits & 1:
                    raise InputError("the archive is encrypted", where=where, do="Decrypt the archive")
                with archive.open(member) as stream:
                    yield Member(member.filename, stream, member.file_size)


def tar_members(
    file: IO[bytes], where: str, ignored: Callable[[str], bool], wanted: Callable[[str], bool]
) -> Iterator[Member]:
    """Yield the members that are wanted, in the archive's order, which needs no memory for the archive.

    Args:
        ignored: whether a member does not count, whatever it is; asked once for each.

    Raises:
        InputError: the archive is not safe.
    """
    # A name in another encoding keeps its bytes. Escaped, it would have backslashes that separate no folders.
    with tarfile.open(
        fileobj=file, mode="r|", bufsize=BLOCK, tarinfo=_TarInfo, errors="surrogateescape"
    ) as archive:
        for member in archive:
            # Otherwise, the archive would hold every member that it has passed.
            archive.members = []  # type: ignore[attr-defined]
            if member.isdir() or member.type in _NO_FILES or ignored(member.name):
                continue
            _check_path(member.name, where)
            name = shown_name(member.name)
            if member.issparse():
                raise InputError(
                    f"member '{name}' has holes (a sparse file)",
                    where=where,
                    do="Make the archive again without the option --sparse",
                )
            if not member.isreg():
                kind = "a link" if member.issym() or member.islnk() else "no regular file"
                raise _unsafe(f"member '{name}' is {kind}", where)
            if wanted(name):
                stream = archive.extractfile(member)
                assert stream is not None
                yield Member(name, stream, member.size)


def shown_name(name: str) -> str:
    """Return a member's name for messages and patterns, with \\x.. for bytes that are not UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


_NO_FILES = (b"V", b"D")  # of GNU tar: the name of the volume; the names in a folder


class _TarInfo(tarfile.TarInfo):
    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> _TarInfo:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            # tarfile takes these for the end of the archive, too.
            raise tarfile.ReadError(f"the archive is damaged or cut short: {error}") from None


def _check_path(name: str, where: str) -> None:
    path = name.replace("\\", "/")  # Without pathlib, whose table of names grows with each.
    if path.startswith("/") or ".." in path.split("/"):
        raise _unsafe(f"the path of member '{shown_name(name)}' leads outside the archive", where)


def _unsafe(what: str, where: str) -> InputError:
    return InputError(f"unsafe archive: {what}", where=where, do="Do not use this archive")


def refusal(name: str, where: str) -> InputError:
    """Return the error for a file that is no corpus.

    Args:
        name: what the file is, such as "a PDF document".
    """
    do = "Unpack the file" if name in PACKED else "Convert the file to text, or leave it out"
    return InputError(f"not text, but {name}", where=where, do=do)


def seekable(stream: IO[bytes]) -> IO[bytes]:
    """Return a copy of a stream, in a temporary file if it is large.

    Zip, Parquet and Arrow files have their directory at the end.
    """
    import shutil
    import tempfile

    copy = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
    shutil.copyfileobj(stream, copy, BLOCK)
    copy.seek(0, io.SEEK_SET)
    return cast(IO[bytes], copy)


_IN_MEMORY = 16 << 20  # bytes
