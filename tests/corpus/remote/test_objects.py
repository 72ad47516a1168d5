"""Sources in a bucket with very many objects: listed page by page, up to the limit."""

from __future__ import annotations

import gc
import json
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import pytest

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.corpus.remote.objects import list_objects
from qarib_tasks.corpus.sources import list_files
from qarib_tasks.errors import InputError, StorageError

PAGE = 1000  # objects


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch, pages: float, status: int = 200) -> Iterator[list[str]]:
    """A bucket `b` whose folder `texts` has so many pages of objects; gives the pages that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            place = urlsplit(self.path)
            query = dict(parse_qsl(place.query))
            code, answer = status, {}
            if status == 200 and not place.path.endswith("/b/b/o"):
                code = 404
            elif status == 200 and query.get("prefix") == "texts/":
                answer = self.page(int(query.get("pageToken", 0)))
            data = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def page(self, number: int) -> dict[str, object]:
            asked.append(self.path)
            gc.collect()  # Objects of Google's client refer to each other.
            first = number * PAGE
            names = [f"texts/part-{one:09}.txt" for one in range(first + 1, first + PAGE)]
            facts = {
                "kind": "storage#object",
                "bucket": "b",
                "size": "7",
                "crc32c": "AAAAAA==",
                "generation": "1",
            }
            items = [{"name": name, **facts} for name in (f"texts/book-{first:09}.txt", *names)]
            kind = {"kind": "storage#objects"}
            more = {"nextPageToken": str(number + 1)} if number + 1 < pages else {}
            return kind | {"items": items} | more

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "path", ["gs://b/texts/", "gs://b/texts/*.txt", "gs://b/texts/**/*.txt", "gs://b/texts/no*"]
)
def test_a_listing_without_an_end_stops_at_the_limit(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    with serving(monkeypatch, pages=10**9) as asked:
        with pytest.raises(InputError, match=r"more than 3,000 files and folders.*raise `most_listed`"):
            list_files(SourceConfig(name="s", path=path, most_listed=3 * PAGE))
        assert 4 <= len(asked) <= 5


def test_objects_that_do_not_match_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def most_memory(pages: int) -> int:
        with serving(monkeypatch, pages):
            tracemalloc.start()
            try:
                files = list_files(SourceConfig(name="s", path="gs://b/texts/book-*.txt"))
                _, most = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        assert [file.name for file in files] == [f"book-{PAGE * page:09}.txt" for page in range(pages)]
        assert {(file.bytes, file.version) for file in files} == {(7, "AAAAAA==")}
        return most

    most_memory(1)  # Imports.
    assert most_memory(12) - most_memory(3) < 9 * PAGE * 20


def test_a_bucket_that_is_not_there_or_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    for status, error in ((404, FileNotFoundError), (403, StorageError)):
        with serving(monkeypatch, 1, status), pytest.raises(error):
            list(list_objects("b", "texts/"))
