"""Export of the trained model as a Hugging Face folder and a TF 1 checkpoint, and the model's manifest."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from qarib_tasks.config.identity import named_settings
from qarib_tasks.config.loading import from_dict, to_dict
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import CorruptError, InputError, QaribError, TrainingError
from qarib_tasks.layout import (
    BERT_CONFIG,
    EXPORT,
    HUGGING_FACE_CONFIG,
    HUGGING_FACE_WEIGHTS,
    MODEL_CARD,
    VOCAB,
)
from qarib_tasks.storage.bucket import Bucket, same
from qarib_tasks.storage.files import atomic_path, open_to_readers, remove, temporary_of, write_text
from qarib_tasks.storage.manifest import FileRecord, Manifest, finished, lists_all
from qarib_tasks.storage.model_files import EXPORTED, read_json
from qarib_tasks.storage.ownership import Earlier, Staged, is_one_of
from qarib_tasks.storage.recognition import NOT_OURS
from qarib_tasks.storage.records.read import fault_of
from qarib_tasks.storage.records.schemas import EndsOfHistory
from qarib_tasks.train.checkpoint import Checkpoints, require_same_model
from qarib_tasks.train.data.vocabulary import Vocabulary
from qarib_tasks.train.output import Output
from qarib_tasks.train.reporting.history import read_history, read_progress
from qarib_tasks.train.results.evaluate import evaluation_of, read_evaluations
from qarib_tasks.train.results.finetuned import read_table
from qarib_tasks.train.results.model_card import model_card
from qarib_tasks.train.weights import tensorflow1
from qarib_tasks.train.weights.hugging_face import hugging_face_config, hugging_face_name, hugging_face_value

log = logging.getLogger(__name__)
NEW_MODEL_CARD = f"{MODEL_CARD}.new"  # beside one that the user edited
REQUIRED_PLACES = {"output", "training_data", "heldout_data", "vocab_file"}
# Settings of an evaluation that the exported files do not depend on.
OF_TASKS = {"tasks", "probe_seconds", "free_tasks", "finetune", "finetune_seeds"}
PLACES = {"publish_to", "cache", "earlier_data"} | REQUIRED_PLACES


def export(job: TrainingJob) -> Manifest:
    """Write `export/` from the last checkpoint and, when it is complete, `manifest.json`.

    Returns:
        the model's manifest, which lists the exported files and the evaluation.

    Raises:
        TrainingError: the training is not finished, or its last checkpoint is not evaluated.
    """
    output = Output(job)
    checkpoints = Checkpoints(output, job.train.keep_checkpoint_max)
    if not checkpoints.names():
        raise _not_finished(job, output, 0)  # before a lock is made
    with output.locked():
        return _export(job, output, checkpoints)


def _not_finished(job: TrainingJob, output: Output, steps: int) -> TrainingError:
    return TrainingError(
        f"the training has only reached step {steps} of {job.train.train_steps}",
        where=output.checkpoints,
        do="Finish `qarib train` first",
    )


def _export(job: TrainingJob, output: Output, checkpoints: Checkpoints) -> Manifest:
    index = checkpoints.newest()
    steps = index.step if index else 0
    if index is None or steps < job.train.train_steps:
        raise _not_finished(job, output, steps)
    output.fetch(output.history)
    output.fetch_evaluations()
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
    lists = lists_all(*(f"{EXPORT}/{name}" for name in EXPORTED if name != MODEL_CARD))
    if done := finished(
        output.manifest, kind="model", config=config, inputs=inputs, lists=lists, counts=_exported_settings
    ):
        log.info("%s: already exported", output.export)
        if list(done.config.get("tasks", ())) != config["tasks"]:
            of_tasks = {name: config[name] for name in ("tasks", "evaluate")}
            done = replace(done, config={**done.config, **of_tasks})
            done.write(output.manifest)
        _publish(output, done)
        return done
    statistics = _statistics(job, output, evaluation)
    new = temporary_of(output.export)
    with Staged(output.manifest) as staged:
        try:
            new.mkdir(exist_ok=True)
            card = model_card(job, len(vocabulary), statistics, read_table(output.layout))
            _write(job, new, vocabulary, checkpoints.weights(index), card)
            for path in sorted(new.iterdir()):
                path.replace(staged.path(output.export / path.name))
        finally:
            remove(new)
        manifest = _put_in_place(
            staged,
            output,
            FileRecord.of(path := output.layout.evaluation(steps), output.name(path)),
            Manifest(kind="model", id=output.model_id, config=config, inputs=inputs, statistics=statistics),
        )
    _publish(output, manifest)
    return manifest


def exported(manifest: Manifest) -> list[FileRecord]:
    """The files of `export/` that a model's manifest lists."""
    return [record for record in manifest.outputs if record.name.startswith(f"{EXPORT}/")]


