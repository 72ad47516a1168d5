"""An Airflow and a browser that looks at it, for the tests of a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser.site import Site, browsing, undisturbed


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, airflow_database: Path) -> Iterator[Site]:
    with browsing(tmp_path_factory.mktemp("stack"), airflow_database) as site:
        yield site


@pytest.fixture
def nothing_leaves_and_nothing_is_refused(site: Site) -> Iterator[None]:
    with undisturbed(site):
        yield
