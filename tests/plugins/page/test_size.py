"""The page's own script stays small: docs/adr/0015-the-page-has-no-build.md.

It measures plugins/qarib_airflow/page/static/js.
"""

from __future__ import annotations

import gzip

from qarib_airflow.page.app import STATIC

MOST = 60_000  # bytes of all files, each compressed as Airflow's API server sends it
LEVEL = 5  # of gzip, in airflow/api_fastapi/core_api/app.py


def test_the_own_script_is_small() -> None:
    files = sorted((STATIC / "js").rglob("*.js"))
    sizes = {path.name: len(gzip.compress(path.read_bytes(), LEVEL, mtime=0)) for path in files}
    written = sum(path.stat().st_size for path in files)
    for name, size in sorted(sizes.items(), key=lambda one: -one[1]):
        print(f"{size:>7,}  {name}")
    print(f"{sum(sizes.values()):>7,}  all {len(sizes)} files, of at most {MOST:,}; as written {written:,}")
    assert sum(sizes.values()) < MOST


def test_the_page_is_sent_as_it_is_written() -> None:
    """No build: what the page loads are the files that one edits, and one library."""
    loaded = (STATIC / "index.html").read_text(encoding="utf-8")
    assert 'type="module" src="static/js/main.js"' in loaded
    assert not list(STATIC.rglob("*.map"))
    assert sorted(path.name for path in STATIC.iterdir() if path.is_dir()) == ["js", "uplot"]