def refresh_model_card(job: TrainingJob) -> None:
    """Write the model card of an exported model again, with the fine-tunings that were made since.

    A model card that the user edited stays, and ours is put beside it.

    Raises:
        InputError: the model is not exported, or a file that is not ours has the name of the new one.
    """
    output = Output(job)
    with output.locked(), Staged(output.manifest) as staged:
        manifest, earlier = Manifest.complete(output.manifest), Earlier.read(output.manifest)
        card = output.export / MODEL_CARD
        size = _vocabulary_size(output.export / HUGGING_FACE_CONFIG)
        text = model_card(job, size, manifest.statistics, read_table(output.layout))
        staged.path(card).write_text(text, encoding="utf-8", newline="\n")
        records = _checked(staged, earlier, {card: staged.record(card)}, card)
        cards = {output.name(card), output.name(card.with_name(NEW_MODEL_CARD))}
        outputs = [*records.values(), *(one for one in manifest.outputs if one.name not in cards)]
        if outputs != list(manifest.outputs):
            manifest = staged.commit(replace(manifest, outputs=outputs))
        _publish(output, manifest)


def _vocabulary_size(path: Path) -> int:
    """The number of entries of an exported model's vocabulary.

    Raises:
        CorruptError: its `config.json` is damaged.
    """
    size = read_json(path).get("vocab_size")
    if not isinstance(size, int):
        raise CorruptError("has no vocab_size", where=path, do="Export the model again")
    return size


def _put_in_place(staged: Staged, output: Output, evaluation: FileRecord, manifest: Manifest) -> Manifest:
    """Merge the new files into the folder, which can have files of the user.

    A model card that the user edited stays, and ours is put beside it.

    Raises:
        InputError: a file of this name exists and is not ours; nothing is changed.
    """
    earlier = Earlier.read(output.manifest)
    folder = output.export
    card = folder / MODEL_CARD
    records = {folder / name: staged.record(folder / name) for name in sorted(EXPORTED)}
    records = _checked(staged, earlier, records, card)
    outputs = [*records.values(), evaluation]
    names = {record.name for record in outputs}
    stale = []
    for record in earlier.manifest.outputs if earlier.manifest else ():
        path = output.root / record.name
        if record.name not in names and path.parent == folder and os.path.lexists(path):
            if is_one_of(path, [record]):
                stale.append(path)
            elif path != card:
                log.warning("%s: stays, because it was changed since it was made", path)
    return staged.commit(replace(manifest, outputs=outputs), stale=stale)


def _checked(
    staged: Staged, earlier: Earlier, records: dict[Path, FileRecord], card: Path
) -> dict[Path, FileRecord]:
    """Return the records of the new files, with the model card beside one that the user edited.

    Raises:
        InputError: a file of this name exists and is not ours.
    """
    if os.path.lexists(card) and not is_one_of(card, [*earlier.records(card), records[card]]):
        beside = card.with_name(NEW_MODEL_CARD)
        log.warning("%s: stays as you edited it; the new model card is %s", card, beside.name)
        staged.move(card, beside)
        records = {path: record for path, record in records.items() if path != card}
        records[beside] = staged.record(beside)
    for path, record in records.items():
        if os.path.lexists(path) and not earlier.owns(path) and not is_one_of(path, [record]):
            raise InputError(NOT_OURS, where=path, do="Move this file")
    return records


