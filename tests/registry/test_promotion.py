"""Which model of a preset is promoted."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.registry.promotion import JudgedModel, compare, promote, promoted_model, record_of
from qarib_tasks.runs.prepare import prepare_training
from qarib_tasks.runs.run import Run
from qarib_tasks.storage.manifest import Manifest
from tests.support.datasets import make_months


def judged(name: str, loss: float, heldout: str = "h") -> JudgedModel:
    return JudgedModel(name, "demo-0123456789", f"/w/models/{name}", {"masked_lm_loss": loss}, heldout, 10)


@pytest.mark.parametrize(
    ("loss", "heldout", "good", "reason"),
    [
        (4.0, "h", True, "not worse"),
        (5.02, "h", True, "margin 0.02"),
        (5.03, "h", False, "worse: masked-LM loss 5.0300, old has 5.0000"),
        (1.0, "other", False, "cannot be compared"),
        (float("nan"), "h", False, "is nan"),
    ],
)
def test_a_worse_model_is_not_promoted(loss: float, heldout: str, good: bool, reason: str) -> None:
    found, text = compare(judged("new", loss, heldout), judged("old", 5.0), 0.02)
    assert (found, reason in text) == (good, True)
    assert compare(judged("new", loss, heldout), None, 0)[0] == (loss == loss)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two datasets, the second extending the first."""
    return make_months(tmp_path_factory.mktemp("months"), 2)[0]


def exported(run: Run, loss: float) -> Run:
    """As if the run's model had been exported."""
    statistics = {"evaluation": {"masked_lm_loss": loss, "step": 800}, "total_steps": 800 + run.steps_before}
    Manifest(kind="model", id=run.model_id, statistics=statistics).write(run.model.manifest)
    return run


def with_steps(run: Run, steps: int, **values: Any) -> Run:
    config = replace(run.config, train=replace(run.config.train, train_steps=steps), **values)
    return prepare_training(config, run.dataset_id)


def test_the_record_of_promotions(runs: list[Run]) -> None:
    record = record_of(Path(runs[0].config.workspace), None)
    assert promoted_model(record, "demo") is None
    with pytest.raises(InputError, match="not exported"):
        promote(runs[0])
    first = exported(with_steps(runs[0], 801), 5.0)
    assert promote(first).state == "promoted"
    text = (Path(runs[0].config.workspace) / "models" / "promoted.json").read_text()
    assert promote(first).state == "promoted"
    assert (Path(runs[0].config.workspace) / "models" / "promoted.json").read_text() == text
    assert promoted_model(record, "qarib") is None
    # On the second month, with the same held-out part.
    worse = exported(with_steps(runs[1], 802), 5.5)
    assert promote(worse).state == "candidate"
    found = promoted_model(record, "demo")
    assert found
    assert (found.model_id, found.dataset_id) == (first.model_id, first.dataset_id)
    better = exported(with_steps(runs[1], 803), 4.9)
    assert promote(better).state == "promoted"
    # The first one asked again does not take its place back, near as it is.
    near = promote(replace(first, config=replace(first.config, promotion_margin=1.0)))
    assert (near.state, better.model_id in near.reason) == ("candidate", True)
    # The candidate may, once the margin allows it, or because a person says so.
    assert promote(replace(worse, config=replace(worse.config, promotion_margin=1.0))).state == "promoted"
    assert promote(first, anyway=True).state == "promoted"
    found = promoted_model(record, "demo")
    assert found
    assert found.model_id == first.model_id
    states = {entry["model_id"]: entry["state"] for entry in record.read()["presets"]["demo"]["judged"]}
    assert states.keys() == {first.model_id, worse.model_id, better.model_id}
    assert asdict(found)["reason"] == "promoted by hand"


@pytest.mark.parametrize("text", ["", "notes\n", '{"mine": 1}\n'])
def test_a_record_of_another_origin_is_not_replaced(runs: list[Run], text: str) -> None:
    path = Path(runs[0].config.workspace) / "models" / "promoted.json"
    path.unlink(missing_ok=True)
    run = exported(with_steps(runs[0], 821), 5.0)
    path.write_text(text)
    with pytest.raises(CorruptError, match=r"promoted\.json: not "):
        promote(run)
    assert path.read_text() == text
    path.unlink()


def test_two_retrainings_at_once_do_not_both_win(
    runs: list[Run],
) -> None:
    """The second to end has not seen the first one's text."""
    workspace = Path(runs[0].config.workspace)
    first = exported(with_steps(runs[0], 811), 3.0)
    assert promote(first, anyway=True).state == "promoted"
    starting = replace(runs[1].config.train, start_from=str(first.model.root))
    config = replace(runs[1].config, train=starting)
    both = [exported(replace(with_steps(runs[1], steps), config=config), 2.9) for steps in (812, 813)]
    assert [promote(run).state for run in both] == ["promoted", "candidate"]
    found = promoted_model(record_of(workspace, None), "demo")
    assert found
    assert found.model_id == both[0].model_id
    entries = record_of(workspace, None).read()["presets"]["demo"]["judged"]
    assert "was promoted after this run began" in entries[-1]["reason"]
