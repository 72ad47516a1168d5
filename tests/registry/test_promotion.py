"""Which model of a preset is promoted.

Covers qarib_tasks/registry/comparison.py.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.config.loading import from_dict
from qarib_tasks.config.run import PromotionConfig, RunConfig
from qarib_tasks.errors import ConfigError, CorruptError, InputError
from qarib_tasks.registry.comparison import JudgedModel, Rule, check_rule, compare
from qarib_tasks.registry.promotion import Answer, promote, promoted_model, question, record_of
from qarib_tasks.runs.prepare import prepare_training
from qarib_tasks.runs.run import Run
from qarib_tasks.storage.manifest import Manifest
from tests.support.datasets import make_months


def judged(name: str, loss: float, heldout: str = "h", **tasks: dict[str, Any] | None) -> JudgedModel:
    evaluation: dict[str, Any] = {"masked_lm_loss": loss}
    if tasks:
        evaluation["tasks"] = [measured(task, **(values or {})) for task, values in tasks.items()]
    return JudgedModel(name, "demo-0123456789", f"/w/models/{name}", evaluation, heldout, 10)


def measured(name: str, value: float = 0.6, tfidf: float = 0.5, **more: Any) -> dict[str, Any]:
    """The result of a probe."""
    return {
        "name": name,
        "metric": "macro_f1",
        "value": value,
        "low": value - 0.1,
        "high": value + 0.1,
        "tfidf": tfidf,
        "train_texts": 100,
        "test_texts": 50,
        "sha256": "ab12",
        **more,
    }


def rule(task: str = "", **settings: Any) -> Rule:
    return Rule(task, PromotionConfig(**settings))


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
    found, text = compare(judged("new", loss, heldout), judged("old", 5.0), rule())
    assert (found, reason in text) == (good, True)
    assert compare(judged("new", loss, heldout), None, rule(promotion_margin=0))[0] == (loss == loss)


def test_without_tasks_the_reasons_are_those_of_the_loss_alone() -> None:
    assert compare(judged("new", 4.0), None, rule()) == (
        True,
        "the first model of its preset, masked-LM loss 4.0000",
    )
    assert compare(judged("new", 4.0), judged("old", 5.0), rule()) == (
        True,
        "not worse: masked-LM loss 4.0000, old has 5.0000, margin 0.02, on the same held-out part",
    )


KEPT, ALLOWED = {}, {"below_baseline": "promote"}


@pytest.mark.parametrize(
    ("new", "old", "settings", "good", "reason"),
    [
        ({"value": 0.7}, 0.7, KEPT, True, "not worse: macro-F1 of mood 0.7000, old has 0.7000, margin 0, on"),
        (
            {"value": 0.69},
            0.7,
            KEPT,
            False,
            "worse: macro-F1 of mood 0.6900, old has 0.7000, margin 0, on",
        ),
        ({"value": 0.69}, 0.7, {"task_margin": 0.02}, True, "not worse: macro-F1 of mood 0.6900, old has"),
        # Below the baseline, also if it is better than the promoted model.
        ({"value": 0.49}, 0.3, KEPT, False, "below the TF-IDF baseline: macro-F1 of mood 0.4900, TF-IDF 0.5"),
        ({"value": 0.49}, 0.3, ALLOWED, True, "which `below_baseline: promote` ignores"),
        ({"value": 0.29}, 0.3, ALLOWED, False, "worse: macro-F1 of mood 0.2900"),
        (
            {"sha256": "cd34"},
            0.7,
            KEPT,
            False,
            "on other texts of the task mood (SHA-256 of its file ab12,",
        ),
        (
            {"test_texts": 40},
            0.7,
            KEPT,
            False,
            "100 training and 50 test texts of the task mood, and not",
        ),
        ({"contaminated_documents": 3, "value": 0.9}, 0.7, KEPT, True, "; 3 documents of its training text"),
    ],
)
def test_by_a_task(
    new: dict[str, Any], old: float, settings: dict[str, Any], good: bool, reason: str
) -> None:
    one, other = judged("new", 9.0, "another", mood=new), judged("old", 1.0, mood={"value": old})
    found, text = compare(one, other, rule("mood", promote_by="task", **settings))
    assert (found, reason in text) == (good, True), text
    if "cannot be compared" in text:
        assert "old stays: " in text
        assert text.endswith("or run `qarib promote --anyway`")


def test_a_first_model_is_held_to_the_baseline_too() -> None:
    by_task = rule("mood", promote_by="task")
    assert compare(judged("new", 9.0, mood=None), None, by_task) == (
        True,
        "the first model of its preset, macro-F1 of mood 0.6000, TF-IDF 0.5000",
    )
    good, reason = compare(judged("new", 9.0, mood={"value": 0.4}), None, by_task)
    assert not good
    assert reason.startswith("below the TF-IDF baseline")
    assert "first" not in reason


def test_a_task_that_a_model_was_not_measured_on() -> None:
    by_task, old = rule("mood", promote_by="task"), judged("old", 1.0, topic=None)
    good, reason = compare(judged("new", 1.0, mood=None), old, by_task)
    assert not good
    assert reason.startswith(
        "it cannot be compared with old, which was not measured on the task mood. old stays"
    )
    assert "run what made it again with the same task" in reason
    good, reason = compare(old, judged("new", 1.0, mood=None), by_task)
    assert (good, "it was not measured on the task mood (it was on topic)" in reason) == (False, True)
    good, reason = compare(judged("new", 1.0), None, rule(promote_by="both"))
    assert (good, reason.startswith("no task is named")) == (False, True)


@pytest.mark.parametrize(
    ("loss", "value", "good", "first"),
    [
        (4.0, 0.8, True, "not worse: masked-LM loss"),
        (6.0, 0.8, False, "worse: masked-LM loss"),
        (4.0, 0.6, False, "worse: macro-F1 of mood"),
        (6.0, 0.4, False, "worse: masked-LM loss"),
    ],
)
def test_by_both_the_model_must_be_worse_in_neither(
    loss: float, value: float, good: bool, first: str
) -> None:
    new, old = judged("new", loss, mood={"value": value}), judged("old", 5.0, mood={"value": 0.7})
    found, text = compare(new, old, rule("mood", promote_by="both"))
    assert (found, text.startswith(first)) == (good, True), text
    assert "masked-LM loss" in text
    assert "macro-F1 of mood" in text


def test_the_baseline_is_the_better_one() -> None:
    new = judged("new", 4.0, mood={"value": 0.4, "tfidf": 0.1, "most_frequent": 0.45})
    good, reason = compare(new, None, rule("mood", promote_by="task"))
    assert not good
    assert reason.startswith("below the most frequent label baseline: macro-F1 of mood 0.4000, most frequent")
    good, reason = compare(new, None, rule())
    assert (good, "Warning: below the baseline: macro-F1 of mood 0.4000, most" in reason) == (True, True)


def test_by_loss_a_probe_below_the_baseline_is_a_warning() -> None:
    new = judged("new", 4.0, mood={"value": 0.4}, topic=None, **{"source@corpus": {"value": 0.1}})
    good, reason = compare(new, judged("old", 5.0), rule())
    assert good
    warning = "Warning: below the baseline: macro-F1 of mood 0.4000, TF-IDF 0.5000"
    assert reason.endswith(f"on the same held-out part. {warning}")
    # Another task than the one that decides is a warning as well.
    good, reason = compare(new, None, rule("topic", promote_by="both"))
    assert (good, "Warning: below the baseline: macro-F1 of mood" in reason) == (True, True)
    # A task of the corpus counts if it is the one to promote by.
    good, reason = compare(new, None, rule("source@corpus", promote_by="task"))
    assert (good, reason.startswith("below the TF-IDF baseline: macro-F1 of source@corpus")) == (False, True)


def config(promotion: dict[str, Any], *tasks: str, **evaluate: Any) -> RunConfig:
    listed = [{"name": name, "train": "x.csv"} for name in tasks]
    values = {"workspace": "w", "promotion": promotion, "evaluate": {"tasks": listed, **evaluate}}
    return from_dict(RunConfig, values)


def test_the_task_is_checked_before_a_run() -> None:
    for promotion, tasks in (
        ({}, ()),
        ({"promote_task": "none"}, ()),  # by loss
        ({"promote_by": "task"}, ("mood",)),
        ({"promote_by": "both", "promote_task": "topic"}, ("mood", "topic")),
        ({"promote_by": "task", "promote_task": "source@corpus"}, ()),
    ):
        check_rule(config(promotion, *tasks))
    assert Rule.of(config({"promote_by": "task"}, "mood")).task == "mood"
    with pytest.raises(ConfigError, match=r"`promote_by: task` needs .* one of: mood, topic, source@corpus"):
        check_rule(config({"promote_by": "task"}, "mood", "topic"))
    with pytest.raises(ConfigError, match=r"by the task 'mod', which .* one of: mood, source@corpus"):
        check_rule(config({"promote_by": "both", "promote_task": "mod"}, "mood"))
    with pytest.raises(ConfigError, match=r"'source@corpus'.*Add a task to evaluate\.tasks"):
        check_rule(config({"promote_by": "task", "promote_task": "source@corpus"}, free_tasks=False))


def test_the_margin_may_stand_where_earlier_versions_had_it() -> None:
    earlier = from_dict(RunConfig, {"workspace": "w", "promotion_margin": 0.5})
    assert earlier.promotion == PromotionConfig(promotion_margin=0.5)
    both = {"workspace": "w", "promotion_margin": 0.5, "promotion": {"task_margin": 0.1}}
    assert from_dict(RunConfig, both).promotion == PromotionConfig(promotion_margin=0.5, task_margin=0.1)
    with pytest.raises(ConfigError, match="promotion_margin"):
        from_dict(RunConfig, {"workspace": "w", "promotion_margin": -1})
    with pytest.raises(ConfigError, match="promotion"):
        from_dict(RunConfig, {"workspace": "w", "promotion_margin": 0.5, "promotion": 3})


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two datasets, the second extending the first."""
    return make_months(tmp_path_factory.mktemp("months"), 2)[0]


