"""The model to use: `models/promoted.json` names the promoted model of each preset.

A new model replaces the promoted model only if its masked-LM loss on the same held-out part exceeds that of
the promoted model by at most a margin. Otherwise it stays a candidate: its files stay, and no asset event is
sent.
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

from qarib_tasks.config.loading import from_dict, load_yaml, to_dict
from qarib_tasks.config.training import TrainingJob
from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.layout import PROMOTED, SETTINGS, ModelLayout, is_heldout, model_folder
from qarib_tasks.runs.run import Run, run_of_dataset
from qarib_tasks.storage.manifest import Manifest
from qarib_tasks.storage.shared_record import SharedRecord, Values

log = logging.getLogger(__name__)
# Settings that an evaluation depends on, in addition to the model and the held-out examples.
EVALUATION_SETTINGS = ("eval_batch_size", "max_eval_steps")
FIGURES = (
    *("step", "loss", "masked_lm_loss", "masked_lm_accuracy", "perplexity"),
    *("next_sentence_loss", "next_sentence_accuracy", "examples", "predictions"),
)


@dataclass(frozen=True)
class JudgedModel:
    """A model that was considered for promotion.

    Attributes:
        address: address of its folder, for trainings that start from it and programs that load it.
        evaluation: the trainer's figures of its last step.
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
    preset, margin = run.config.preset, run.config.promotion_margin
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
            # The promoted model, evaluated with other settings: what later models are compared with stays.
            judged = known
            return values
        good, reason = (True, "promoted by hand") if anyway else compare(model, before, margin)
        overtaken = before and run.config.extends and model.trained_from not in ("", before.address)
        if before and good and overtaken and not anyway:
            # Otherwise what that model learned from its text would be lost.
            good, reason = False, f"{before.model_id} was promoted after this run began: run it again"
        now = datetime.now(UTC).isoformat(timespec="seconds")
        judged = replace(model, state="promoted" if good else "candidate", reason=reason, judged_at=now)
        others = [entry for entry in own.get("judged", ()) if entry["model_id"] != model.model_id]
        own = {**own, "judged": [*others, asdict(judged)]} | ({"promoted": model.model_id} if good else {})
        return {**values, "presets": {**values.get("presets", {}), preset: own}}

    record_of(Path(run.config.workspace), run.address, client).change(change)
    became = "is promoted" if judged.state == "promoted" else "stays a candidate"
    log.info("%s %s: %s", judged.model_id, became, judged.reason)
    return judged


def compare(model: JudgedModel, promoted: JudgedModel | None, margin: float) -> tuple[bool, str]:
    """Decide whether a model may replace the promoted model, and say why.

    Args:
        margin: how far the loss may exceed that of the promoted model, in nats.
    """
    if not math.isfinite(model.loss):
        return False, f"its masked-LM loss is {model.loss}"
    if promoted is None:
        return True, f"the first model of its preset, masked-LM loss {model.loss:.4f}"
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
        known = sorted(other.parent.name for other in path.parent.parent.glob(f"*/{SETTINGS}"))
        raise InputError(
            "no such model", where=path.parent, do=f"Choose one of: {', '.join(known) or 'none'}"
        )
    job = from_dict(TrainingJob, load_yaml(path), path)
    made = run_of_dataset(workspace, PurePath(job.training_data).parent.name)
    config = replace(made.config, model=job.model, train=job.train, evaluate=job.evaluate)
    return replace(made, config=config, model_id=model_id, steps_before=job.steps_before)


def _described(run: Run) -> JudgedModel:
    manifest = model_manifest(run.model)
    evaluation = manifest.statistics["evaluation"]
    return JudgedModel(
        model_id=run.model_id,
        dataset_id=run.dataset_id,
        address=run.at(run.model.root),
        evaluation={name: evaluation[name] for name in FIGURES if name in evaluation},
        heldout=heldout_digest(run),
        total_steps=manifest.statistics["total_steps"],
        trained_from=run.config.train.start_from,
    )


def model_manifest(model: ModelLayout) -> Manifest:
    """Read the manifest of an exported model.

    Raises:
        InputError: the model is not exported.
    """
    if not model.manifest.is_file():
        raise InputError("the model is not exported", where=model.root, do="Clear the task `export`")
    return Manifest.read(model.manifest)


def _of_preset(values: Values, preset: str) -> Mapping[str, Any]:
    own = values.get("presets", {}).get(preset, {})
    if not isinstance(own, dict):
        raise CorruptError("not a record of promoted models", where=f"{PROMOTED}, preset {preset}")
    return own


def _promoted(own: Mapping[str, Any]) -> JudgedModel | None:
    return _judged(own, own.get("promoted"))


def _judged(own: Mapping[str, Any], model_id: str | None) -> JudgedModel | None:
    judged: Sequence[Mapping[str, Any]] = own.get("judged", ())
    return next((JudgedModel(**entry) for entry in judged if entry["model_id"] == model_id), None)
