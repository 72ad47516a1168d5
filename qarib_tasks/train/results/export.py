"""Export of the trained model as a Hugging Face folder and a TF 1 checkpoint, and the model's manifest."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qarib_tasks.config.identity import named_settings
from qarib_tasks.config.loading import from_dict, to_dict
from qarib_tasks.config.training import TrainingJob
from qarib_tasks.errors import QaribError, TrainingError
from qarib_tasks.layout import (
    BERT_CONFIG,
    HUGGING_FACE_CONFIG,
    HUGGING_FACE_WEIGHTS,
    MODEL_CARD,
    TOKENIZER,
    TOKENIZER_CONFIG,
    VOCAB,
)
from qarib_tasks.storage.files import atomic_path, write_text
from qarib_tasks.storage.manifest import FileRecord, Manifest, finished
from qarib_tasks.train.checkpoint import Checkpoints, require_same_model
from qarib_tasks.train.data.vocabulary import Vocabulary
from qarib_tasks.train.output import Output
from qarib_tasks.train.reporting.history import read_history
from qarib_tasks.train.results.evaluate import evaluation_of, read_evaluations
from qarib_tasks.train.results.model_card import model_card
from qarib_tasks.train.weights import tensorflow1
from qarib_tasks.train.weights.hugging_face import hugging_face_config, hugging_face_name, hugging_face_value

log = logging.getLogger(__name__)
FILES = {
    *(MODEL_CARD, HUGGING_FACE_CONFIG, HUGGING_FACE_WEIGHTS, VOCAB, TOKENIZER, TOKENIZER_CONFIG),
    *(BERT_CONFIG, *tensorflow1.FILES),
}
REQUIRED_PLACES = {"output", "training_data", "heldout_data", "vocab_file"}
PLACES = {"publish_to", "cache", "earlier_data"} | REQUIRED_PLACES


def export(job: TrainingJob) -> Manifest:
    """Write `export/` from the last checkpoint and, when it is complete, `manifest.json`.

    Returns:
        the model's manifest, which lists the exported files and the evaluation.

    Raises:
        TrainingError: the training is not finished, or its last checkpoint is not evaluated.
    """
    output = Output(job)
    with output.locked():
        return _export(job, output)


def _export(job: TrainingJob, output: Output) -> Manifest:
    checkpoints = Checkpoints(output, job.train.keep_checkpoint_max)
    index = checkpoints.newest()
    steps = index.step if index else 0
    if index is None or steps < job.train.train_steps:
        raise TrainingError(
            f"the training has only reached step {steps} of {job.train.train_steps}",
            where=output.checkpoints,
            do="Finish `qarib train` first",
        )
    output.fetch(output.history)
    output.fetch_below(output.evaluations, ".json")
    evaluation = evaluation_of(job, output, steps)
    if evaluation is None:
        raise TrainingError(
            f"step {steps} is not evaluated", where=output.evaluations, do="Run `qarib evaluate`"
        )
    vocabulary = Vocabulary.read(job, output)
    require_same_model(index, job, vocabulary.record)
    config = {name: value for name, value in to_dict(job).items() if name not in PLACES}
    assert index.state is not None
    inputs = [vocabulary.record, index.state, *index.started_from]
    if done := finished(output.manifest, config=config, inputs=inputs, counts=_exported_settings):
        log.info("%s: already exported", output.export)
        _publish(output, done)
        return done
    output.manifest.unlink(missing_ok=True)
    statistics = _statistics(job, output, evaluation)
    files = _write(job, output, vocabulary, checkpoints.weights(index), statistics)
    records = [FileRecord.of(path, output.name(path)) for path in files]
    records.append(FileRecord.of(path := output.layout.evaluation(steps), output.name(path)))
    manifest = Manifest(
        kind="model", id=output.model_id, config=config, inputs=inputs, outputs=records, statistics=statistics
    )
    manifest.write(output.manifest)
    _publish(output, manifest)
    log.info("%s: %d files", output.export, len(files))
    return manifest


def _exported_settings(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the settings that an export depends on from a manifest's config; None if they cannot be read.

    A setting that is missing, because a later version added it, has its default value.
    """
    try:
        job = from_dict(TrainingJob, {**config, **dict.fromkeys(REQUIRED_PLACES, "")})
    except QaribError:
        return None
    values = to_dict(job) | {"train": named_settings(job.train)}
    return {name: value for name, value in values.items() if name not in PLACES}


def _publish(output: Output, manifest: Manifest) -> None:
    output.publish(
        *(output.root / record.name for record in manifest.outputs), output.config, output.manifest
    )


def _statistics(job: TrainingJob, output: Output, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return figures of the training's first and last steps and of its evaluations.

    `total_steps` includes the steps of the models that the training started from.
    """
    lines = read_history(output.history)
    first, last = lines[0], lines[-1]
    evaluations = read_evaluations(output)
    return {
        "train_steps": last["step"],
        "total_steps": job.steps_before + last["step"],
        "first_masked_lm_loss": first["masked_lm_loss"],
        "first_masked_lm_accuracy": first["masked_lm_accuracy"],
        "last_masked_lm_loss": last["masked_lm_loss"],
        "last_masked_lm_accuracy": last["masked_lm_accuracy"],
        "evaluation": dict(evaluation),
        "evaluations": [
            {name: e[name] for name in ("step", "masked_lm_loss", "masked_lm_accuracy", "perplexity")}
            for e in evaluations
        ],
    }


def _write(
    job: TrainingJob,
    output: Output,
    vocabulary: Vocabulary,
    weights: Mapping[str, np.ndarray],
    statistics: Mapping[str, Any],
) -> list[Path]:
    """Write the files of the folder and remove files of an earlier export that are no longer written."""
    from safetensors.numpy import save_file

    from qarib_tasks.vocabulary.tokenizer_files import write_tokenizer

    folder = output.export
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {hugging_face_name(name): hugging_face_value(name, value) for name, value in weights.items()}
    with atomic_path(folder / HUGGING_FACE_WEIGHTS) as temporary:
        save_file(dict(sorted(tensors.items())), temporary, metadata={"format": "pt"})
        temporary.chmod(0o644)  # like other files; the library makes it private
    write_text(folder / VOCAB, "".join(token + "\n" for token in vocabulary.tokens))
    write_tokenizer(vocabulary.tokens, folder, do_lower_case=job.do_lower_case)
    config = hugging_face_config(job, vocabulary)
    write_text(folder / HUGGING_FACE_CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")
    write_text(folder / MODEL_CARD, model_card(job, len(vocabulary), statistics))
    config = tensorflow1.bert_config(job, len(vocabulary))
    write_text(folder / BERT_CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")
    tensorflow1.write_checkpoint(folder, weights)
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in FILES:
            path.unlink()
    return [folder / name for name in sorted(FILES)]