def exported(run: Run, loss: float, *tasks: dict[str, Any]) -> Run:
    """As if the run's model had been exported."""
    evaluation: dict[str, Any] = {"masked_lm_loss": loss, "step": 800}
    if tasks:
        evaluation["tasks"] = [{**task, "confusion": [[1]]} for task in tasks]
    statistics = {"evaluation": evaluation, "total_steps": 800 + run.steps_before}
    Manifest(kind="model", id=run.model_id, statistics=statistics).write(run.model.manifest)
    return run


def generous(run: Run) -> Run:
    return judging(run, promotion_margin=1.0)


def judging(run: Run, **settings: Any) -> Run:
    promotion = replace(run.config.promotion, **settings)
    return replace(run, config=replace(run.config, promotion=promotion))


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
    near = promote(generous(first))
    assert (near.state, better.model_id in near.reason) == ("candidate", True)
    # The candidate may, once the margin allows it, or because a person says so.
    assert promote(generous(worse)).state == "promoted"
    assert promote(first, anyway=True).state == "promoted"
    found = promoted_model(record, "demo")
    assert found
    assert found.model_id == first.model_id
    states = {entry["model_id"]: entry["state"] for entry in record.read()["presets"]["demo"]["judged"]}
    assert states.keys() == {first.model_id, worse.model_id, better.model_id}
    assert asdict(found)["reason"] == "promoted by hand"


