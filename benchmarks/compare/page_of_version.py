"""The page of one version over a made-up run, which answers on its standard input what it is asked for.

`former_commit.py` starts it in the version's folder and with the version's code. A line `VIEW TIMES` is
answered by a line of JSON: the CPU seconds of so many answers, and the bytes of one. Before each answer, the
cache is made older, so that everything that changes is read again. The bucket is a folder, whose files are
listed once: an emulator's answers have other lengths in each version, and take more time than the page.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SHARDS, STEPS, EVALUATIONS = 1200, 1000, 20


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home, root = Path(folder), Path.cwd()
        sys.path[:0] = [str(root / name) for name in ("", "plugins", "tests")]
        try:
            from tests.support.made_up_run import FolderBucket, insert_run, make_run
        except ImportError:  # Of the commit with which this one is compared.
            from made_up_run import FolderBucket, insert_run, make_run  # type: ignore[import-not-found, no-redef]
        os.environ |= {
            "AIRFLOW_HOME": folder,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
            "AIRFLOW__API_AUTH__JWT_SECRET": "x" * 64,
            "QARIB_WORKSPACE": str(home / "workspace"),
            "QARIB_BUCKET": "qarib",
        }
        run = make_run(home / "workspace", SHARDS)
        write_training(home / "workspace" / "models" / run.record.values["model_id"])
        run.upload(home / "bucket")
        from airflow.utils.db import initdb  # noqa: TID251

        initdb()
        insert_run(home / "airflow.db", run)
        serve(FolderBucket(home / "bucket"))


def write_training(folder: Path) -> None:
    """Write the progress, the history, and the evaluations of a training, and its model's card."""
    for name in ("bert_model", "bert_evals", "export"):
        (folder / name).mkdir(parents=True)
    lines = []
    for step in range(1, STEPS + 1):
        figures = {"step": step, "loss": 9 - step / STEPS, "masked_lm_loss": 8 - step / STEPS}
        figures |= {"masked_lm_accuracy": step / STEPS / 2, "next_sentence_loss": 0.625}
        figures |= {"next_sentence_accuracy": 0.5, "learning_rate": 1e-4, "examples_per_second": 100.0}
        lines.append(json.dumps(figures) + "\n")
    (folder / "bert_model" / "history.jsonl").write_text("".join(lines))
    words = [{"text": "قال [MASK] ", "words": [["رسول", 0.5], ["الله", 0.25]]}] * 5
    for number in range(1, EVALUATIONS + 1):
        step = number * STEPS // EVALUATIONS
        evaluation: dict[str, Any] = {"step": step, "masked_lm_loss": 8.0, "masked_lm_accuracy": 0.1}
        evaluation |= {"perplexity": 2981.0, "unigram_entropy": 6.5, "examples": 6400, "fill_mask": words}
        (folder / "bert_evals" / f"evaluation-{step}.json").write_text(json.dumps(evaluation))
    progress = {"state": "finished", "step": STEPS, "train_steps": STEPS, "loss": 8.0, "masked_lm_loss": 7.0}
    progress |= {"updated_at": "2026-01-01T00:00:00+00:00", "place": "workspace", "resumed": []}
    (folder / "progress.json").write_text(json.dumps(progress | {"evaluation": evaluation}))
    (folder / "export" / "README.md").write_text("A model.\n" * 100)


def serve(folder: Any) -> None:
    from airflow.api_fastapi.app import init_auth_manager  # noqa: TID251
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser  # noqa: TID251
    from fastapi import FastAPI
    from fastapi.testclient import TestClient
    from qarib_airflow.page import app as page
    from qarib_airflow.page.bucket import ConnectionBucket

    from qarib_tasks.views.files import FRESH

    try:
        from qarib_airflow.page.answers import CACHE
    except ImportError:
        CACHE = page.CACHE  # type: ignore[attr-defined]
    objects = folder.list("")
    ConnectionBucket.list = lambda self, below: [one for one in objects if one.name.startswith(below)]  # type: ignore[method-assign]
    ConnectionBucket.read = lambda self, name, last=0: folder.read(name)  # type: ignore[method-assign]
    host = FastAPI()
    token = init_auth_manager(host).generate_jwt(SimpleAuthManagerUser(username="viewer", role="viewer"))
    host.mount("/qarib", page.app)
    query = {"dag_id": "qarib_pretrain", "run_id": "made-up"}
    with TestClient(host, headers={"Authorization": f"Bearer {token}"}) as client:
        print("ready", flush=True)
        for line in sys.stdin:
            view, times = line.split()
            size, started = 0, time.process_time()
            for _ in range(int(times)):
                CACHE.age(FRESH)
                answered = client.get(f"/qarib/data/{view}", params=query)
                assert answered.status_code == 200, answered.text
                assert not answered.json().get("trouble"), answered.text
                size = len(answered.content)
            print(json.dumps({"seconds": time.process_time() - started, "bytes": size}), flush=True)


if __name__ == "__main__":
    main()
