"""What makes a record: the version of this package, and that of its code."""

from __future__ import annotations

import os
import re
from pathlib import Path

import qarib_tasks
from qarib_tasks import __version__

VARIABLE = "QARIB_CODE_VERSION"
# Beside the code in the wheel of a TPU's machine, which has neither a checkout nor the variable.
FILE = "code_version.txt"
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
SHOWN = 12  # digits of a commit
MOST_CHARACTERS = 80


def made_by() -> str:
    """The value of a manifest's `made_by`. What is made does not depend on it."""
    version = code_version()
    return f"qarib {__version__}" + (f", code {version}" if version else "")


def code_version() -> str:
    """The version of the code of this process: the first digits of its commit, or what the deployment says.

    The first of `QARIB_CODE_VERSION`, the file that a wheel has, and the commit of the checkout. Git is
    not needed. Empty if none of them is there.
    """
    return _shown(os.environ.get(VARIABLE, "")) or OF_CODE


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