def test_the_record_keeps_the_results_of_tasks(runs: list[Run]) -> None:
    path = Path(runs[0].config.workspace) / "models" / "promoted.json"
    path.unlink(missing_ok=True)
    by_task = {"promote_by": "task", "promote_task": "mood"}
    first = exported(judging(with_steps(runs[0], 831), **by_task), 5.0)
    assert promote(first).state == "candidate"
    assert promote(judging(first, promote_by="loss")).state == "promoted"
    assert "tasks" not in path.read_text()
    second = exported(judging(with_steps(runs[1], 832), **by_task), 9.0, measured("mood", 0.7))
    kept = promote(second)
    assert (kept.state, "which was not measured on the task mood" in kept.reason) == ("candidate", True)
    # Its run is run again with the task: what it is compared with stays, and the task is added.
    assert promote(exported(first, 7.0, measured("mood", 0.8))).state == "promoted"
    found = promoted_model(record_of(Path(runs[0].config.workspace), None), "demo")
    assert found
    assert (found.loss, found.tasks["mood"]) == (5.0, measured("mood", 0.8))
    entries = record_of(Path(runs[0].config.workspace), None).read()["presets"]["demo"]["judged"]
    assert [entry["model_id"] for entry in entries] == [first.model_id, second.model_id]
    assert promote(second).reason.startswith("worse: macro-F1 of mood 0.7000")
    better = promote(judging(second, task_margin=0.1))
    assert better.state == "promoted"
    assert better.reason.startswith(
        f"not worse: macro-F1 of mood 0.7000, {first.model_id} has 0.8000, margin 0.1"
    )
    below = exported(judging(with_steps(runs[1], 833), **by_task), 1.0, measured("mood", 0.4))
    assert promote(below).state == "candidate"
    assert promote(below, anyway=True).reason.startswith("promoted by hand. Warning: below the baseline")
    path.unlink()


