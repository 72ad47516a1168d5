"""The page's application: who may see it, what it answers, with Airflow's own auth manager and database.

Covers plugins/qarib_airflow/page/app.py, plugins/qarib_airflow/page/answers.py,
plugins/qarib_airflow/page/database.py, plugins/qarib_airflow/page/guard.py,
plugins/qarib_airflow/page/threads.py.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import threading
from collections import deque
from pathlib import Path
from typing import Any

import pytest
from fastapi import HTTPException
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from qarib_airflow.page import answers, database
from qarib_airflow.page import app as page
from qarib_airflow.page.guard import may_read_dag, may_read_runs, may_read_tasks
from qarib_airflow.page.threads import Threads

from tests.support.airflow.interpreter import printed
from tests.support.made_up_run import MadeUpRun, arabic_task, write_probes
from tests.support.page_server import QUERY, allow, ask

REPOSITORY = Path(__file__).resolve().parents[3]
ROUTES = [route for route in page.app.routes if isinstance(route, APIRoute)]
FILES = {path.relative_to(page.STATIC).as_posix(): path for path in page.STATIC.rglob("*") if path.is_file()}
PATHS = [
    path
    for route in ROUTES
    if "GET" in route.methods
    for path in ([f"/static/{name}" for name in FILES] if "{name" in route.path else [route.path])
]


def test_there_are_no_routes_but_guarded_ones() -> None:
    """Nothing is mounted beside them, and Airflow's guards are among what each depends on."""
    assert page.app.routes == ROUTES
    assert len(PATHS) > 15
    for route in ROUTES:
        calls = {dependency.call for dependency in route.dependant.dependencies}
        assert {may_read_dag, may_read_runs, may_read_tasks} <= calls, route.path


def test_other_processes_do_not_import_the_page() -> None:
    """And its addresses follow that of Airflow."""
    code = (
        "import json, sys, qarib_plugin as p\n"
        "names = ('qarib_airflow.page', 'airflow.api_fastapi')\n"
        "heavy = [name for name in sys.modules if name.startswith(names)]\n"
        "print(json.dumps([heavy, [view['href'] for view in p.QaribPlugin.external_views]]))"
    )
    address = {"AIRFLOW__API__BASE_URL": "https://example.org/airflow/"}
    heavy, hrefs = json.loads(printed(code, **address))
    assert heavy == []
    assert hrefs == ["/airflow/qarib/", "/airflow/qarib/?dag_id={DAG_ID}&run_id={RUN_ID}"]


@pytest.mark.parametrize("path", [*PATHS, "/static/nothing", "/openapi.json", "/docs"])
def test_signed_out_or_without_leave_there_is_nothing(server: TestClient, path: str) -> None:
    signed_out = server.get(f"/qarib{path}", params=QUERY)
    forbidden = ask(server, path, None)
    unknown = path in ("/openapi.json", "/docs")
    assert (signed_out.status_code, forbidden.status_code) == ((404, 404) if unknown else (401, 403))
    for answer in (signed_out, forbidden):
        assert set(answer.json()) == {"what", "where", "do"}
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_signed_out_the_page_itself_leads_to_the_sign_in(server: TestClient) -> None:
    """By the only script in it, which its policy allows."""
    answer = server.get("/qarib/", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["content-type"]) == (401, "text/html; charset=utf-8")
    (script,) = re.findall("<script>(.*?)</script>", answer.text)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = dict(one.split(" ", 1) for one in answer.headers["content-security-policy"].split("; "))
    assert (policy["default-src"], policy["script-src"]) == ("'none'", f"'sha256-{digest}'")


def test_who_may_read_the_dag_gets_every_answer(server: TestClient, run: MadeUpRun) -> None:
    for path in PATHS:
        answer = ask(server, path, query=QUERY | {"run": "qarib_pretrain/made-up"})
        assert answer.status_code == 200, (path, answer.text)
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "frame-ancestors 'self'" in policy
    view = ask(server, "/data/shards").json()
    assert [shard["state"] for shard in view["shards"]] == ["complete"] * 4
    assert view["trouble"] is None
    assert ask(server, "/data/shard").json()["sample"][0]["text"].startswith("<script>")
    assert ask(server, "/data/shards").headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "path",
    [
        "../app.py",
        "%2e%2e/app.py",
        "..%2fapp.py",
        "js/..%2f..%2fapp.py",
        "%2e%2e%5capp.py",
        "/etc/passwd",
        "%2fetc/passwd",
        str(page.STATIC.parent / "app.py"),
        "js",
        "js/",
        "js%00main.js",
        "",
    ],
)
def test_nothing_outside_the_folder_is_served(server: TestClient, path: str) -> None:
    answer = ask(server, f"/static/{path}")
    assert answer.status_code == 404
    assert set(answer.json()) == {"what", "where", "do"}


