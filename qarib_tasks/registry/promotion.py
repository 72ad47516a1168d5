"""The model to use: `models/promoted.json` names the promoted model of each preset.

A new model replaces the promoted model only if it is worse by at most a margin: by its masked-LM loss on the
same held-out part, by the probe of a task on the same texts, or by both. Otherwise it stays a candidate: its
files stay, and no asset event is sent.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any, Literal

from qarib_tasks.config.evaluation import FREE_TASKS
from qarib_tasks.config.loading import from_dict, to_dict
from qarib_tasks.config.run import PromotionConfig, RunConfig
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import ConfigError, CorruptError, InputError
from qarib_tasks.labelled.scores import METRICS
from qarib_tasks.layout import PROMOTED, SETTINGS, ModelLayout, is_heldout, model_folder
from qarib_tasks.runs.run import Run, run_of_dataset
from qarib_tasks.storage.manifest import DO_AGAIN, Manifest
from qarib_tasks.storage.model_files import model_address
from qarib_tasks.storage.recognition import MOVE_SHARED
from qarib_tasks.storage.records.read import fault_of
from qarib_tasks.storage.records.schemas import PromotedModels
from qarib_tasks.storage.records.settings import read_settings
from qarib_tasks.storage.shared_record import SharedRecord, Values

log = logging.getLogger(__name__)
# Settings that an evaluation depends on, in addition to the model and the held-out examples.
EVALUATION_SETTINGS = ("eval_batch_size", "max_eval_steps")
TASK_FIGURES = (
    *("name", "metric", "value", "low", "high", "tfidf", "most_frequent", "train_texts", "test_texts"),
    *("sha256", "contaminated_documents"),
)
ROUNDING = 1e-9  # so that a model exactly at the margin is not worse
# Figures that are equal if two models were measured alike.
SAME = ("sha256", "train_texts", "test_texts")
FIGURES = (
    *("step", "loss", "masked_lm_loss", "masked_lm_accuracy", "perplexity"),
    *("next_sentence_loss", "next_sentence_accuracy", "examples", "predictions"),
)


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


def promoted_model(record: SharedRecord, preset: str) -> JudgedModel | None:
    """Return the promoted model of a preset, or None.

    Raises:
        CorruptError: the record is damaged.
    """
    return _promoted(_of_preset(record.read(), preset))


def record_of(workspace: Path, address: str | None, client: Any = None) -> SharedRecord:
    """Return the record of a workspace, or of its bucket (`gs://bucket/prefix/`)."""
    return SharedRecord(workspace, address, PROMOTED, client)


def promote(run: Run, client: Any = None, *, anyway: bool = False) -> JudgedModel:
    """Compare the run's exported model with the promoted model, and promote it unless it is worse.

    A second call for the same model returns the same result, unless another model was promoted since.

    Args:
        client: a `google.cloud.storage.Client`.
        anyway: promote the model without a comparison.

    Returns:
        the model with its new state and the reason.

    Raises:
        InputError: the model is not exported.
    """
    model = _described(run)
    preset, rule = run.config.preset, Rule.of(run.config)
    judged = model

    def change(values: Values) -> Values:
        nonlocal judged
        own = _of_preset(values, preset)
        before = _promoted(own)
        known = _judged(own, model.model_id)
        if known and known.state == "promoted" and known.evaluation == model.evaluation and not anyway:
            judged = known
            if before and before.model_id != known.model_id:
                judged = replace(known, state="candidate", reason=f"{before.model_id} replaced it")
            return values
        if known and before and before.model_id == model.model_id and not anyway:
            # The promoted model, evaluated with other settings: what later models are compared with stays. A
            # task that is new is added.
            judged = _with_tasks_of(known, model)
            entries = [asdict(judged) if e["model_id"] == known.model_id else e for e in own["judged"]]
            return values if judged == known else _with_preset(values, preset, {**own, "judged": entries})
        by_hand = True, f"promoted by hand{_warning(model)}"
        good, reason = by_hand if anyway else compare(model, before, rule)
        overtaken = before and run.config.extends and model.trained_from not in ("", before.address)
        if before and good and overtaken and not anyway:
            # Otherwise what that model learned from its text would be lost.
            good, reason = False, f"{before.model_id} was promoted after this run began: run it again"
        now = datetime.now(UTC).isoformat(timespec="seconds")
        judged = replace(model, state="promoted" if good else "candidate", reason=reason, judged_at=now)
        others = [entry for entry in own.get("judged", ()) if entry["model_id"] != model.model_id]
        own = {**own, "judged": [*others, asdict(judged)]} | ({"promoted": model.model_id} if good else {})
        return _with_preset(values, preset, own)

    record_of(Path(run.config.workspace), run.address, client).change(change)
    became = "is promoted" if judged.state == "promoted" else "stays a candidate"
    log.info("%s %s: %s", judged.model_id, became, judged.reason)
    return judged


def _with_preset(values: Values, preset: str, own: Mapping[str, Any]) -> dict[str, Any]:
    return {**values, "presets": {**values.get("presets", {}), preset: own}}


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
    return good, reason + _warning(model, rule.task if rule.by_task else "")


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


def _warning(model: JudgedModel, said: str = "") -> str:
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


def _with_tasks_of(known: JudgedModel, model: JudgedModel) -> JudgedModel:
    """Return a judged model with tasks that a later evaluation of it has."""
    tasks = known.tasks | model.tasks
    if tasks == known.tasks:
        return known
    return replace(known, evaluation={**known.evaluation, "tasks": list(tasks.values())})


def heldout_digest(run: Run) -> str:
    """Return the SHA-256 (hex) of the held-out examples and of how many of them an evaluation reads."""
    first = [*run.earlier, run][0]
    outputs = Manifest.read(first.dataset.manifest).outputs
    files = [(record.name, record.sha256) for record in outputs if is_heldout(record.name)]
    settings = to_dict(run.config.evaluate)
    values = [files, {name: settings[name] for name in EVALUATION_SETTINGS}]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def run_of_model(workspace: Path, model_id: str) -> Run:
    """Reconstruct the run that made a model, as far as the model's folder describes it.

    Raises:
        InputError: the workspace has no such model, or lacks its dataset.
    """
    path = model_folder(workspace, model_id) / SETTINGS
    if not path.is_file():
        known = sorted(p.parent.name for p in path.parent.parent.glob(f"*/{SETTINGS}") if p.is_file())
        raise InputError(
            "no such model", where=path.parent, do=f"Choose one of: {', '.join(known) or 'none'}"
        )
    job = from_dict(TrainingJob, read_settings(path), path)
    made = run_of_dataset(workspace, PurePath(job.training_data).parent.name)
    config = replace(made.config, model=job.model, train=job.train, evaluate=job.evaluate)
    return replace(made, config=config, model_id=model_id, steps_before=job.steps_before)


def _described(run: Run) -> JudgedModel:
    manifest = model_manifest(run.model)
    evaluation = manifest.statistics["evaluation"]
    figures = {name: evaluation[name] for name in FIGURES if name in evaluation}
    if tasks := evaluation.get("tasks"):
        figures["tasks"] = [{name: task[name] for name in TASK_FIGURES if name in task} for task in tasks]
    return JudgedModel(
        model_id=run.model_id,
        dataset_id=run.dataset_id,
        address=run.at(run.model.root),
        evaluation=figures,
        heldout=heldout_digest(run),
        total_steps=manifest.statistics["total_steps"],
        trained_from=model_address(run.config.train.start_from),
    )


def model_manifest(model: ModelLayout) -> Manifest:
    """Read the manifest of an exported model.

    Raises:
        InputError: the model is not exported.
    """
    if not model.manifest.is_file():
        raise InputError("the model is not exported", where=model.root, do="Clear the task `export`")
    manifest = Manifest.read(model.manifest)
    if missing := {"evaluation", "total_steps"} - manifest.statistics.keys():
        what = f"not a manifest: statistics.{min(missing)}: Field required"
        raise CorruptError(what, where=model.manifest, do=DO_AGAIN)
    return manifest


def _of_preset(values: Values, preset: str) -> Mapping[str, Any]:
    if fault := fault_of(values, PromotedModels):
        raise CorruptError(f"not a record of promoted models: {fault}", where=PROMOTED, do=MOVE_SHARED)
    own: Mapping[str, Any] = values.get("presets", {}).get(preset, {})
    return own


def _promoted(own: Mapping[str, Any]) -> JudgedModel | None:
    return _judged(own, own.get("promoted"))


def _judged(own: Mapping[str, Any], model_id: str | None) -> JudgedModel | None:
    judged: Sequence[Mapping[str, Any]] = own.get("judged", ())
    return next((JudgedModel(**entry) for entry in judged if entry["model_id"] == model_id), None)
