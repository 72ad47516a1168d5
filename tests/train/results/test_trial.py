"""Models that fill in a sentence in a process with limits."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.train.runtime import choose_backend

choose_backend()

from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.train.loop import train
from qarib_tasks.train.results.export import export
from qarib_tasks.train.results.fill_mask import FillMask
from tests.support.training_examples import make_job

SENTENCE = "w3 w4 [MASK] w6 [MASK]"
LIMITS = {"seconds": 300, "bytes": 8 << 30}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    job = make_job(tmp_path_factory.mktemp("trial"), learning_rate=5e-2)
    train(job)
    export(job)
    return job


def run(*models: Path, sentence: str = SENTENCE, **limits: int) -> subprocess.CompletedProcess[bytes]:
    request = {"models": list(map(str, models)), "sentence": sentence, "count": 4, **LIMITS, **limits}
    command = [sys.executable, "-m", "qarib_tasks.train.results.trial"]
    return subprocess.run(command, input=json.dumps(request).encode(), capture_output=True)


def answers(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_the_words_are_those_of_each_model(job: TrainingJob, tmp_path: Path) -> None:
    model = Path(job.output)
    own, none, again = answers(run(model, tmp_path, model))
    (expected,) = FillMask(model)([SENTENCE], 4)
    assert own == again
    assert [[word for word, _ in words] for words in own["masks"]] == [
        [guess.word for guess in words] for words in expected
    ]
    for found, words in zip(own["masks"], expected, strict=True):
        assert [share for _, share in found] == pytest.approx([one.probability for one in words], rel=1e-3)
    assert none["fault"]["what"].startswith("no exported model")
    assert none["fault"]["where"] == str(tmp_path)
    (missing,) = answers(run(model, sentence="w3 w4"))
    assert missing["fault"]["what"] == "the sentence has no [MASK]"


@pytest.mark.parametrize(
    ("limits", "status"), [({"seconds": 1}, -signal.SIGALRM), ({"bytes": 50 << 20}, None)]
)
def test_its_limits_end_it(job: TrainingJob, limits: dict[str, int], status: int | None) -> None:
    done = run(Path(job.output), **limits)
    assert done.returncode == status if status else done.returncode
    assert done.stdout == b""


def test_it_is_ended_before_others() -> None:
    """If the machine has no memory left."""
    code = "import qarib_tasks.train.results.trial as t; t.limit(60, 1 << 32); print(open(t.SCORE).read())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 1000