TYPES = {"css": "text/css", "html": "text/html", "js": "text/javascript", "svg": "image/svg+xml"}


def test_files_have_their_type_and_are_sent_once(server: TestClient) -> None:
    """A browser asks each time, and gets a file again only where it has changed."""
    for name, path in FILES.items():
        answer = ask(server, f"/static/{name}")
        assert answer.content == path.read_bytes()
        if kind := TYPES.get(path.suffix[1:]):
            assert answer.headers["content-type"].partition(";")[0] == kind
        assert answer.headers["cache-control"] == "private, no-cache"
        tag = answer.headers["etag"]
        token = server.tokens["viewer"]  # type: ignore[attr-defined]
        headers = {"Authorization": f"Bearer {token}", "If-None-Match": tag}
        again = server.get(f"/qarib/static/{name}", headers=headers)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        # The guard comes first.
        assert server.get(f"/qarib/static/{name}", headers={"If-None-Match": tag}).status_code == 401


def test_a_run_that_is_not_there(server: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "runs", lambda *_, **__: [])
    views = ("shards", "corpus", "training", "tasks", "model", "shard", "note")
    for path in (f"/data/{name}" for name in views):
        answer = ask(server, path)
        assert (answer.status_code, answer.json()["what"]) == (404, "no such run")
    assert ask(server, "/data/run").json() == {"run": None}


