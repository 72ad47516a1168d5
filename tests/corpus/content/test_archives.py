"""Archives of every kind, in each other; those that are not safe, cut short or bombs."""

from __future__ import annotations

import bz2
import gc
import gzip
import io
import lzma
import stat
import tarfile
import tracemalloc
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.corpus.reading.read import read
from qarib_tasks.corpus.reading.records import Findings
from qarib_tasks.errors import InputError
from tests.support.collecting import ARCHIVES, CASES, SENTENCES, lines_of, tar, zipped, zst


def refused(path: Path, message: str, **settings: object) -> InputError:
    with pytest.raises(InputError, match=message) as error:
        lines_of(path, **settings)
    assert str(path) in str(error.value.where)
    return error.value


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("a12-8000-lines.tgz", 8000),
        ("a3-corpus.tar", 7),
        ("a3-corpus.tar.gz", 7),
        ("a3-corpus.tgz", 7),
        ("a4-gzip-named.txt", 6),
        ("a10-nested.zip", 6),
        ("a2-zip-of-gz.zip", 12),
        ("a1-macos.zip", 6),
        ("a9-arabic-names.zip", 6),
        ("a13-z.jsonl", 6),
        ("a14-two-frames.txt.zst", 6),
        ("a15-skippable.txt.zst", 6),
        ("a5-multi-member.txt.gz", 6),
        ("a5-multi.txt.bz2", 6),
        ("a5-multi.txt.xz", 6),
        ("a7-trailing-zeros.txt.gz", 6),
    ],
)
def test_every_line_of_the_cases(name: str, count: int) -> None:
    lines = lines_of(CASES / name)
    assert len(lines) == count
    if count == 6:
        assert lines == SENTENCES[:6]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress, zst])
