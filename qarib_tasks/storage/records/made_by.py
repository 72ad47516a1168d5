"""What makes a record: the version of this package, and that of its code."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from functools import cache
from pathlib import Path

import qarib_tasks
from qarib_tasks import __version__

VARIABLE = "QARIB_CODE_VERSION"
# Beside the code in the wheel of a TPU's machine, which has neither a checkout nor the variable.
FILE = "code_version.txt"
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
SHOWN = 12  # digits of a commit
MOST_CHARACTERS = 80
# The folders of a checkout whose files are the code of a run.
FOLDERS = ("qarib_tasks", "plugins", "dags")
DIRTY = "-dirty-"
GIT_SECONDS = 10.0


def made_by() -> str:
    """The value of a manifest's `made_by`. What is made does not depend on it."""
    version = code_version()
    return f"qarib {__version__}" + (f", code {version}" if version else "")


def code_version() -> str:
    """The version of the code of this process: the first digits of its commit, or what the deployment says.

    The first of `QARIB_CODE_VERSION`, the file that a wheel has, and the commit of the checkout. A checkout
    whose code is not that of its commit has `-dirty-` and a checksum of what differs after it, which needs
    Git. Empty if none of them is there.
    """
    return _shown(os.environ.get(VARIABLE, "")) or OF_CODE + _changes(OF_CODE)


@cache
def _changes(version: str) -> str:
    """The mark of the checkout with this code, once for each process: Git reads the state of all files."""
    checkout = Path(qarib_tasks.__file__).parent.parent
    return changes_of(checkout) if version and version == _shown(commit_of(checkout)) else ""


def changes_of(checkout: Path) -> str:
    """The mark of a checkout with changes, equal for equal ones. Empty if there are none, or without Git."""
    command = ["git", "-C", str(checkout), "-c", "core.fsmonitor=false", "--no-optional-locks", "status"]
    command += ["--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", *FOLDERS]
    # As in a hook, Git's own variables can name another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=GIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    found = hashlib.sha256()
    for entry in sorted(filter(None, done.stdout.split(b"\0"))):
        path = checkout / os.fsdecode(entry[3:])
        found.update(entry[3:] + b"\0" + (_digest(path) if path.is_file() else b""))
    return f"{DIRTY}{found.hexdigest()[:8]}" if done.stdout else ""


def _digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return b""


def of_code(package: Path) -> str:
    """What a package's wheel or checkout says of its version; empty if there is neither."""
    return _shown(_text(package / FILE)) or _shown(commit_of(package.parent))


def commit_of(checkout: Path) -> str:
    """The commit that a checkout or worktree is at, from its files; empty if it cannot be read."""
    folder = checkout / ".git"
    if link := _text(folder).removeprefix("gitdir:").strip():
        folder = checkout / link
    head = _text(folder / "HEAD").strip()
    if not head.startswith("ref:"):
        return head if COMMIT.fullmatch(head) else ""
    name = head.removeprefix("ref:").strip()
    # A worktree has its own HEAD; the branches are in the repository.
    shared = folder / (_text(folder / "commondir").strip() or ".")
    lines = [_text(shared / name).strip()]
    packed = (line.split() for line in _text(shared / "packed-refs").splitlines())
    lines += [parts[0] for parts in packed if parts[1:] == [name]]
    return next((line for line in lines if COMMIT.fullmatch(line)), "")


def _shown(version: str) -> str:
    version = " ".join(version.split())
    return version[: SHOWN if COMMIT.fullmatch(version) else MOST_CHARACTERS]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


# Of the code as it was imported: a scheduler that preloads it has it also after the checkout has changed.
OF_CODE = of_code(Path(qarib_tasks.__file__).parent)
