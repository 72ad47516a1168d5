"""What a bug report holds of a run: versions, settings, records, and the ends of its logs."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from qarib_tasks import __version__
from qarib_tasks.config.loading import is_address
from qarib_tasks.config.yaml_text import read_mapping
from qarib_tasks.doctor.bug_report.allowed import ALLOWED, PACKAGES, PRESENCE
from qarib_tasks.doctor.bug_report.known_secrets import known_secrets
from qarib_tasks.doctor.bug_report.secrets_out import without_secrets
from qarib_tasks.errors import InputError, QaribError
from qarib_tasks.layout import DATASETS, MANIFEST, MEMORY, PROGRESS, SETTINGS, TPU, WORKER
from qarib_tasks.storage.bucket import Bucket, answers
from qarib_tasks.storage.files import write_text
from qarib_tasks.storage.recognition import require_ours
from qarib_tasks.storage.records.made_by import made_by
from qarib_tasks.storage.regular_files import open_regular

TITLE = "# qarib bug report"
MOST_BYTES = 64_000  # of a file; of a log, the last ones
MOST_LINES = 200  # of a log
MOST_CHARACTERS = 8_000  # of a line
_MOST_NAMES = 300
_MOST_LOGS = 16
_LOG = re.compile(rf"train\.log|{TPU}/.+/{WORKER}\d+\.log")
_RECORD = re.compile(rf"{MANIFEST}|{PROGRESS}|{TPU}/.+/{MEMORY}|{TPU}/.+/{WORKER}\d+\.json")
# Of manifests: text of the corpus.
_TEXTS = ("sample", "samples")


class Place(Protocol):
    """The folder of a model or a dataset."""

    @property
    def address(self) -> str: ...

    def names(self) -> dict[str, int]:
        """The bytes of each file below it, by its name."""

    def read(self, name: str, last: int) -> bytes:
        """The last bytes of a file; none of one that does not exist."""


class Folder:
    """A place on this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def address(self) -> str:
        return str(self.path)

    def names(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for folder, _, files in os.walk(self.path):
            for name in files:
                path = Path(folder, name)
                with suppress(FileNotFoundError):  # A training goes on.
                    if stat.S_ISREG((about := path.lstat()).st_mode):
                        found[path.relative_to(self.path).as_posix()] = about.st_size
        return dict(sorted(found.items()))

    def read(self, name: str, last: int) -> bytes:
        path = self.path / PurePosixPath(name)
        if not path.is_file():
            return b""
        with os.fdopen(open_regular(path, self.path), "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - last))
            return file.read(last)


class Published:
    """A place in a bucket.

    Args:
        address: gs:// folder.
        client: a `google.cloud.storage.Client`; the default one without it.
    """

    def __init__(self, address: str, client: Any = None) -> None:
        self.bucket = Bucket(address.rstrip("/") + "/", client)

    @property
    def address(self) -> str:
        return self.bucket.address

    def names(self) -> dict[str, int]:
        return {name: int(blob.size or 0) for name, blob in self.bucket.list().items()}

    def read(self, name: str, last: int) -> bytes:
        blob = self.bucket.get(name)
        if blob is None or not blob.size:
            return b""
        with answers(self.address + name):
            return bytes(blob.download_as_bytes(start=max(0, int(blob.size) - last)))


def write_report(run: str, output: Path, environment: Mapping[str, str] | None = None) -> None:
    """Write the report of a run, without secrets.

    Args:
        run: the model's folder: a path, or a gs:// address.

    Raises:
        InputError: there is no such run, or the output exists and is no such report.
        QaribError: a secret of the environment would be in it.
    """
    values = dict(os.environ if environment is None else environment)
    require_ours(output, lambda head: head.startswith(TITLE.encode()))
    text = "\n".join([TITLE, "", *_parts(run, values)])
    write_text(output, without_secrets(text, known_secrets(values)).rstrip() + "\n")


def _parts(run: str, environment: Mapping[str, str]) -> Iterator[str]:
    place: Place = Published(run) if is_address(run) else Folder(Path(run).absolute())
    names = place.names()
    if SETTINGS not in names and PROGRESS not in names and MANIFEST not in names:
        raise InputError(
            "is no folder of a model: it has none of its records",
            where=place.address,
            do="Give the model's folder, such as work/models/demo-0123456789 or gs://my-bucket/models/…",
        )
    yield from (_versions(), _environment(environment))
    yield from _of(place, names)
    settings = _settings(place)
    published = str(settings.get("publish_to") or "")
    if not is_address(run) and is_address(published):
        yield from _or_fault(published, True)
    root = place.address.rstrip("/").rpartition("/")[0].rpartition("/")[0]
    for one in settings.get("trained_on") or ():
        if isinstance(one, Mapping) and (dataset := str(one.get("dataset_id") or "")):
            yield from _or_fault(f"{root}/{DATASETS}/{dataset}", False)


def _or_fault(address: str, complete: bool) -> Iterator[str]:
    """The parts of another folder, or why there are none."""
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    try:
        other: Place = Published(address) if is_address(address) else Folder(Path(address))
        names = other.names() if complete else {MANIFEST: 0, SETTINGS: 0}
        yield from list(_of(other, names))
    except (QaribError, OSError, GoogleAPIError, GoogleAuthError) as error:
        yield _section(address, f"cannot be read: {error}")


def _of(place: Place, names: Mapping[str, int]) -> Iterator[str]:
    """The listing, the settings, the records, and the logs of a folder."""
    if len(names) > 2:
        lines = [f"{size:>14,}  {name}" for name, size in list(names.items())[:_MOST_NAMES]]
        more = [f"… and {len(names) - _MOST_NAMES:,} more"] if len(names) > _MOST_NAMES else []
        yield _section(f"Files of {place.address}", "\n".join([*lines, *more]))
    for name in names:
        if name == SETTINGS or _RECORD.fullmatch(name):
            data = place.read(name, 16 * MOST_BYTES)
            yield _section(f"{place.address.rstrip('/')}/{name}", _without_texts(data))
    logs = [name for name in names if _LOG.fullmatch(name)]
    for name in logs[-_MOST_LOGS:]:
        data = place.read(name, MOST_BYTES + 1)
        text = data.decode("utf-8", errors="replace")
        if len(data) > MOST_BYTES:  # A part of a line, which can be a part of a secret.
            text = text.partition("\n")[2]
        end = _limited(text.splitlines()[-MOST_LINES:])
        yield _section(f"Last lines of {place.address.rstrip('/')}/{name}", end)


def _without_texts(data: bytes) -> str:
    """A record without samples of the corpus, and with a line per value."""
    text = data.decode("utf-8", errors="replace")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return _limited(text.splitlines())
    if isinstance(values, dict):
        values = {key: value for key, value in values.items() if key not in _TEXTS}
    return _limited(json.dumps(values, ensure_ascii=False, indent=1).splitlines())


def _limited(lines: Sequence[str]) -> str:
    """The lines, none of them cut: a part of a secret cannot be recognized."""
    kept: list[str] = []
    size = 0
    for number, line in enumerate(lines):
        shown = line if len(line) <= MOST_CHARACTERS else f"(a line of {len(line):,} characters is left out)"
        size += len(shown) + 1
        if size > MOST_BYTES:
            return "\n".join([*kept, f"(and {len(lines) - number:,} more lines)"])
        kept.append(shown)
    return "\n".join(kept)


def _settings(place: Place) -> Mapping[str, Any]:
    try:
        return read_mapping(place.read(SETTINGS, MOST_BYTES).decode("utf-8"), SETTINGS)
    except (QaribError, UnicodeDecodeError):
        return {}  # The report has its text.


def _versions() -> str:
    lines = [
        f"qarib {__version__}, {made_by()}",
        f"Python {platform.python_version()}, {platform.platform()}",
    ]
    for name in PACKAGES:
        try:
            lines.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            lines.append(f"{name}: not installed")
    return _section("Versions", "\n".join(lines))


def _environment(environment: Mapping[str, str]) -> str:
    lines = [f"{name} is {environment[name]}" for name in ALLOWED if environment.get(name)]
    lines += [f"{name} is {'set' if environment.get(name) else 'not set'}" for name in PRESENCE]
    return _section("Environment", "\n".join(lines))


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n```\n{text.replace('```', '` ` `').strip()}\n```\n"
