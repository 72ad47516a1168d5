"""Members of zip and tar archives, one after the other."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, cast

from qarib_tasks.corpus.content.decompression import BLOCK, Allowance
from qarib_tasks.corpus.content.detection import document_name, refusal
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
    file: IO[bytes],
    where: str,
    ignored: Callable[[str], bool],
    wanted: Callable[[str], bool],
    allowance: Allowance,
) -> Iterator[Member]:
    """Yield the members that are wanted, in the order of their names.

    Args:
        ignored: whether a member does not count, whatever it is; asked once for each.

    Raises:
        InputError: the zip file is a document or a program, or not safe.
    """
    with _Zip(file, where, allowance) as archive:
        _check_apart(archive.infolist(), where)
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
    file: IO[bytes],
    where: str,
    ignored: Callable[[str], bool],
    wanted: Callable[[str], bool],
    allowance: Allowance,
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
            archive.pax_headers = {}
            allowance.add_member()
            # To skip more than there is, tarfile would count to the end of what is claimed.
            allowance.require(member.size)
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


class _Zip(zipfile.ZipFile):
    """A zip file whose members are counted while its directory is read."""

    def __init__(self, file: IO[bytes], where: str, allowance: Allowance) -> None:
        self._counted = _Counted(allowance)
        super().__init__(cast(IO[bytes], _Bounded(file, where)))

    @property
    def filelist(self) -> list[zipfile.ZipInfo]:
        return self._counted

    @filelist.setter
    def filelist(self, members: list[zipfile.ZipInfo]) -> None:
        """Ignore the empty list that `zipfile` begins with."""


class _Counted(list[zipfile.ZipInfo]):
    def __init__(self, allowance: Allowance) -> None:
        super().__init__()
        self._allowance = allowance

    def append(self, member: zipfile.ZipInfo) -> None:
        self._allowance.add_member()
        super().append(member)


class _Bounded:
    """A file of which no large part is read at once: only the directory could be one."""

    def __init__(self, file: IO[bytes], where: str) -> None:
        self._file = file
        self._where = where
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, count: int = -1) -> bytes:
        if count > _MOST_DIRECTORY:
            what = f"the directory of the archive takes more than {_MOST_DIRECTORY >> 20} MiB"
            raise InputError(what, where=self._where, do="Unpack the file yourself")
        return self._file.read(count)


def _check_apart(members: Sequence[zipfile.ZipInfo], where: str) -> None:
    """Check that no two members share bytes of the file: that is how a small archive has a large content.

    Raises:
        InputError: some do.
    """
    end = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        if member.header_offset < end:
            raise _unsafe(f"member {member.filename!r} overlaps another one", where)
        end = member.header_offset + _LOCAL_HEADER + member.compress_size


_LOCAL_HEADER = 30  # bytes, without the name
_MOST_DIRECTORY = 256 << 20  # bytes
_MOST_HEADER = 1 << 20  # bytes of a long name or of other facts about a tar archive's member
_NO_FILES = (b"V", b"D")  # of GNU tar: the name of the volume; the names in a folder


class _TarInfo(tarfile.TarInfo):
    """The header of a member. What only sparse files have, which are refused, is not read."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> _TarInfo:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            # tarfile takes these for the end of the archive, too.
            raise tarfile.ReadError(f"the archive is damaged or cut short: {error}") from None

    def _proc_member(self, archive: Any) -> Any:
        if self.type == tarfile.GNUTYPE_SPARSE:
            self.sparse = b""
            return self
        # tarfile reads such a header at once.
        if self.type in _LONG_HEADERS and self.size > _MOST_HEADER:
            raise tarfile.ReadError(f"a header has {self.size:,} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]

    def _proc_gnusparse_00(self, member: Any, *_: Any) -> None:
        member.sparse = b""

    _proc_gnusparse_01 = _proc_gnusparse_10 = _proc_gnusparse_00


_LONG_HEADERS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


def _check_path(name: str, where: str) -> None:
    path = name.replace("\\", "/")  # Without pathlib, whose table of names grows with each.
    if path.startswith("/") or ".." in path.split("/"):
        raise _unsafe(f"the path of member '{shown_name(name)}' leads outside the archive", where)


def _unsafe(what: str, where: str) -> InputError:
    return InputError(f"unsafe archive: {what}", where=where, do="Do not use this archive")


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
