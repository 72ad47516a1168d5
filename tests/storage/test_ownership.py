"""The rule about files that exist: what is ours is replaced, and nothing else is touched.

Covers qarib_tasks/storage/working_folder.py.
"""

from __future__ import annotations

import os
import platform
import resource
from pathlib import Path

import pytest

from qarib_tasks.errors import InputError
from qarib_tasks.storage.manifest import FileRecord, Manifest
from qarib_tasks.storage.ownership import (
    Earlier,
    Staged,
    check_outputs,
    keep_aside,
    owned,
    write_kept,
)
from qarib_tasks.storage.side_files import report_of, tokenizer_files_of
from qarib_tasks.storage.working_folder import HIDDEN, MARKER, make_folder, remove_folder


def made(
    folder: Path, text: str, *names: str, keep_changed: bool = True, stale: tuple[Path, ...] = ()
) -> None:
    """Do what a step does."""
    manifest = folder / "out.manifest.json"
    with Staged(manifest) as staged:
        for name in names:
            staged.path(folder / name).write_text(text)
        records = [staged.record(folder / name) for name in names]
        staged.commit(
            Manifest(kind="corpus", id="out", outputs=records), keep_changed=keep_changed, stale=stale
        )


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith("manifest.json")
    }


def test_two_outputs_never_share_a_side_file() -> None:
    outs = [Path(name) for name in ("tweets.txt", "tweets.json", "tweets.2023", "tweets", "vocab.txt")]
    names = [name for out in outs for name in (report_of(out), *tokenizer_files_of(out))]
    assert len(set(names)) == len(names)
    assert tokenizer_files_of(Path("a/vocab.txt")) == (
        Path("a/tokenizer.json"),
        Path("a/tokenizer_config.json"),
    )


@pytest.mark.parametrize("kind", ["same", "link", "hard link", "dots"])
def test_an_output_that_is_an_input_is_refused(tmp_path: Path, kind: str) -> None:
    raw = tmp_path / "raw"
    raw.write_text("text")
    out = {
        "same": raw,
        "link": tmp_path / "link",
        "hard link": tmp_path / "hard",
        "dots": tmp_path / "a" / ".." / "raw",
    }[kind]
    (tmp_path / "a").mkdir()
    if kind == "link":
        out.symlink_to(raw)
    if kind == "hard link":
        out.hardlink_to(raw)
    with pytest.raises(InputError, match="the output is also") as caught:
        check_outputs([tmp_path / "other", out], [tmp_path / "a" / "missing", raw])
    assert str(raw) in str(caught.value)


def test_an_output_that_cannot_be_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out, what in (
        (tmp_path, "is a folder"),
        (tmp_path / "file" / "new" / "out", "is a file, not a folder"),
        (Path("/dev/null"), "is not a regular file"),
    ):
        with pytest.raises(InputError, match=what):
            check_outputs([out])
    (tmp_path / "to").symlink_to(tmp_path)
    with pytest.raises(InputError, match="is the same file as the output"):
        check_outputs([tmp_path / "out", tmp_path / "to" / "out"])
    check_outputs([tmp_path / "new" / "folder" / "out", tmp_path / "file"], [tmp_path / "out"])


def test_only_our_files_are_replaced(tmp_path: Path) -> None:
    out, side, manifest = tmp_path / "out", tmp_path / "side", tmp_path / "out.manifest.json"
    owned("corpus", manifest, [out, side])
    made(tmp_path, "first", "out")
    owned("corpus", manifest, [out, side], named=[out])
    side.write_text("a stranger's")
    with pytest.raises(InputError, match="was not made by qarib") as caught:
        owned("corpus", manifest, [out, side], named=[out])
    assert caught.value.where == str(side)
    side.write_text("")
    with pytest.raises(InputError, match="was not made by qarib"):
        owned("corpus", manifest, [out, side], named=[out])
    owned("corpus", manifest, [out, side], named=[out, side])
    side.unlink()
    side.symlink_to(tmp_path / "nothing")
    with pytest.raises(InputError, match="was not made by qarib"):
        owned("corpus", manifest, [out, side], named=[out, side])


@pytest.mark.parametrize("text", ["", "[1, 2]", '{"a": 1}', '{\n "state": "complete"\n}'])
def test_a_file_that_is_no_manifest_of_ours_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "out.manifest.json").write_text(text)
    with pytest.raises(InputError, match="is not a manifest of qarib"):
        owned("corpus", tmp_path / "out.manifest.json", [tmp_path / "out"])
    with pytest.raises(InputError, match="is not a manifest of qarib"):
        made(tmp_path, "new", "out")
    assert (tmp_path / "out.manifest.json").read_text() == text
    assert os.listdir(tmp_path) == ["out.manifest.json"]


