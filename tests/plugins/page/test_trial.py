"""*Try it*: who may, with which models, and how much at once."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import Route, expect
from qarib_airflow.page import answers, trial
from qarib_airflow.page.bucket import ConnectionBucket

from qarib_tasks.layout import ModelLayout
from qarib_tasks.views.files import Cache
from tests.support.browser.in_process import Look
from tests.support.browser.site import require_accessible, require_no_overflow
from tests.support.made_up_run import HOSTILE, MadeUpRun, emulator_bucket
from tests.support.page_server import ask

SENTENCE = "w3 w4 [MASK] w6"
FORMER = "demo-00000000a0"


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model."""
    from qarib_tasks.train.runtime import choose_backend

    choose_backend()
    from qarib_tasks.train.loop import train
    from qarib_tasks.train.results import export as exporting
    from tests.support.training_examples import make_job

    job = make_job(tmp_path_factory.mktemp("trial"), train_steps=4)
    train(job)
    exporting.export(job)
    return Path(job.output) / "export"


@pytest.fixture
def trying(run: MadeUpRun, monkeypatch: pytest.MonkeyPatch) -> MadeUpRun:
    """A deployment that has it on, on a machine that may be busy. A model was promoted before the run's."""
    monkeypatch.setenv(trial.VARIABLE, "1")
    monkeypatch.setattr(trial, "SECONDS", 300)
    monkeypatch.setattr(trial, "_copies", trial.Copies())
    judged = [
        {"model_id": name, "state": "promoted", "heldout": "h"} for name in (FORMER, model_of(run).model_id)
    ]
    (run.workspace / "models").mkdir(exist_ok=True)
    record = {"presets": {"demo": {"promoted": FORMER, "judged": judged}}}
    (run.workspace / "models/promoted.json").write_text(json.dumps(record))
    monkeypatch.setattr(answers, "CACHE", Cache())
    return run


def model_of(run: MadeUpRun) -> ModelLayout:
    assert run.record.model is not None
    return run.record.model


def post(server: TestClient, role: str | None = "user", sentence: Any = SENTENCE, **more: Any) -> Any:
    headers = {"Authorization": f"Bearer {server.tokens[role]}", **more.pop("headers", {})}  # type: ignore[attr-defined]
    query = {"dag_id": "qarib_pretrain", "run_id": "made-up"}
    sent = {"json": {"values": {"sentence": sentence}}} | more
    return server.post("/qarib/data/try", params=query, headers=headers, **sent)


