"""Compares a model with the promoted one: by its loss, by the probe of a task, or by both."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from qarib_tasks.config.evaluation import FREE_TASKS
from qarib_tasks.config.run import PromotionConfig, RunConfig
from qarib_tasks.errors import ConfigError
from qarib_tasks.labelled.scores import METRICS

ROUNDING = 1e-9  # so that a model exactly at the margin is not worse
# Figures that are equal if two models were measured alike.
SAME = ("sha256", "train_texts", "test_texts")


@dataclass(frozen=True)
class JudgedModel:
    """A model that was considered for promotion.

    Attributes:
        address: address of its folder, for trainings that start from it and programs that load it.
        evaluation: the trainer's figures of its last step, those of tasks under `tasks`.
        heldout: hash of the held-out examples and the evaluation settings. You can only compare models with
            equal hashes.
        total_steps: training steps, including those of the models that it started from.
        trained_from: address of the model that it started from; empty for random weights.
        reason: why it was promoted or not, in plain text.
        judged_at: date and time, UTC.
    """

    model_id: str
    dataset_id: str
    address: str
    evaluation: Mapping[str, Any]
    heldout: str
    total_steps: int
    trained_from: str = ""
    state: Literal["promoted", "candidate"] = "candidate"
    reason: str = ""
    judged_at: str = ""

    @property
    def loss(self) -> float:
        """The masked-LM loss, in nats per wordpiece."""
        return float(self.evaluation["masked_lm_loss"])

    @property
    def tasks(self) -> dict[str, Mapping[str, Any]]:
        """The results of its probe, by the name of the task."""
        return {task["name"]: task for task in self.evaluation.get("tasks", ())}


@dataclass(frozen=True)
class Rule:
    """What models are compared by.

    Attributes:
        task: the name of the task to compare them by; empty if there is none.
        settings: the settings of the promotion.
    """

    task: str
    settings: PromotionConfig

    @classmethod
    def of(cls, config: RunConfig) -> Rule:
        """Return the rule of a run: without `promote_task`, its only labelled task."""
        names = [task.name for task in config.evaluate.tasks]
        only = names[0] if len(names) == 1 else ""
        return cls(config.promotion.promote_task or only, config.promotion)

    @property
    def by_loss(self) -> bool:
        return self.settings.promote_by in ("loss", "both")

    @property
    def by_task(self) -> bool:
        return self.settings.promote_by in ("task", "both")


def check_rule(config: RunConfig) -> None:
    """Check that the run is scored on the task that models are compared by.

    Raises:
        ConfigError: it is not, or no task is named.
    """
    rule = Rule.of(config)
    if not rule.by_task:
        return
    names = [task.name for task in config.evaluate.tasks]
    names += FREE_TASKS if config.evaluate.free_tasks else ()
    if rule.task not in names:
        raise ConfigError(
            f"models are compared by the task {rule.task!r}, which the run does not have"
            if rule.task
            else f"`promote_by: {rule.settings.promote_by}` needs the name of a task",
            where="promotion.promote_task",
            do=f"Set it to one of: {', '.join(names)}" if names else "Add a task to evaluate.tasks",
        )


def compare(model: JudgedModel, promoted: JudgedModel | None, rule: Rule) -> tuple[bool, str]:
    """Decide whether a model may replace the promoted model, and say why."""
    if not math.isfinite(model.loss):
        return False, f"its masked-LM loss is {model.loss}"
    found: list[tuple[bool, str]] = []
    if rule.by_loss:
        found.append(_compare_loss(model, promoted, rule.settings.promotion_margin))
    if rule.by_task:
        found.append(_compare_task(model, promoted, rule))
    good = all(better for better, _ in found)
    # What keeps the model from being promoted comes first.
    reason = "; ".join(text for _, text in sorted(found, key=lambda one: one[0]))
    if good and promoted is None:
        reason = f"the first model of its preset, {reason}"
    return good, reason + warning(model, rule.task if rule.by_task else "")


def _compare_loss(model: JudgedModel, promoted: JudgedModel | None, margin: float) -> tuple[bool, str]:
    if promoted is None:
        return True, f"masked-LM loss {model.loss:.4f}"
    if model.heldout != promoted.heldout:
        return False, (
            f"it cannot be compared with {promoted.model_id}, which was evaluated on another held-out part "
            "or with other settings. To promote it, run `qarib promote --anyway`"
        )
    figures = (
        f"masked-LM loss {model.loss:.4f}, {promoted.model_id} has {promoted.loss:.4f}, "
        f"margin {margin:g}, on the same held-out part"
    )
    better = model.loss <= promoted.loss + margin
    return better, f"{'not worse' if better else 'worse'}: {figures}"


def _compare_task(model: JudgedModel, promoted: JudgedModel | None, rule: Rule) -> tuple[bool, str]:
    name, settings = rule.task, rule.settings
    task = model.tasks.get(name)
    if task is None:
        measured = f"it was on {', '.join(model.tasks)}" if model.tasks else "it was on none"
        what = f"it was not measured on the task {name} ({measured})" if name else "no task is named"
        return False, f"{what}. Set `promote_task` to a task of the run, or add the task, and run again"
    score = f"{METRICS[task['metric']]} of {name} {task['value']:.4f}"
    what, value = _baseline(task)
    below = task["value"] < value
    if below and settings.below_baseline == "keep":
        return False, (
            f"below the {what} baseline: {score}, {what} {value:.4f}. To promote such a model, set "
            "`below_baseline: promote`"
        )
    baseline = f"{what} {value:.4f}" + (", which `below_baseline: promote` ignores" if below else "")
    if seen := task.get("contaminated_documents"):
        baseline += f"; {seen:,} documents of its training text contain test texts"
    if promoted is None:
        return True, f"{score}, {baseline}"
    former = promoted.tasks.get(name)
    if former is None or any(former[key] != task[key] for key in SAME):
        return False, _not_comparable(promoted.model_id, name, former, task)
    better = task["value"] >= former["value"] - settings.task_margin - ROUNDING
    return better, (
        f"{'not worse' if better else 'worse'}: {score}, {promoted.model_id} has {former['value']:.4f}, "
        f"margin {settings.task_margin:g}, on the same texts; {baseline}"
    )


def _baseline(task: Mapping[str, Any]) -> tuple[str, float]:
    """Return the name and the score of the better baseline. Earlier records have only that of TF-IDF."""
    frequent = task.get("most_frequent") or 0.0
    return ("most frequent label", frequent) if frequent > task["tfidf"] else ("TF-IDF", task["tfidf"])


def _not_comparable(
    promoted: str, name: str, former: Mapping[str, Any] | None, task: Mapping[str, Any]
) -> str:
    """Return why the results of a task cannot be compared, and what to do."""
    do = f"{promoted} stays: to measure it on this task, run what made it again with the same task"
    if former is None:
        what = f"which was not measured on the task {name}"
    elif former["sha256"] != task["sha256"]:
        what = (
            f"which was measured on other texts of the task {name} (SHA-256 of its file "
            f"{former['sha256']}, now {task['sha256']})"
        )
    else:
        what = (
            f"which was measured on {former['train_texts']:,} training and {former['test_texts']:,} test "
            f"texts of the task {name}, and not on {task['train_texts']:,} and {task['test_texts']:,}"
        )
        do = f"{promoted} stays: raise evaluate.probe_seconds, and run both again"
    return f"it cannot be compared with {promoted}, {what}. {do}, or run `qarib promote --anyway`"


def warning(model: JudgedModel, said: str = "") -> str:
    """Return a warning of the labelled tasks on which the model is below the baseline.

    Of the tasks that the corpus gives, it says nothing: TF-IDF can be better there than any model.

    Args:
        said: a task of which it was said already.
    """
    below = [
        f"{METRICS[task['metric']]} of {name} {task['value']:.4f}, {what} {value:.4f}"
        for name, task in model.tasks.items()
        for what, value in [_baseline(task)]
        if task["value"] < value and name not in (*FREE_TASKS, said)
    ]
    return f". Warning: below the baseline: {'; '.join(below)}" if below else ""