def test_a_damaged_manifest_of_ours_is_replaced_and_its_outputs_are_kept(tmp_path: Path) -> None:
    manifest = tmp_path / "out.manifest.json"
    made(tmp_path, "first", "out")
    manifest.write_bytes(damaged := manifest.read_bytes()[:-40])
    owned("corpus", manifest, [tmp_path / "out"])
    made(tmp_path, "second", "out", keep_changed=False)
    kept = {"out.manifest.json.damaged-1": damaged.decode(), "out.changed-1": "first"}
    assert contents(tmp_path) == {"out": "second"} | kept


def test_a_failed_step_leaves_everything_as_before(tmp_path: Path) -> None:
    made(tmp_path, "first", "out", "side")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def fail() -> None:
        with Staged(tmp_path / "out.manifest.json") as staged:
            staged.path(tmp_path / "out").write_text("second")
            staged.path(tmp_path / "new" / "third").write_text("second")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_disk_that_is_full_at_the_end_leaves_everything_as_before(tmp_path: Path) -> None:
    """The manifest is larger at the end than at the beginning, when the outputs are put in place."""
    made(tmp_path, "first", "out")
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.name == "out"}
    manifest = tmp_path / "out.manifest.json"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill() -> None:
        with Staged(manifest) as staged:
            staged.path(tmp_path / "out").write_text("second")
            records = [staged.record(tmp_path / "out")]
            large = Manifest(kind="corpus", id="out", outputs=records, statistics={"a": "b" * 4000})
            resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
            try:
                staged.commit(large)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    with pytest.raises(OSError, match="too large") as raised:
        fill()
    assert raised.value.filename == str(manifest)
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(os.listdir(tmp_path)) == ["out", "out.manifest.json"]
    made(tmp_path, "second", "out")
    assert contents(tmp_path) == {"out": "second"}


def test_names_that_no_manifest_can_hold(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\\xc7/out: the name of the file is not UTF-8"):
        check_outputs([tmp_path / os.fsdecode(b"\xc7") / "out"])


def test_a_manifest_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, "first", "out")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out.manifest.json").chmod(0)
    tmp_path.chmod(0o755)
    before = os.geteuid()
    os.seteuid(65534 if before == 0 else before)
    try:
        with pytest.raises(InputError, match=r"out\.manifest\.json: cannot be read: Permission denied"):
            owned("corpus", Path("out.manifest.json"), [Path("out")])
    finally:
        os.seteuid(before)


def test_a_small_file_of_another_content_is_kept(tmp_path: Path) -> None:
    made(tmp_path, "first", "out")
    earlier = Earlier.read(tmp_path / "out.manifest.json")
    for text in ("second", "second", "third"):
        write_kept(tmp_path / "out", text, earlier)
    assert contents(tmp_path) == {"out": "third", "out.changed-1": "second"}
    (tmp_path / "out").unlink()
    (tmp_path / "out").symlink_to("out.changed-1")
    write_kept(tmp_path / "out", "fourth", earlier)
    assert (tmp_path / "out.changed-2").is_symlink()
    assert not (tmp_path / "out").is_symlink()


def test_a_file_that_was_edited_is_kept(tmp_path: Path) -> None:
    made(tmp_path, "first", "out", "side")
    made(tmp_path, "second", "out", "side")
    assert contents(tmp_path) == {"out": "second", "side": "second"}
    (tmp_path / "side").write_text("edited")
    (tmp_path / "side.changed-1").write_text("a stranger's")
    made(tmp_path, "third", "out", "side")
    assert contents(tmp_path) == {
        "out": "third",
        "side": "third",
        "side.changed-1": "a stranger's",
        "side.changed-2": "edited",
    }
    (tmp_path / "out").write_text("damaged")
    made(tmp_path, "fourth", "out", "side", keep_changed=False)
    assert "out.changed-1" not in contents(tmp_path)


def test_a_file_that_appears_during_the_step_is_kept(tmp_path: Path) -> None:
    with Staged(tmp_path / "out.manifest.json") as staged:
        staged.path(tmp_path / "out").write_text("ours")
        (tmp_path / "out").write_text("a stranger's")
        staged.commit(Manifest(kind="corpus", id="out", outputs=[staged.record(tmp_path / "out")]))
    assert contents(tmp_path) == {"out": "ours", "out.changed-1": "a stranger's"}


