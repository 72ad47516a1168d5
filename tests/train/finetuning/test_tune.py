"""Fine-tuning learns, is the same every time, also after kills, and on both backends.

Covers qarib_tasks/train/finetuning/recipe.py, qarib_tasks/train/finetuning/run.py.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.train.runtime import choose_backend

choose_backend()

from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.storage.recognition import is_finetuning_result
from qarib_tasks.train.finetuning.recipe import Recipe
from qarib_tasks.train.finetuning.tune import STATE
from tests.support.tuning.small_model import RECIPE, in_processes, make_model, run, words_of_two_kinds

ROOT = Path(__file__).parents[3]
TASK = words_of_two_kinds()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    return make_model(tmp_path_factory.mktemp("model"), TASK)


@pytest.fixture(scope="module")
def undisturbed(model: TrainingJob, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of seed 1."""
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    run(model.output, str(output), [1])
    return result_of(output)


def result_of(output: Path, seed: int = 1) -> Path:
    return output / "bert_evals" / "finetuning" / TASK.name / f"{seed}.json"


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def agreement(one: dict[str, Any], other: dict[str, Any]) -> float:
    pairs = list(zip(one["predicted"], other["predicted"], strict=True))
    return sum(a == b for a, b in pairs) / len(pairs)


def test_a_task_that_can_be_learned_is_learned(undisturbed: Path) -> None:
    found = read(undisturbed)
    most = max(map(TASK.test.labels.count, (0, 1))) / len(TASK.test)
    right = sum(a == b for a, b in zip(found["predicted"], TASK.test.labels, strict=True))
    assert right / len(TASK.test) > 0.95 > most + 0.1
    assert found["low"] <= found["value"] <= found["high"]
    assert found["value"] > 0.9
    assert (found["rate"], [one["rate"] for one in found["rates"]]) == (1e-2, [1e-5, 1e-2])
    assert found["rates"][0]["development"] < found["rates"][1]["development"]
    assert found["train_texts"] + found["development_texts"] == len(TASK.train)
    assert 20 <= found["development_texts"] <= 40
    assert sum(map(sum, found["confusion"])) == found["test_texts"] == len(TASK.test)
    assert sum(found["confusion"][n][n] for n in (0, 1)) == right
    assert (found["task"], found["seed"], found["metric"]) == ("kinds", 1, "macro_f1")
    assert found["labels"] == ["few", "many"]
    assert is_finetuning_result(undisturbed.read_bytes())
    assert sorted(path.name for path in undisturbed.parent.iterdir()) == ["1.json"]


def test_another_seed_is_another_result_and_the_same_one_the_same(
    model: TrainingJob, undisturbed: Path, tmp_path: Path
) -> None:
    """In one process, after another fine-tuning: what a process did before changes no bit."""
    run(model.output, str(tmp_path / "out"), [2, 1])
    assert result_of(tmp_path / "out").read_bytes() == undisturbed.read_bytes()
    two, one = read(result_of(tmp_path / "out", 2)), read(undisturbed)
    losses = [[rate["loss"] for rate in each["rates"]] for each in (one, two)]
    assert len({*losses[0], *losses[1]}) == 4


def test_killed_at_any_moment_it_continues_to_the_same_result(
    model: TrainingJob, undisturbed: Path, tmp_path: Path
) -> None:
    """In the middle of a rate, and between two."""
    start, output = in_processes(), tmp_path / "out"
    work = result_of(output).with_suffix(".work")
    for name in (STATE, ".qarib-0.json"):
        process: Any = start(target=run, args=(model.output, str(output), [1]))
        process.start()
        while process.is_alive() and not (work / name).is_file():
            process.join(timeout=0.005)
        process.kill()
        process.join()
        assert process.exitcode == -9
        assert not result_of(output).exists()
    process = start(target=run, args=(model.output, str(output), [1]))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert result_of(output).read_bytes() == undisturbed.read_bytes()
    assert not work.exists()


def test_what_is_finished_is_not_made_again(
    model: TrainingJob, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qarib_tasks.train.finetuning import run as module

    output = tmp_path / "out"
    shutil.copytree(undisturbed.parents[3], output)
    before = result_of(output).stat().st_mtime_ns
    monkeypatch.setattr(module, "read_model", lambda *_: pytest.fail("the model was read"))
    run(model.output, str(output), [1])
    assert result_of(output).stat().st_mtime_ns == before


def test_a_state_of_other_settings_is_not_used(model: TrainingJob, undisturbed: Path, tmp_path: Path) -> None:
    """A kill, then another recipe."""
    start, output = in_processes(), tmp_path / "out"
    work = result_of(output).with_suffix(".work")
    process: Any = start(target=run, args=(model.output, str(output), [1], replace(RECIPE, length=8)))
    process.start()
    while process.is_alive() and not (work / STATE).is_file():
        process.join(timeout=0.005)
    process.kill()
    process.join()
    run(model.output, str(output), [1])
    assert result_of(output).read_bytes() == undisturbed.read_bytes()


def test_both_backends_agree(model: TrainingJob, undisturbed: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.support.tuning.small_model",
            model.output,
            str(tmp_path / "out"),
            "jax",
        ],
        env=os.environ | {"JAX_PLATFORMS": "cpu", "KERAS_BACKEND": "jax"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found, expected = read(result_of(tmp_path / "out")), read(undisturbed)
    assert found["rate"] == expected["rate"]
    assert agreement(found, expected) >= 0.97
    for one, other in zip(found["rates"], expected["rates"], strict=True):
        assert one["development"] == pytest.approx(other["development"], abs=0.05)
        assert one["loss"] == pytest.approx(other["loss"], abs=0.01)


def test_the_recipe_is_a_warm_up_of_a_tenth_and_three_epochs() -> None:
    recipe = Recipe()
    config = recipe.training(1000)
    assert recipe.rates == (2e-5, 3e-5, 5e-5)
    assert (config.train_batch_size, config.train_steps, config.num_warmup_steps) == (32, 96, 9)
    assert recipe.training(1).num_warmup_steps == 0
    assert recipe.recorded().keys() == {
        *("batch_size", "epochs", "warmup_share", "development_share", "dropout", "length", "precision")
    }


def test_names_in_a_result_are_those_of_the_task(undisturbed: Path) -> None:
    assert list(read(undisturbed)) == [
        *("task", "sha256", "seed", "metric", "rate", "rates", "value", "low", "high", "predicted", "labels"),
        *("confusion", "train_texts", "development_texts", "test_texts", "model", "recipe"),
    ]
