"""The version of the code in a manifest, found without Git. Git itself makes the checkouts here."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from qarib_tasks.storage.manifest import Manifest
from qarib_tasks.storage.records import made_by
from qarib_tasks.storage.records.made_by import FILE, VARIABLE, changes_of, commit_of, of_code


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "trunk/one")
    for word in ("a", "b"):
        git(folder, "commit", "--quiet", "--allow-empty", "--message", word)
    return folder


def test_a_checkout_in_each_state(checkout: Path, tmp_path: Path) -> None:
    first, second = git(checkout, "rev-parse", "HEAD~1"), git(checkout, "rev-parse", "HEAD")
    assert commit_of(checkout) == second
    git(checkout, "pack-refs", "--all")
    assert not (checkout / ".git/refs/heads/trunk/one").exists()
    assert commit_of(checkout) == second
    git(checkout, "worktree", "add", "--quiet", "-b", "other", str(tmp_path / "worktree"), first)
    assert commit_of(tmp_path / "worktree") == first
    assert commit_of(checkout) == second
    git(checkout, "checkout", "--quiet", "--detach", first)
    assert commit_of(checkout) == first


@pytest.mark.parametrize("head", ["", "ref: refs/heads/none\n", "\xff", "main"])
def test_a_checkout_that_cannot_be_read_is_no_error(tmp_path: Path, head: str) -> None:
    assert commit_of(tmp_path) == ""
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/HEAD").write_text(head, encoding="latin-1")
    assert commit_of(tmp_path) == ""


def test_a_checkout_with_changes_is_marked(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = checkout / "qarib_tasks/step.py"
    file.parent.mkdir()
    file.write_text("one\n")
    new = changes_of(checkout)
    assert re.fullmatch("-dirty-[0-9a-f]{8}", new)
    git(checkout, "add", ".")
    assert changes_of(checkout) == new, "the same code, staged"
    git(checkout, "commit", "--quiet", "--message", "c")
    assert changes_of(checkout) == ""
    (checkout / "README.md").write_text("Not code.\n")
    assert changes_of(checkout) == ""
    file.write_text("two\n")
    changed = changes_of(checkout)
    assert changed not in ("", new)
    file.write_text("three\n")
    assert changes_of(checkout) not in ("", new, changed)
    file.write_text("two\n")
    assert changes_of(checkout) == changed
    file.unlink()
    assert changes_of(checkout) not in ("", new, changed)
    # In a hook, Git names its own repository; the machine of a TPU has no Git.
    monkeypatch.setenv("GIT_DIR", str(checkout / "none"))
    assert changes_of(checkout) != ""
    monkeypatch.setenv("PATH", str(checkout))
    assert changes_of(checkout) == ""


def test_the_mark_follows_the_commit_of_this_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(made_by, "changes_of", lambda checkout: "-dirty-x")
    made_by._changes.cache_clear()
    monkeypatch.setattr(made_by, "commit_of", lambda checkout: 40 * "a")
    monkeypatch.setattr(made_by, "OF_CODE", 12 * "a")
    assert made_by.code_version() == f"{12 * 'a'}-dirty-x"
    # The checkout has moved on since the code was imported, or a wheel has the version.
    monkeypatch.setattr(made_by, "OF_CODE", "v7")
    assert made_by.code_version() == "v7"
    monkeypatch.setattr(made_by, "OF_CODE", "")
    assert made_by.code_version() == ""
    made_by._changes.cache_clear()


def test_a_wheel_s_file_is_before_the_checkout(checkout: Path) -> None:
    package = checkout / "package"
    package.mkdir()
    assert of_code(package) == git(checkout, "rev-parse", "HEAD")[:12]
    (package / FILE).write_text("v7\n")
    assert of_code(package) == "v7"


def test_a_manifest_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "release 7")
    assert Manifest(kind="corpus", id="x").made_by == "qarib 0.1.0, code release 7"
    monkeypatch.setenv(VARIABLE, 40 * "a")
    assert Manifest(kind="corpus", id="x").made_by == f"qarib 0.1.0, code {12 * 'a'}"
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr(made_by, "OF_CODE", "")
    assert Manifest(kind="corpus", id="x").made_by == "qarib 0.1.0"
