"""Which files a path, a folder or a pattern names on this machine."""

from __future__ import annotations

import inspect
import logging
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.corpus.allowed import AllowedSources
from qarib_tasks.corpus.patterns import pattern_root
from qarib_tasks.corpus.sources import list_files
from qarib_tasks.errors import ConfigError, InputError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (
        "data1.txt",
        "data[1].txt",
        "book [2013].txt",
        "a/x.jsonl",
        "b/x.jsonl",
        "b/c/deep.txt",
        "dir [ar]/one.txt",
        "dir a/two.txt",
        "in/dir [ar]/three.txt",
        "odd/50% off #1?.txt",
        'odd/it\'s "quoted".txt',
        "odd/two\nlines.txt",
        "odd/.hidden",
        "odd/.git/config",
        "~/tilde.txt",
        "-",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(path: str, allowed: AllowedSources | None = None) -> list[str]:
    return [file.address for file in list_files(SourceConfig(name="s", path=path), allowed)]


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("data[1].txt", ["data[1].txt"]),
        ("data[1-9].txt", ["data1.txt"]),
        ("data*.txt", ["data1.txt", "data[1].txt"]),
        ("./data1.txt", ["./data1.txt"]),
        ("book [2013].txt", ["book [2013].txt"]),
        ("dir [ar]/*.txt", ["dir [ar]/one.txt"]),
        ("*/dir [ar]/*.txt", ["in/dir [ar]/three.txt"]),
        ("dir [abc]/*.txt", ["dir a/two.txt"]),
        ("?/x.jsonl", ["a/x.jsonl", "b/x.jsonl"]),
        ("**/x.jsonl", ["a/x.jsonl", "b/x.jsonl"]),
        ("b/**", ["b/c/deep.txt", "b/x.jsonl"]),
        ("b/**/*.txt", ["b/c/deep.txt"]),
        ("**/**/deep.txt", ["b/c/deep.txt"]),
        ("b", ["b/c/deep.txt", "b/x.jsonl"]),
        ("b/", ["b/c/deep.txt", "b/x.jsonl"]),
        ("[ab]/", ["a/x.jsonl", "b/c/deep.txt", "b/x.jsonl"]),
        ("odd", ["odd/50% off #1?.txt", 'odd/it\'s "quoted".txt', "odd/two\nlines.txt"]),
        ("odd/50% off #1?.txt", ["odd/50% off #1?.txt"]),
        ("odd/.h*", ["odd/.hidden"]),
        ("./~/tilde.txt", ["./~/tilde.txt"]),
        ("./-", ["./-"]),
    ],
)
def test_a_path_that_exists_is_no_pattern(path: str, names: list[str]) -> None:
    assert found(path) == names
    absolute = found(os.path.join(os.getcwd(), path))
    assert [os.path.normpath(os.path.relpath(name)) for name in absolute] == [*map(os.path.normpath, names)]


def test_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder / "a"))
    assert found("~/x.jsonl") == found("~/*.jsonl") == [f"{folder}/a/x.jsonl"]
    # A deployment's worker has a home that a user's sources have no business in.
    with pytest.raises(ConfigError, match="may not be read from ~/") as raised:
        found("~/x.jsonl", AllowedSources.of([str(folder / "b")]))
    assert f"{folder}/a" not in str(raised.value)
    assert found("~/x.jsonl", AllowedSources.of([str(folder)])) == [f"{folder}/a/x.jsonl"]


