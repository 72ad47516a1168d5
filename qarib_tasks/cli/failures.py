"""What a command says when it fails: one line with what happened, where, and what to do."""

from __future__ import annotations

import importlib.metadata
import os
import re
import site
import sysconfig
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import click

from qarib_tasks.errors import QaribError, masked
from qarib_tasks.storage.files import NOT_WRITTEN, final_path
from qarib_tasks.storage.system_errors import number_in, remedy

DEBUG = "QARIB_DEBUG"
INTERRUPTED = 130  # the status of a shell's command that Ctrl-C ended
MOST_CHARACTERS = 500  # of a library's message
OURS = Path(__file__).resolve().parents[1]


def failure(error: BaseException, options: Mapping[str, str] | None = None) -> str:
    """Return the line for an error, without the program's name.

    Args:
        options: the command's option for each setting, see `with_options`.
    """
    if isinstance(error, QaribError):
        return with_options(str(error), options or {})
    if isinstance(error, MemoryError):
        return f"out of memory. Use a machine with more memory{_debug()}"
    message = " ".join(str(error).split())[:MOST_CHARACTERS].rstrip(".") or type(error).__name__
    if isinstance(error, OSError):
        where = error.filename
        if where is None and error.errno not in NOT_WRITTEN:
            where = _path_near(error)
        do = remedy(error.errno, where) or _see_debug()
        return str(QaribError(error.strerror or message, where=_text(where), do=do))
    if isinstance(error, UnicodeDecodeError):
        what = f"not {error.encoding.upper()}: byte 0x{error.object[error.start]:02x} at {error.start:,}"
        return str(QaribError(what, where=_text(_path_near(error)), do="Save the file as UTF-8"))
    if (library := _library(error)) is not None:
        where = _path_near(error)
        what = f"{library}: {message}" if library else message
        system = re.search(r"\(os error (\d+)\)", message)  # of libraries that are written in Rust
        number = int(system[1]) if system else number_in(str(error))
        if number in NOT_WRITTEN:  # The rest of the message is about the library.
            what = os.strerror(number)
        return str(QaribError(what, where=_text(where), do=remedy(number, where) or _see_debug()))
    return (
        f"internal error: {type(error).__name__}: {masked(message)}. This is a bug: run the command again "
        f"with {DEBUG}=1 for the traceback, and report it{_address()}"
    )


def with_options(text: str, options: Mapping[str, str]) -> str:
    """Replace the names of settings in a message by the command's options.

    Replaced are names in backticks (`limit`), with a value or not (`header: false`), and names with an
    underscore or in front of a colon. On the command line, there are no other settings. A cleaning rule that
    has a setting's name ("dropped by arabic_share", 'arabic_share') keeps it.

    Args:
        options: option by setting, such as `{"skip_at_most": "--skip-at-most"}`; of a switch, both
            (`--header/--no-header`).
    """
    if options:  # All sources of a command have the same settings.
        text = re.sub(r"\bsources\.\d+\.(\w+)", lambda match: options.get(match[1], match[0]), text)
        text = re.sub(r"\bsources\.\d+: ", "", text)
        text = re.sub(r"(?<![\w/.])collect\.(\w+)", lambda match: options.get(match[1], match[0]), text)
    for setting, option in options.items():
        if setting not in text:  # Each setting has patterns of its own, which take time to compile.
            continue
        on, _, off = option.partition("/")
        text = text.replace(f"`{setting}: false`", f"`{off or f'{on} false'}`")
        text = text.replace(f"`{setting}: true`", f"`{on}`" if off else f"`{on} true`")
        text = re.sub(rf"`{setting}: ([^`]+)`", rf"`{on} \1`", text)
        text = text.replace(f"`{setting}`", f"`{on}`")
        text = re.sub(rf"(?:(?<=^)|(?<=; )){setting}(?:\.\d+)*(?=: )", on, text)
        if "_" in setting:
            text = re.sub(rf"(?<![\w.`'/-])(?<!by ){setting}(?![\w`/.-]*\w)(?! dropped)", on, text)
    return text


def show_traceback(error: BaseException) -> None:
    """Print the traceback to stderr if QARIB_DEBUG is set."""
    if os.environ.get(DEBUG, "0") not in ("", "0"):
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)


def _see_debug() -> str:
    return f"{DEBUG}=1 in the environment shows the traceback"


def _debug() -> str:
    return f"; {_see_debug()}"


def _address() -> str:
    """Return where to report a bug, from the package's metadata (`[project.urls]` in pyproject.toml)."""
    try:
        urls = importlib.metadata.metadata("qarib").get_all("Project-URL") or []
    except importlib.metadata.PackageNotFoundError:
        urls = []
    found = [url.partition(", ")[2] for url in urls if url.startswith("Issues, ")]
    return f" at {found[0]}" if found else ""


def _library(error: BaseException) -> str | None:
    """Return the name of the library that an error is from, if it has one; None for a bug of ours.

    Libraries use their own classes for what a user can meet. Of the built-in classes, only these stand for
    that; a TypeError in a library is our bug.
    """
    module = type(error).__module__.partition(".")[0]
    if module not in ("builtins", "qarib_tasks", "__main__"):
        return module
    if type(error) in (Exception, EOFError, ImportError, ModuleNotFoundError):
        return ""
    if type(error) is RuntimeError and (frames := _frames(error.__traceback__)):
        return _package(frames[-1].tb_frame.f_code.co_filename) or None
    return None


def _package(file: str) -> str:
    """Return the top package of an installed module; empty for ours and the standard library's."""
    roots = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()}
    for root in sorted(roots):
        if file.startswith(root + os.sep):
            return Path(file).relative_to(root).parts[0].removesuffix(".py")
    return ""


def _frames(found: TracebackType | None) -> list[TracebackType]:
    frames = []
    while found:
        frames.append(found)
        found = found.tb_next
    return frames


def _path_near(error: BaseException) -> object:
    """Return the path that the innermost function of ours was at work on: libraries do not say it.

    It is the argument or variable `path`, else the only path among the function's arguments.
    """
    for entry in reversed(_frames(error.__traceback__)):
        code, values = entry.tb_frame.f_code, entry.tb_frame.f_locals
        if not code.co_filename.startswith(str(OURS)):
            continue
        if isinstance(values.get("path"), Path):
            return values["path"]
        arguments = [values.get(name) for name in code.co_varnames[: code.co_argcount]]
        paths = [value for value in arguments if isinstance(value, Path)]
        if len(paths) == 1:
            return paths[0]
    return None


def _text(path: object) -> str | None:
    if path is None or isinstance(path, int):
        return None
    text = os.fsencode(path).decode("utf-8", "backslashreplace")  # type: ignore[arg-type]
    return final_path(text)