def test_people_are_asked_as_the_settings_say(runs: list[Run]) -> None:
    path = Path(runs[0].config.workspace) / "models" / "promoted.json"
    path.unlink(missing_ok=True)
    first = exported(with_steps(runs[0], 841), 5.0)
    assert question(first) is None
    asked = question(judging(first, approval="always"))
    assert asked
    assert (asked.good, asked.promoted, asked.model.model_id) == (True, None, first.model_id)
    assert question(judging(first, approval="worse")) is None
    refused = promote(judging(first, approval="always"), answer=Answer(False, "refused by jane"))
    assert (refused.state, refused.reason.partition(";")[0]) == ("candidate", "refused by jane")
    promote(first)
    assert question(judging(first, approval="always")) is None, "it is promoted already"

    worse = exported(judging(with_steps(runs[1], 842), approval="worse"), 5.5)
    asked = question(worse)
    assert asked
    assert asked.promoted
    assert (asked.good, asked.promoted.model_id) == (False, first.model_id)
    answer = Answer(True, "approved by jane", first.model_id)
    promoted = promote(worse, answer=answer)
    assert promoted.state == "promoted"
    assert promoted.reason.startswith("approved by jane; worse: masked-LM loss 5.5000")
    # Another model was promoted while the question waited.
    late = exported(with_steps(runs[1], 843), 5.6)
    kept = promote(late, answer=answer)
    assert (kept.state, f"but {worse.model_id} was promoted while" in kept.reason) == ("candidate", True)
    gone = Answer(True, "approved by jane", "demo-gone").applied(None, "below the baseline")
    assert gone == (
        False,
        "approved by jane, but demo-gone, which the question compared with, is no longer promoted: "
        "run it again",
    )
    for approval in ("worse", "always"):
        assert question(judging(exported(late, float("inf")), approval=approval)) is None
    path.unlink()


@pytest.mark.parametrize("text", ["", "notes\n", '{"mine": 1}\n'])
def test_a_record_of_another_origin_is_not_replaced(runs: list[Run], text: str) -> None:
    path = Path(runs[0].config.workspace) / "models" / "promoted.json"
    path.unlink(missing_ok=True)
    run = exported(with_steps(runs[0], 821), 5.0)
    path.write_text(text)
    with pytest.raises(CorruptError, match=r"promoted\.json: (not|is damaged)"):
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
