"""A fault in our own code for each area of the campaign, which the tests of the area must find.

The environment variable CAMPAIGN_SEED names the area. A plugin of pytest (`-p tests.support.faults.seeds`),
so that it is loaded before the modules that import what it breaks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SEEDED = "CAMPAIGN_SEED"


def killed() -> None:
    """What a killed process left stays."""
    from qarib_tasks.storage import files

    files.is_dead = lambda entry: False  # type: ignore[assignment]


def damaged() -> None:
    """The contents of manifests are not looked at."""
    from qarib_tasks.storage.manifest import Manifest

    Manifest.content_fault = lambda self, **_: ""  # type: ignore[method-assign]


def changed() -> None:
    """A file that changes while it is read is no error."""
    from qarib_tasks.storage.checked_file import CheckedFile

    CheckedFile.require_unchanged = lambda self: None  # type: ignore[method-assign]


def crafted() -> None:
    """The rows of tables are not counted."""
    from qarib_tasks.corpus.content.decompression import Allowance

    Allowance.add_rows = lambda self, count: None  # type: ignore[method-assign]


def bucket() -> None:
    """What may pass is not tried again."""
    from qarib_tasks.storage import bucket

    bucket._retry = lambda: None


def places() -> None:
    """Sources can be anywhere."""
    from qarib_tasks.corpus.allowed import AllowedSources

    AllowedSources.check = lambda self, source, where=None: None  # type: ignore[method-assign]


def page() -> None:
    """Values of a wrong type reach the page."""
    from qarib_tasks.views import shapes

    shapes.conform = lambda value, shape: (value, True)  # type: ignore[assignment]


def users() -> None:
    """Every token is the right one."""
    from qarib_tasks.emulators import access

    access.is_token = lambda given, token: True  # type: ignore[assignment]


def secrets() -> None:
    """Passwords in addresses are printed."""
    from qarib_tasks import errors

    errors.masked = lambda text: text  # type: ignore[assignment]


def twice() -> None:
    """Two runs work in a folder at a time."""
    from qarib_tasks.storage import working_folder

    @contextmanager
    def anyone(folder: Path) -> Iterator[Any]:
        yield

    working_folder.only_one = anyone


SEEDS: dict[str, Callable[[], None]] = {
    seed.__name__: seed
    for seed in (killed, damaged, changed, crafted, bucket, places, page, users, secrets, twice)
}
if area := os.environ.get(SEEDED):
    SEEDS[area]()