def test_a_file_is_read_once_whatever_its_names(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    (folder / "a" / "latest.jsonl").symlink_to("x.jsonl")
    (folder / "b" / "loop").symlink_to("..")
    assert found("a/*") == ["a/latest.jsonl"]
    assert "a/x.jsonl: the same file as a/latest.jsonl, read once" in caplog.text
    assert [name for name in found("b") if name.endswith("deep.txt")] == ["b/c/deep.txt"]
    (folder / "a" / "same.jsonl").hardlink_to(folder / "a" / "x.jsonl")
    assert found("a/*") == ["a/latest.jsonl"]


def test_what_is_read_and_what_is_not_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    found("b")
    assert "b: a folder with 2 files: b/c/deep.txt, b/x.jsonl" in caplog.text
    found("odd")
    assert "odd: left out 2 with hidden names: odd/.git, odd/.hidden" in caplog.text
    found("b/*")
    assert "b/*: also matches 1 folder, not read: b/c" in caplog.text
    found("data[1].txt")
    assert "data[1].txt: read as this path, not as a pattern" in caplog.text


def test_what_cannot_be_read_is_named(folder: Path) -> None:
    special = folder / "special"
    special.mkdir()
    with pytest.raises(InputError, match="special: the folder has no files"):
        found("special")
    os.mkfifo(special / "pipe")
    (special / "dead").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("special/socket")
        for path, message in (
            ("special/pipe", "special/pipe: a named pipe, not a file"),
            ("special/p*", "special/pipe: a named pipe, not a file"),
            ("special/socket", "a socket, not a file"),
            ("/dev/null", "/dev/null: a device, not a file"),
            ("special/dead", "a symbolic link that leads nowhere"),
            ("special", "special/dead: a symbolic link that leads nowhere"),
            ("missing/[a].txt", r"missing/\[a\].txt: no such file"),
            ("data1.txt/x", "data1.txt/x: no such file"),
            ("x" * 5000, "no such file"),
            ("-", "standard input cannot be read here"),
        ):
            with pytest.raises((InputError, ConfigError), match=message) as raised:
                found(path)
            assert "\n" not in str(raised.value)


def test_a_name_that_is_not_utf_8(folder: Path) -> None:
    path = os.fsencode(folder / "a") + b"/\xc7\xe1.txt"
    Path(os.fsdecode(path)).write_text("x\n")
    for pattern in ("a/*.txt", "a"):
        with pytest.raises(InputError, match=r"a/\\xc7\\xe1\.txt: the name of the file is not UTF-8. Rename"):
            found(pattern)
    assert found("a/*.jsonl") == ["a/x.jsonl"]


def test_without_permission(folder: Path) -> None:
    (folder / "a" / "x.jsonl").chmod(0)
    (folder / "b" / "c").chmod(0)
    unprivileged = 65534 if os.geteuid() == 0 else os.geteuid()
    folder.chmod(0o755)
    before = os.geteuid()
    os.seteuid(unprivileged)
    try:
        for path, message in (
            ("a", "a/x.jsonl: no permission to read the file"),
            ("a/x.jsonl", "a/x.jsonl: no permission to read the file"),
            ("b/c/deep.txt", "b/c/deep.txt: cannot be read: Permission denied"),
            ("b", "b/c: cannot list the folder: Permission denied"),
            ("b/**/*.txt", "b/c: cannot list the folder: Permission denied"),
        ):
            with pytest.raises(InputError, match=message):
                found(path)
    finally:
        os.seteuid(before)
        (folder / "b" / "c").chmod(0o755)


def test_patterns_stay_in_what_is_allowed(folder: Path) -> None:
    allowed = AllowedSources.of([str(folder / "dir [ar]"), str(folder / "b")])
    (folder / "b" / "out").symlink_to(folder / "a")
    assert found(f"{folder}/dir [ar]/*.txt", allowed) == [f"{folder}/dir [ar]/one.txt"]
    for path in ("book [2013].txt", "dir [ar]/../data[1].txt", "b/out/[x].jsonl", "b/o*/x*", "b", "b/*/x*"):
        with pytest.raises(ConfigError, match="may not be read"):
            found(f"{folder}/{path}", allowed)
    # Whether a file exists is private, too.
    messages = set()
    for name in ("data", "none"):
        with pytest.raises(ConfigError) as raised:
            found(f"{folder}/b/../{name}[1].txt", allowed)
        messages.add(str(raised.value).replace(name, "NAME"))
    assert len(messages) == 1


def test_the_folder_that_a_pattern_begins_with() -> None:
    assert [pattern_root(p) for p in ("a/b/*.txt", "/*", "*", "/a/[b]/c")] == ["a/b", "/", ".", "/a"]


@pytest.mark.parametrize(
    "pattern",
    ["{outside}/**", "{outside}/*.txt", "{inside}/*/../../outside/**", "/**/*.txt", "{inside}/link/**"],
)
def test_a_pattern_that_is_refused_lists_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside / "more", outside / "more"):
        folder.mkdir(parents=True)
        (folder / "a.txt").write_text("a")
    (inside / "link").symlink_to(outside)
    listed: list[object] = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder=".": listed.append(folder) or real(folder))
    with pytest.raises(ConfigError, match="sources may not be read from"):
        found(pattern.format(inside=inside, outside=outside), AllowedSources.of([str(inside)]))
    assert listed == []


def test_the_answer_is_the_same_whether_or_not_a_file_outside_exists(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "name").write_text("a")
    (outside / "loop").symlink_to(outside / "loop")
    (outside / "closed").mkdir(mode=0)
    answers = set()
    for name in ("name", "none", "loop", "closed", "name/more", "closed/more", "na*", "*"):
        with pytest.raises(ConfigError) as raised:
            found(f"{outside}/{name}", AllowedSources.of([str(inside)]))
        answers.add(str(raised.value).replace(f"outside/{name}", "outside/NAME"))
    assert len(answers) == 1


def test_a_walk_has_limits(tmp_path: Path) -> None:
    walked = tmp_path / "walked"
    walked.mkdir()
    for number in range(20):
        (walked / f"{number}.txt").write_text("a")
    # For `**`, once to find folders, and once to find files in them.
    for path, names in ((str(walked), 20), (f"{walked}/*.txt", 20), (f"{walked}/**/*.txt", 40)):
        source = SourceConfig(name="s", path=path, most_listed=names)
        assert len(list_files(source)) == 20
        message = rf"more than {names - 1} files and folders.*raise `most_listed`"
        with pytest.raises(InputError, match=message):
            list_files(replace(source, most_listed=names - 1))
        with pytest.raises(InputError, match=r"takes more than 1e-09 s.*raise `listing_seconds`"):
            list_files(replace(source, listing_seconds=1e-9))


def test_folders_deeper_than_functions(tmp_path: Path) -> None:
    deep = top = tmp_path / "deep"
    for _ in range(300):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "a.txt").write_text("a")
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 150)
    try:
        names = found(str(top))
    finally:
        sys.setrecursionlimit(before)
    assert names == [str(deep / "a.txt")]
