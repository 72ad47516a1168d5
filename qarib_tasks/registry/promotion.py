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
from typing import Any

from qarib_tasks.config.evaluation import MEASURED_WITH
from qarib_tasks.config.loading import from_dict, to_dict
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.layout import PROMOTED, SETTINGS, ModelLayout, is_heldout, model_folder
from qarib_tasks.registry.comparison import JudgedModel, Rule, compare, warning
from qarib_tasks.registry.months import settled
from qarib_tasks.registry.presets import of_preset, with_preset
from qarib_tasks.runs.run import Run, run_of_dataset
from qarib_tasks.storage.manifest import DO_AGAIN, Manifest
from qarib_tasks.storage.model_files import model_address
from qarib_tasks.storage.records.settings import read_settings
from qarib_tasks.storage.shared_record import SharedRecord, Values

log = logging.getLogger(__name__)
TASK_FIGURES = (
    *("name", "metric", "value", "low", "high", "tfidf", "most_frequent", "train_texts", "test_texts"),
    *("sha256", "contaminated_documents"),
)
FIGURES = (
    *("step", "loss", "masked_lm_loss", "masked_lm_accuracy", "perplexity"),
    *("next_sentence_loss", "next_sentence_accuracy", "examples", "predictions"),
)


def promoted_model(record: SharedRecord, preset: str) -> JudgedModel | None:
    """Return the promoted model of a preset, or None.

    Raises:
        CorruptError: the record is damaged.
    """
    return _promoted(of_preset(record.read(), preset))


def record_of(workspace: Path, address: str | None, client: Any = None) -> SharedRecord:
    """Return the record of a workspace, or of its bucket (`gs://bucket/prefix/`)."""
    return SharedRecord(workspace, address, PROMOTED, client)


@dataclass(frozen=True)
class Question:
    """A model that people are asked about, before it is promoted.

    Attributes:
        promoted: the model that it would replace.
        good: whether the figures say that it may.
        reason: what they say.
    """

    model: JudgedModel
    promoted: JudgedModel | None
    good: bool
    reason: str


@dataclass(frozen=True)
class Answer:
    """What people answered.

    Attributes:
        why: the first words of the reason: who answered, or that no answer was given in time.
        instead_of: the name of the promoted model that the question compared with; empty if there was none.
    """

    approved: bool
    why: str
    instead_of: str = ""

    def is_late(self, before: JudgedModel | None) -> bool:
        """Whether people approved of the model, but compared it with another one than is promoted now."""
        return self.approved and self.instead_of != (before.model_id if before else "")

    def applied(self, before: JudgedModel | None, reason: str) -> tuple[bool, str]:
        """Whether the model is promoted, and why, with what the comparison says."""
        if self.is_late(before):
            changed = (
                f"{before.model_id} was promoted while the question waited"
                if before
                else f"{self.instead_of}, which the question compared with, is no longer promoted"
            )
            return False, f"{self.why}, but {changed}: run it again"
        return self.approved, f"{self.why}; {reason}"


def question(run: Run, client: Any = None) -> Question | None:
    """Return what to ask before the run's exported model is promoted; None if its settings ask nothing.

    No one is asked about a model that is promoted already, that was not evaluated to a number, or whose run
    began before the promoted model was promoted.

    Raises:
        InputError: the model is not exported.
    """
    approval = run.config.promotion.approval
    if approval == "never":
        return None
    model, preset = _described(run), run.config.preset
    own = of_preset(record_of(Path(run.config.workspace), run.address, client).read(), preset)
    before, known = _promoted(own), _judged(own, model.model_id)
    is_known = known and known.state == "promoted" and known.evaluation == model.evaluation
    if is_known or (before and before.model_id == model.model_id) or not math.isfinite(model.loss):
        return None
    good, reason = compare(model, before, Rule.of(run.config))
    if _is_overtaken(run, model, before) or (good and approval == "worse"):
        return None
    return Question(model, before, good, reason)


def promote(
    run: Run, client: Any = None, *, anyway: bool = False, answer: Answer | None = None
) -> JudgedModel:
    """Compare the run's exported model with the promoted model, and promote it unless it is worse.

    A second call for the same model returns the same result, unless another model was promoted since. The
    run's month is then settled, see `registry.months`, unless another model was promoted since the run began.

    Args:
        client: a `google.cloud.storage.Client`.
        anyway: promote the model without a comparison.
        answer: to `question`; it decides in place of the comparison.

    Returns:
        the model with its new state and the reason.

    Raises:
        InputError: the model is not exported.
    """
    model = _described(run)
    preset, rule = run.config.preset, Rule.of(run.config)
    judged, again = model, False

    def change(values: Values) -> Values:
        nonlocal judged, again
        again = False
        own = of_preset(values, preset)
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
            return values if judged == known else with_preset(values, preset, {**own, "judged": entries})
        by_hand = True, f"promoted by hand{warning(model)}"
        good, reason = by_hand if anyway else compare(model, before, rule)
        if answer and not anyway:
            again = answer.is_late(before)
            good, reason = answer.applied(before, reason)
        if before and good and _is_overtaken(run, model, before) and not anyway:
            # Otherwise what that model learned from its text would be lost.
            again = True
            good, reason = False, f"{before.model_id} was promoted after this run began: run it again"
        now = datetime.now(UTC).isoformat(timespec="seconds")
        judged = replace(model, state="promoted" if good else "candidate", reason=reason, judged_at=now)
        others = [entry for entry in own.get("judged", ()) if entry["model_id"] != model.model_id]
        own = {**own, "judged": [*others, asdict(judged)]} | ({"promoted": model.model_id} if good else {})
        return with_preset(values, preset, own)

    def judge(values: Values) -> Values:
        values, month = change(values), run.config.partition
        why = f"{judged.model_id} {became(judged)}"
        return values if again else settled(values, preset, month, "trained", why)

    record_of(Path(run.config.workspace), run.address, client).change(judge)
    log.info("%s %s: %s", judged.model_id, became(judged), judged.reason)
    return judged


def _is_overtaken(run: Run, model: JudgedModel, before: JudgedModel | None) -> bool:
    """Whether the promoted model was promoted after the run began to train another one further."""
    if before is None or not run.config.extends:
        return False
    return model.trained_from not in ("", before.address)


def became(model: JudgedModel) -> str:
    """Say what a judged model is, after its name."""
    return "is promoted" if model.state == "promoted" else "stays a candidate"


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
    values = [files, {name: settings[name] for name in MEASURED_WITH}]
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


def _promoted(own: Mapping[str, Any]) -> JudgedModel | None:
    return _judged(own, own.get("promoted"))


def _judged(own: Mapping[str, Any], model_id: str | None) -> JudgedModel | None:
    judged: Sequence[Mapping[str, Any]] = own.get("judged", ())
    return next((JudgedModel(**entry) for entry in judged if entry["model_id"] == model_id), None)