def test_a_tar_in_every_compression_whatever_its_name(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "a"
    path.write_bytes(
        pack(
            tar(
                {"b.txt": b"second\n", "a.jsonl": b'{"text": "first"}\n', "c.txt.gz": gzip.compress(b"third")}
            )
        )
    )
    # In the archive's order.
    assert lines_of(path) == ["second", "first", "third"]
    assert lines_of(path, compression="tar") == ["second", "first", "third"]
    assert lines_of(path, member="*.jsonl") == ["first"]
    assert lines_of(path, member="[bc].*") == ["second", "third"]
    refused(path, r"no member '\*\.fr'", member="*.fr")


@pytest.mark.parametrize("kind", ARCHIVES)
def test_archives_in_each_other_to_a_depth(tmp_path: Path, kind: str) -> None:
    path, data = tmp_path / "a.txt", ARCHIVES[kind]({"text.txt": "نص\n".encode()})
    for depth in range(2, 8):
        data = ARCHIVES[kind]({f"{depth}": data})
        path.write_bytes(data)
        if depth <= 5:
            assert lines_of(path) == ["نص"]
        else:
            refused(path, "more than 5 archives and compressions in each other")


@pytest.mark.parametrize("kind", ARCHIVES)
def test_what_a_member_is_and_where_it_is(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.bin"
    table = (CASES / "p10-zstd.parquet").read_bytes()
    arrow = (CASES / "b1-data-00000-of-00001.arrow").read_bytes()
    path.write_bytes(ARCHIVES[kind]({"a/a.parquet": table, "b.arrow": arrow, "c": gzip.compress(table)}))
    assert lines_of(path) == SENTENCES[:6] * 3
    path.write_bytes(ARCHIVES[kind]({"good.txt": b"a\n", "x/y.txt": b"%PDF-1.7\n"}))
    assert refused(path, "not text, but a PDF document").where == f"{path}/x/y.txt"
    path.write_bytes(ARCHIVES[kind]({"x/y.jsonl": b'{"text": "a"}\nbad\n'}))
    assert refused(path, "invalid JSON").where == f"{path}/x/y.jsonl:2"
    path.write_bytes(ARCHIVES[kind]({"x/y.txt": "\n".join(SENTENCES).encode("cp1256")}))
    assert refused(path, "probably windows-1256").where == f"{path}/x/y.txt"


@pytest.mark.parametrize("kind", ARCHIVES)
def test_members_of_systems_and_empty_ones_are_left_out_by_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    members = {"__MACOSX/._a.txt": b"\x00\x05\x16\x07", "a.txt": b"a\n", "empty.txt.gz": b"", "_SUCCESS": b""}
    path.write_bytes(ARCHIVES[kind](members))
    findings = Findings()
    lines = [
        line
        for some in read(SourceConfig(name="s", path=str(path)), path, str(path), Counter(), findings)
        for line in some
    ]
    assert [line for line in lines if line] == ["a"]
    assert set(findings.left_out) == {f"{path}/{name}" for name in members if name != "a.txt"}
    path.write_bytes(ARCHIVES[kind]({"_SUCCESS": b""}))
    assert lines_of(path) == []


@pytest.mark.parametrize("kind", ARCHIVES)
@pytest.mark.parametrize("name", ["../outside.txt", "/etc/outside.txt", "a/../../b.txt", "..\\outside.txt"])
def test_a_path_that_leaves_the_archive(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(ARCHIVES[kind]({"good.txt": b"a\n", name: b"b\n"}))
    refused(path, "leads outside the archive")


def test_links_and_devices(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        info = tarfile.TarInfo("passwd.txt")
        info.type, info.linkname = kind, "/etc/passwd"
        with tarfile.open(path, "w") as archive:
            archive.addfile(info)
        refused(path, "unsafe archive: member 'passwd.txt' is")
    link = zipfile.ZipInfo("passwd.txt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive_of_links:
        archive_of_links.writestr(link, "/etc/passwd")
    refused(path, "unsafe archive: member 'passwd.txt' is a link")


def test_members_of_tar_that_are_no_files(tmp_path: Path) -> None:
    """GNU tar writes the name of the volume (V), and with --listed-incremental the names in a folder (D)."""
    path = tmp_path / "a"
    for kind in (b"V", b"D", tarfile.SYMTYPE):
        info = tarfile.TarInfo("._link" if kind == tarfile.SYMTYPE else "label")
        info.type = kind
        with tarfile.open(path, "w") as archive:
            archive.addfile(info)
            info = tarfile.TarInfo("a.txt")
            info.size = 2
            archive.addfile(info, io.BytesIO(b"a\n"))
        assert lines_of(path) == ["a"]


def test_a_sparse_member(tmp_path: Path) -> None:
    path = tmp_path / "a"
    info = tarfile.TarInfo("a.txt")
    info.type = tarfile.GNUTYPE_SPARSE
    data = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    data[386:410] = b"%011o\0%011o\0" % (0, 0)
    data[482:495] = b"\0%011o\0" % 4096
    data[148:156] = b"%06o\0 " % (256 + sum(data[:148]) + sum(data[156:512]))
    path.write_bytes(bytes(data) + bytes(1024))
    refused(path, r"member 'a\.txt' has holes \(a sparse file\).*--sparse")


def test_a_fault_in_a_later_member_has_no_line_of_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "a"
    data = tar({"a.txt": b"a\n" * 9, "b.txt": b"b\n" * 900})
    path.write_bytes(data[: 512 * 4])
    assert refused(path, "cannot be read").where == f"{path}/b.txt"
    path.write_bytes(data[: 512 * 2 + 100])
    assert refused(path, "cannot be read").where == str(path)


def test_a_method_that_zipfile_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "a"
    data = bytearray(zipped({"a.txt": b"a\n"}))
    for place in (8, data.rindex(b"PK\x01\x02") + 10):
        data[place : place + 2] = b"\x09\x00"  # Deflate64, of Windows
    path.write_bytes(data)
    refused(path, "Unpack the file yourself")


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_tar_cut_short_anywhere_is_an_error(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "a.tar"
    data = tar({f"{i}.txt": b"text\n" * 200 for i in range(3)})
    for end in (100, 512, 600, 1024 + 512, 512 + 1024, 512 + 1024 + 300, 2 * (512 + 1024), 3 * (512 + 1024)):
        path.write_bytes(pack(data[:end]))
        if end >= 512:
            refused(path, "cannot be read")
    middle = 512 + 1024
    path.write_bytes(pack(data[:middle] + b"?" * 100 + data[middle + 100 :]))
    refused(path, "cannot be read: the archive is damaged")


def test_bombs_of_many_small_members_and_in_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qarib_tasks.corpus.content.decompression.FREE_EXPANSION", 1 << 18)
    path = tmp_path / "a"
    bomb = b"a\n" * (1 << 17)
    for data in (
        zipped({f"{i}.txt": bomb for i in range(20)}),
        zipped({"a.zip": zipped({"b.zip": zipped({"c.txt": bomb * 8})})}),
        gzip.compress(tar({"a.txt": bomb * 8})),
        zipped({"a.gz": gzip.compress(gzip.compress(bomb * 200))}),
    ):
        path.write_bytes(data)
        refused(path, "unpacks to more than 200 times")


def test_a_large_tar_takes_no_memory_for_its_members(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for i in range(6000):
            info = tarfile.TarInfo(f"{i:0100}.txt")
            info.size = 2
            archive.addfile(info, io.BytesIO(b"a\n"))
    peaks = []
    for count in (200, 200, 6000):  # The first run pays for what is imported and compiled late.
        gc.collect()
        tracemalloc.start()
        source = SourceConfig(name="s", path=str(path))
        for _, _ in zip(range(2 * count), read(source, path, str(path), Counter()), strict=False):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] - peaks[1] < 1 << 20, peaks  # 5,800 members that are kept take several times that


@pytest.mark.parametrize("name", ["a.tar", "a.tgz", "a.tar.gz"])
def test_a_tar_archive_without_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with tarfile.open(path, "w" if name == "a.tar" else "w:gz"):
        pass
    findings = Findings()
    assert list(read(SourceConfig(name="s", path=str(path)), path, name, Counter(), findings)) == []
    assert findings.left_out == {name: "an archive without files"}
    path.write_bytes(bytes(10_240) + b"text")
    with pytest.raises(InputError, match="not text, but zeros"):
        lines_of(path)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize(
    ("name", "unsafe"),
    [
        ("نص.txt", False),
        ("نصوص/ملف.txt", False),
        (f"{'ن' * 90}/{'ص' * 90}.txt", False),
        ("نص/../../ملف.txt", True),
        ("..\\ملف.txt", True),
        ("/ملف.txt", True),
    ],
)
def test_names_that_are_not_utf8_in_a_tar(tmp_path: Path, form: int, name: str, unsafe: bool) -> None:
    path, data = tmp_path / "a.tar", "نص عربي\n".encode()
    with tarfile.open(path, "w", format=form, encoding="cp1256") as archive:
        for each in (".مخفي.txt", name):
            info = tarfile.TarInfo(each)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    if unsafe:
        refused(path, "unsafe archive: the path of member .* leads outside")
        return
    findings = Findings()
    source = SourceConfig(name="s", path=str(path))
    assert next(read(source, path, str(path), Counter(), findings)) == ["نص عربي"]
    assert list(findings.left_out) == [f"{path}/.\\xe3\\xce\\xdd\\xed.txt"]
    assert lines_of(path, member="*.txt") == ["نص عربي"]