def _exported_settings(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the settings that an export depends on from a manifest's config; None if they cannot be read.

    A setting that is missing, because a later version added it, has its default value.
    """
    try:
        job = from_dict(TrainingJob, {**config, **dict.fromkeys(REQUIRED_PLACES, "")})
    except QaribError:
        return None
    values = to_dict(job) | {"train": named_settings(job.train)}
    values["evaluate"] = {name: value for name, value in values["evaluate"].items() if name not in OF_TASKS}
    return {name: value for name, value in values.items() if name not in PLACES and name != "tasks"}


def _publish(output: Output, manifest: Manifest) -> None:
    """Publish the export, its manifest last, and the user's model card if it replaces ours.

    Raises:
        InputError: the bucket has other files of these names, which it did not get from here.
    """
    paths = [output.root / record.name for record in manifest.outputs]
    if output.bucket:
        known = _published(output.bucket, output.name(output.manifest))
        for record in manifest.outputs:
            blob = output.bucket.get(record.name) if record.name.startswith(f"{EXPORT}/") else None
            if blob and not any(same(blob, one.checksums) for one in (record, *known.get(record.name, ()))):
                raise InputError(NOT_OURS, where=output.bucket.address + record.name, do="Move this object")
        card = output.export / MODEL_CARD
        name = output.name(card)
        if card not in paths and card.is_file():
            blob = output.bucket.get(name)
            if blob is None or any(same(blob, one.checksums) for one in known.get(name, ())):
                paths.append(card)
    output.publish(*paths, *output.tasks, output.layout.finetuning_table, output.config, output.manifest)


def _published(bucket: Bucket, name: str) -> Mapping[str, list[FileRecord]]:
    """The records in the bucket's manifest, by name."""
    text = bucket.read_text(name)
    known: dict[str, list[FileRecord]] = {}
    with suppress(CorruptError):
        for record in Manifest.parse(text.encode(), name).outputs if text else ():
            known.setdefault(record.name, []).append(record)
    return known


def _statistics(job: TrainingJob, output: Output, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return figures of the training's first and last steps and of its evaluations.

    `total_steps` includes the steps of the models that the training started from.
    """
    first, last = _first_and_last(output, job.train.train_steps)
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


def _first_and_last(output: Output, steps: int) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the figures of a training's first and last step: of the history or, if it lacks them, of the
    progress.

    Raises:
        CorruptError: neither has them.
    """
    lines, progress = read_history(output.history), read_progress(output.progress) or {}
    first = lines[0] if lines and lines[0]["step"] == 1 else progress.get("first") or {}
    last = lines[-1] if lines and lines[-1]["step"] == steps else progress
    if fault_of(first, EndsOfHistory) or fault_of(last, EndsOfHistory) or last["step"] != steps:
        if output.fetch(output.history, again=True) and (lines := read_history(output.history)):
            first, last = lines[0], lines[-1]
        if not lines or last["step"] != steps:
            raise CorruptError(
                f"lacks the figures of the first or the last of {steps} steps",
                where=output.history,
                do="Restore it from a copy, or move the model's folder to train the model again",
            )
    return first, last


def _write(
    job: TrainingJob,
    folder: Path,
    vocabulary: Vocabulary,
    weights: Mapping[str, np.ndarray],
    card: str,
) -> None:
    """Write `EXPORTED` to an empty folder."""
    from safetensors.numpy import save_file

    from qarib_tasks.vocabulary.tokenizer_files import write_tokenizer

    tensors = {hugging_face_name(name): hugging_face_value(name, value) for name, value in weights.items()}
    with atomic_path(folder / HUGGING_FACE_WEIGHTS) as temporary:
        save_file(dict(sorted(tensors.items())), temporary, metadata={"format": "pt"})
        open_to_readers(temporary)
    write_text(folder / VOCAB, "".join(token + "\n" for token in vocabulary.tokens))
    write_tokenizer(vocabulary.tokens, folder, do_lower_case=job.do_lower_case)
    config = hugging_face_config(job, vocabulary)
    write_text(folder / HUGGING_FACE_CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")
    write_text(folder / MODEL_CARD, card)
    config = tensorflow1.bert_config(job, len(vocabulary))
    write_text(folder / BERT_CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")
    tensorflow1.write_checkpoint(folder, weights)