@pytest.mark.parametrize("renamed", range(4))
def test_a_step_killed_while_its_outputs_are_put_in_place_runs_again(
    tmp_path: Path, renamed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, "first", "out", "stale")
    done = []

    def killed(temporary: Path, path: Path) -> None:
        if len(done) == renamed:
            raise KeyboardInterrupt
        done.append(path)
        temporary.replace(path)

    with monkeypatch.context() as patch:
        patch.setattr("qarib_tasks.storage.ownership.put_in_place", killed)
        with pytest.raises(KeyboardInterrupt):
            made(tmp_path, "second", "out", "new", "newer", "newest")
    assert Manifest.read(tmp_path / "out.manifest.json").state == "running"
    outs = [tmp_path / name for name in ("out", "new", "newer", "newest", "stale")]
    owned("corpus", tmp_path / "out.manifest.json", outs)
    made(tmp_path, "third", "out", "new", "newer", "newest", stale=(tmp_path / "stale",))
    assert contents(tmp_path) == dict.fromkeys(("new", "newer", "newest", "out"), "third")
    manifest = Manifest.read(tmp_path / "out.manifest.json")
    assert manifest.state == "complete"
    assert len(manifest.outputs) == 4


def test_only_stale_files_of_ours_are_removed(tmp_path: Path) -> None:
    made(tmp_path, "first", "out", "stale")
    (tmp_path / "other").write_text("a stranger's")
    made(tmp_path, "second", "out", stale=(tmp_path / "stale", tmp_path / "other"))
    assert contents(tmp_path) == {"other": "a stranger's", "out": "second"}


def test_files_are_kept_where_there_are_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*arguments: object, **options: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", link)
    (tmp_path / "out.changed-1").write_text("a stranger's")
    (tmp_path / "out").write_text("edited")
    assert keep_aside(tmp_path / "out") == tmp_path / "out.changed-2"
    assert contents(tmp_path) == {"out.changed-1": "a stranger's", "out.changed-2": "edited"}


def test_an_output_in_another_folder_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    out = tmp_path / "link" / ".." / "other" / "heldout"
    manifest = tmp_path / "link" / "out.manifest.json"
    with Staged(manifest) as staged:
        staged.path(out).write_text("text")
        record = staged.record(out)
        staged.commit(Manifest(kind="corpus", id="out", outputs=[record]))
    assert record.name == "../other/heldout"
    assert not Manifest.read(manifest).faults(manifest.parent)
    owned("corpus", manifest, [tmp_path / "other" / "heldout"])


def test_a_working_folder_is_emptied_of_what_we_made(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    make_folder(folder)
    make_folder(folder)
    for name in ("text", "records", f"{HIDDEN}x"):
        (folder / name).write_text("ours")
    (folder / f".text.qarib-{platform.node()}-999999999.tmp").write_text("ours")
    (folder / f"{HIDDEN}y").mkdir()
    (folder / f"{HIDDEN}y" / "z").write_text("ours")
    records = [FileRecord.of(folder / name) for name in ("text", "records")]
    Manifest(kind="corpus", id="text", outputs=records).write(folder / "text.manifest.json")
    (folder / "notes").write_text("a stranger's")
    remove_folder(folder)
    assert sorted(path.name for path in folder.iterdir()) == [MARKER, "notes"]
    (folder / "notes").unlink()
    make_folder(folder)
    remove_folder(folder)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["file", "empty folder", "folder", "link"])
def test_a_folder_that_is_not_ours_is_refused(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "work"
    if kind == "file":
        folder.write_text("")
    elif kind == "link":
        folder.symlink_to(tmp_path / "nothing")
    else:
        folder.mkdir()
    if kind == "folder":
        (folder / "notes.json").write_text("{}")
    with pytest.raises(InputError, match="was not made by qarib"):
        make_folder(folder)
    remove_folder(folder)
    assert os.path.lexists(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["work"]


def test_what_a_user_edited_stays_also_when_a_new_run_has_no_such_file(tmp_path: Path) -> None:
    made(tmp_path, "1", "a", "b", "c")
    (tmp_path / "b").write_text("edited")
    (tmp_path / "c").write_text("edited")
    made(tmp_path, "2", "a", stale=(tmp_path / "b",))
    assert contents(tmp_path) == {"a": "2", "b.changed-1": "edited", "c": "edited"}


def test_a_link_that_a_user_put_in_the_place_of_an_output_is_kept(tmp_path: Path) -> None:
    made(tmp_path, "1", "a")
    (tmp_path / "a").rename(tmp_path / "moved")
    (tmp_path / "a").symlink_to("moved")
    made(tmp_path, "2", "a")
    assert contents(tmp_path) == {"a": "2", "a.changed-1": "1", "moved": "1"}
    assert (tmp_path / "a.changed-1").is_symlink()