@pytest.mark.slow
def test_this_and_the_previous_model_fill_in(
    server: TestClient,
    trying: MadeUpRun,
    export: Path,
    bucket_name: str,
    emulator_address: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One is in the workspace, the other in the bucket alone, and is kept from then on."""
    shutil.copytree(export, trying.workspace / model_of(trying).name_of(model_of(trying).export))
    bucket = emulator_bucket(emulator_address, bucket_name)
    for path in export.iterdir():
        bucket.blob(f"models/{FORMER}/export/{path.name}").upload_from_filename(str(path))
    answer = post(server)
    assert answer.status_code == 200, answer.text
    own, former = answer.json()["models"]
    assert (own["model_id"], former["model_id"]) == (model_of(trying).model_id, FORMER)
    assert own["masks"] == former["masks"]
    ((words,),) = (own["masks"],)
    assert len(words) == trial.WORDS
    assert words == sorted(words, key=lambda one: -one[1])
    monkeypatch.setattr(ConnectionBucket, "download", None)
    assert post(server).json() == answer.json()
    # What the process prints of a model that is damaged.
    (trying.workspace / model_of(trying).name_of(model_of(trying).export) / "vocab.txt").write_text(
        "[MASK]\n"
    )
    own, former = post(server).json()["models"]
    assert set(own["fault"]) == {"what", "where", "do"}
    assert former["masks"]


def test_only_those_who_may_start_runs_and_only_if_it_is_on(
    server: TestClient, trying: MadeUpRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "filled_in", lambda folders, sentence: [])
    assert post(server, None).status_code == 403
    refused = post(server, "viewer")
    assert (refused.status_code, refused.json()["what"][:16]) == (403, "models are tried")
    assert ask(server, "/data/model", "viewer").json()["may_try"] is False
    assert ask(server, "/data/model", "user").json()["may_try"] is True
    plain = {"content": '{"values": {"sentence": "x"}}', "headers": {"Content-Type": "text/plain"}}
    assert post(server, **plain, json=None).status_code == 415
    for sentence in ("", "  ", "x" * 501, None, 7):
        assert post(server, sentence=sentence).status_code == 422
    # Without an export of either model.
    faults = [one["fault"]["what"] for one in post(server).json()["models"]]
    assert faults == ["the model has no export"] * 2
    for value in ("", "0", "yes"):
        monkeypatch.setenv(trial.VARIABLE, value)
        assert post(server).status_code == 403
        assert ask(server, "/data/model", "user").json()["may_try"] is False


def test_one_computes_one_waits(
    server: TestClient, trying: MadeUpRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, end = threading.Semaphore(0), threading.Event()

    def tried(*_: Any) -> list[Any]:
        begun.release()
        end.wait()
        return []

    monkeypatch.setattr(trial, "tried", tried)
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(post(server).status_code)) for _ in range(2)]
    threads[0].start()
    begun.acquire()
    threads[1].start()
    while trial._places._value:  # type: ignore[attr-defined]
        os.sched_yield()
    busy = post(server)
    assert (busy.status_code, busy.json()["what"][:16]) == (429, "another sentence")
    # The page's other views do not wait for it.
    assert ask(server, "/data/shards").status_code == 200
    end.set()
    for thread in threads:
        thread.join()
    assert found == [200, 200]
    assert post(server).status_code == 200


@pytest.mark.slow
def test_a_process_that_is_late_or_has_no_memory(
    server: TestClient, trying: MadeUpRun, export: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(export, trying.workspace / model_of(trying).name_of(model_of(trying).export))
    monkeypatch.setattr(trial, "SECONDS", 1)
    own, _ = post(server).json()["models"]
    assert own["fault"]["what"] == "the model took longer than 1 s"
    monkeypatch.setattr(trial, "SECONDS", 300)
    monkeypatch.setattr(trial, "MOST_MEMORY", 50 << 20)
    own, _ = post(server).json()["models"]
    assert own["fault"]["what"] == "the model's process gave no answer"


def test_no_link_out_of_the_workspace_and_no_large_model(
    server: TestClient,
    trying: MadeUpRun,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trial, "filled_in", lambda folders, sentence: [{"masks": []} for _ in folders])
    folder = trying.workspace / model_of(trying).name_of(model_of(trying).export)
    folder.mkdir(parents=True)
    for name in trial.NAMES:
        (folder / name).write_text("x")
    assert "fault" not in post(server).json()["models"][0]
    monkeypatch.setattr(trial, "MOST_MODEL", 3)
    assert "too large" in post(server).json()["models"][0]["fault"]["what"]
    monkeypatch.setattr(trial, "MOST_MODEL", 9)
    outside = tmp_path_factory.mktemp("outside") / "secret"
    outside.write_text("x")
    (folder / trial.NAMES[0]).unlink()
    (folder / trial.NAMES[0]).symlink_to(outside)
    assert post(server).json()["models"][0]["fault"]["what"] == "the model has no export"


@pytest.mark.slow
def test_in_the_browser(trying: MadeUpRun, look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [[".", 0.5], ["الله", 0.25], [HOSTILE, 0.125], *([f"كلمة{n}", 0.01] for n in range(9))]
    monkeypatch.setattr(
        trial,
        "tried",
        lambda models, files, sentence: [
            {"model_id": models[0].model_id, "masks": [words] * sentence.count("[MASK]")},
            {"model_id": FORMER, "fault": {"what": "the model has no export", "where": "", "do": "Wait"}},
        ],
    )
    place = trying.workspace / model_of(trying).name_of(model_of(trying).manifest)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps({"kind": "model", "id": model_of(trying).model_id, "state": "complete"}))
    view = "model?dag_id=qarib_pretrain&run_id=made-up"
    page = look(view)
    expect(page.get_by_role("heading", name="Model", exact=True)).to_be_visible()
    expect(page.get_by_role("heading", name="Try it")).to_be_hidden()
    page.close()
    page = look(view, role="user")
    sentence = page.get_by_label("A sentence with [MASK]")
    sentence.fill("قال رسول ")
    page.get_by_role("button", name="Insert [MASK]").click()
    expect(sentence).to_have_value("قال رسول [MASK]")
    sentence.press("Enter")
    own = page.get_by_role("region", name="This model")
    expect(own.get_by_role("listitem")).to_have_count(5)
    expect(own.get_by_role("listitem").nth(0)).to_have_text("الله25.0%")
    expect(own.get_by_role("listitem").nth(1)).to_contain_text(HOSTILE)
    page.get_by_label("Punctuation too").check()
    expect(own.get_by_role("listitem").nth(0)).to_have_text(".50.0%")
    expect(page.get_by_role("region", name="Previous model")).to_contain_text("the model has no export")
    # While another sentence is filled in, no answer to this one is shown.
    waiting: list[Route] = []
    page.route("**/data/try?*", lambda route: waiting.append(route))
    sentence.press("Enter")
    expect(own).to_have_count(0)
    waiting[0].continue_()
    expect(own).to_be_visible()
    assert page.title() == "QARiB"
    require_accessible(page)
    page.set_viewport_size({"width": 390, "height": 800})
    require_no_overflow(page)
    page.close()