def test_a_server_error_is_json(server: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret words")

    monkeypatch.setattr(database, "runs", broken)
    answer = ask(server, "/data/run")
    assert answer.status_code == 500
    assert set(answer.json()) == {"what", "where", "do"}
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_bucket_that_does_not_answer(
    server: TestClient, run: MadeUpRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workspace is shown, and what is wrong with the bucket."""
    run.record.values["config"]["upload"]["bucket"] = "there-is-none"
    view = ask(server, "/data/shards").json()
    assert [shard["state"] for shard in view["shards"]] == ["complete"] * 4
    assert view["trouble"]["where"] == "gs://there-is-none/"


def test_an_id_of_any_text(server: TestClient) -> None:
    for name in (
        "a\0b",
        "x" * 10_000,
        "%00",
        "../..",
        "\ud83d".encode("utf-8", "surrogatepass").decode("latin-1"),
    ):
        assert ask(server, "/data/run", query={"run_id": name}).json()["run"] is None
        for view in ("shards", "corpus", "training", "tasks", "model", "note"):
            query = {"dag_id": "qarib_pretrain", "run_id": name}
            assert ask(server, f"/data/{view}", query=query).status_code == 404
    assert ask(server, "/static/a%00b", query={}).status_code == 404


def test_a_view_that_takes_too_long(
    server: TestClient, run: MadeUpRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    monkeypatch.setenv("QARIB_LIMITS", "page_seconds: 0.2")
    monkeypatch.setattr(page, "corpus_view", lambda *_: go_on.wait())
    try:
        answer = ask(server, "/data/corpus")
    finally:
        go_on.set()
    assert (answer.status_code, answer.json()["what"]) == (503, "the workspace or the bucket does not answer")


def test_only_the_places_of_the_deployment_are_read(
    server: TestClient, run: MadeUpRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket_name: str
) -> None:
    """Who may write XComs can name another team's workspace or bucket in the record of a run."""
    allow(monkeypatch, tmp_path / "own", f"gs://{bucket_name}/own/")
    row = ask(server, "/data/run").json()["run"]
    assert row["data"] == {}
    assert (row["fault"]["what"], row["fault"]["where"]) == (
        "no workspace of this deployment",
        str(run.workspace),
    )
    assert ask(server, "/data/corpus").json()["corpus"] is None
    # Of the bucket's prefixes, too.
    allow(monkeypatch, tmp_path, f"gs://{bucket_name}/own/")
    shutil.rmtree(run.dataset.root)
    view = ask(server, "/data/shards").json()
    assert view["trouble"]["what"] == "this deployment does not publish there"
    assert not any(shard.get("bytes") for shard in view["shards"])


def test_a_place_that_does_not_answer_stops_no_other(
    server: TestClient, run: MadeUpRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, go_on = Threads(), threading.Event()
    monkeypatch.setenv("QARIB_LIMITS", "{page_threads: 3, page_waiting: 5}")
    monkeypatch.setattr(answers, "THREADS", threads)
    try:
        with pytest.raises(HTTPException, match="too many requests"):
            deque(threads.submit(("/hangs", ""), go_on.wait) for _ in range(2 * 3 + 5))
        assert ask(server, "/data/run").json()["run"]["fault"] is None
        assert ask(server, "/data/corpus").status_code == 200
    finally:
        go_on.set()


def test_labelled_tasks(server: TestClient, run: MadeUpRun) -> None:
    """Half of a character, which JSON can hold, is no reason to fail."""
    assert run.record.model is not None
    folder = run.workspace / run.record.model.name
    write_probes(folder, 5, arabic_task("sentiment", labels=["<b>", "smile"]), every=3)
    path = folder / "bert_evals/evaluation-5.json"
    path.write_text(path.read_text().replace("smile", "\\ud83d"))
    answer = ask(server, "/data/tasks")
    assert answer.status_code == 200
    view = answer.json()
    assert (view["run"], view["expected"], view["tasks"][0]["labels"]) == ("success", False, ["<b>", "?"])
    assert view["tasks"][0]["probe"]["step"] == [5]


def send(server: TestClient, path: str, sent: Any, role: str | None = "user") -> Any:
    token = server.tokens[role]  # type: ignore[attr-defined]
    content = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    return server.post(f"/qarib{path}", content=content, headers={"Authorization": f"Bearer {token}"})


def test_a_new_run_is_planned_by_who_may_read_and_started_by_who_may_trigger(
    server: TestClient, run: MadeUpRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "conf_of", lambda *_: {"train_steps": 70})
    for role, may in (("viewer", False), ("user", True)):
        view = ask(server, "/data/form", role).json()
        assert (view["may_start"], view["may_check"], view["again"]) == (may, may, {"train_steps": 70})
        answer = send(server, "/data/check", {"values": {"train_steps": "2.000"}}, role)
        assert answer.status_code == 200
        assert answer.json()["faults"][0]["field"] == "train_steps"
        preview = send(server, "/data/preview", {"values": {"sources": [{"path": "/etc/passwd"}]}}, role)
        assert preview.status_code == (422 if may else 403)
        assert set(preview.json()) == {"what", "where", "do"}
    for path in ("/data/check", "/data/preview"):
        assert server.post(f"/qarib{path}", json={"values": {}}).status_code == 401
        assert send(server, path, {"values": {}}, None).status_code == 403


@pytest.mark.parametrize(
    "sent", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, {"values": []}, {"values": {"a": "x" * (1 << 20)}}]
)
@pytest.mark.parametrize("path", ["/data/check", "/data/preview"])
def test_what_no_form_sends_is_refused(server: TestClient, path: str, sent: Any) -> None:
    answer = send(server, path, sent)
    assert answer.status_code in (413, 422)
    assert set(answer.json()) == {"what", "where", "do"}


def test_what_one_types_does_not_fail_the_server(server: TestClient) -> None:
    deep: Any = "x"
    for _ in range(300):
        deep = [deep]
    for value in (deep, {"a": deep}, 7, True, "x" * 900_000, ["a"] * 1_000, [{"path": "a"}] * 1_000):
        for name in ("train_steps", "sources", "tasks", "zones", "preset", "dataset", "nonsense", "xla"):
            answer = send(server, "/data/check", {"values": {name: value}}, "viewer")
            assert answer.status_code in (200, 422), (name, answer.text[:200])


def test_figures_that_are_not_finite() -> None:
    text = bytes(answers.answer({"loss": float("nan"), "step": 3}).body)
    assert json.loads(text) == {"loss": None, "step": 3}


def test_nothing_is_fetched_from_elsewhere() -> None:
    """The page's own files name no other host but for licences and namespaces."""
    for name, path in FILES.items():
        if name.startswith("uplot/") or path.suffix not in (".js", ".css", ".html"):
            continue
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text, name
        assert "https://" not in text, name
        for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert way not in text, (name, way)
        assert len(text.splitlines()) < 400, name
