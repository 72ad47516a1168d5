"""Training further: from our checkpoints, from TF 1 checkpoints and from Hugging Face folders.

Covers qarib_tasks/storage/model_files.py, qarib_tasks/train/data/vocabulary.py,
qarib_tasks/train/weights/pretrained.py, qarib_tasks/train/weights/tensorflow1.py.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qarib_tasks.train.runtime import choose_backend

choose_backend()

from qarib_tasks.config.loading import from_dict
from qarib_tasks.config.presets import SAMPLE, resolve
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.config.training.model import ModelConfig
from qarib_tasks.corpus.allowed import AllowedSources
from qarib_tasks.errors import ConfigError, InputError
from qarib_tasks.runs.prepare import prepare
from qarib_tasks.runs.run import Run
from qarib_tasks.runs.training_job import training_job
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.model_files import find
from qarib_tasks.train.checkpoint import Checkpoints
from qarib_tasks.train.data.vocabulary import Vocabulary
from qarib_tasks.train.loop import train
from qarib_tasks.train.model.bert import PretrainingBert
from qarib_tasks.train.output import Output
from qarib_tasks.train.results.export import export
from qarib_tasks.train.weights.pretrained import pretrained_weights, read
from qarib_tasks.train.weights.tensorflow1 import read_checkpoint, write_checkpoint
from tests.support.training_examples import make_job

VARIABLES = Path(__file__).parents[2] / "data" / "bert_variables.json"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    job = make_job(tmp_path_factory.mktemp("source"), learning_rate=1e-2)
    train(job)
    export(job)
    return job


def evaluation(job: TrainingJob, step: int) -> dict[str, Any]:
    path = Output(job).evaluations / f"evaluation-{step}.json"
    return {k: v for k, v in json.loads(path.read_text()).items() if k != "step"}


def started(source: TrainingJob, start_from: str, tmp_path: Path) -> TrainingJob:
    """A job on the same data that starts from there, its first step done."""
    train_config = replace(
        source.train, start_from=start_from, train_steps=1, num_warmup_steps=0, learning_rate=1e-9
    )
    job = replace(source, output=str(tmp_path / "further"), train=train_config)
    train(job)
    return job


@pytest.mark.parametrize(
    ("what", "files"),
    [
        ("", ["checkpoint-12.json", "checkpoint-12.safetensors"]),
        pytest.param(
            "bert_model/checkpoint-12",
            ["checkpoint-12.json", "checkpoint-12.safetensors"],
            marks=pytest.mark.slow,
        ),
        pytest.param("export", ["config.json", "model.safetensors", "vocab.txt"], marks=pytest.mark.slow),
        (
            "export/bert_model.ckpt",
            ["bert_config.json", "bert_model.ckpt.data-00000-of-00001", "bert_model.ckpt.index", "vocab.txt"],
        ),
    ],
)
def test_every_form_of_a_model_starts_where_it_ended(
    source: TrainingJob, tmp_path: Path, what: str, files: list[str]
) -> None:
    job = started(source, f"{source.output}/{what}", tmp_path)
    assert evaluation(job, 0) == evaluation(source, 12)
    checkpoints = Checkpoints(Output(job), keep=1)
    index = checkpoints.newest()
    assert index is not None
    state = checkpoints.load(index)
    assert state["global_step"] == 1
    # One step from zero: the running average of the squares is a thousandth of a gradient's square.
    assert 0 < state["bert/embeddings/LayerNorm/gamma/adam_v"].max() < 1e-3
    recorded = [r.name for r in export(job).inputs if r.name.startswith("start_from/")]
    assert set(files) <= {name.removeprefix("start_from/") for name in recorded}
    assert f"from the weights of `{source.output}" in (Output(job).export / "README.md").read_text()


def test_a_bucket_serves_as_well(source: TrainingJob, bucket_name: str, tmp_path: Path) -> None:
    bucket = Bucket(f"gs://{bucket_name}/models/small/")
    for path in sorted(Output(source).export.iterdir()):
        bucket.upload(path, f"export/{path.name}")
    for address in (f"gs://{bucket_name}/models/small/", f"gs://{bucket_name}/models/small/export"):
        found = find(address)
        local = find(f"{source.output}/export")
        assert (found.kind, found.digest) == ("hugging_face", local.digest)
    job = started(source, f"gs://{bucket_name}/models/small", tmp_path)
    assert evaluation(job, 0) == evaluation(source, 12)


def test_names_and_shapes_are_the_references(tmp_path: Path) -> None:
    reference = json.loads(VARIABLES.read_text())
    vocab_size = reference["config"].pop("vocab_size")
    model = PretrainingBert(from_dict(ModelConfig, reference["config"]), vocab_size)
    weights = {name: np.asarray(v, np.float32) for name, v in model.named_variables().items()}
    write_checkpoint(tmp_path, weights)
    import tensorflow as tf

    written = dict(tf.train.list_variables(str(tmp_path / "bert_model.ckpt")))
    assert written == reference["variables"]
    back = read_checkpoint(tmp_path / "bert_model.ckpt")
    for name, value in weights.items():
        np.testing.assert_array_equal(back[name], value)


def test_the_optimizers_averages_of_the_reference_are_left_aside(tmp_path: Path) -> None:
    weights = {"a/kernel": np.ones((2, 3), np.float32)}
    rest = {f"a/kernel/adam_{x}": np.zeros((2, 3), np.float32) for x in "mv"}
    write_checkpoint(tmp_path, weights | rest | {"global_step": np.asarray(7, np.int64)})
    assert set(read_checkpoint(tmp_path / "bert_model.ckpt")) == {"a/kernel"}


def test_missing_heads_start_from_initial_values_with_a_warning(
    source: TrainingJob, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights, _ = read(find(f"{source.output}/export/bert_model.ckpt"), Output(source).export)
    bare = {name: value for name, value in weights.items() if not name.startswith(("cls/", "bert/pooler"))}
    write_checkpoint(tmp_path, bare)
    job = replace(source, train=replace(source.train, start_from=str(tmp_path)))
    shapes = {name: value.shape for name, value in weights.items()}
    vocabulary = Vocabulary.read(job, Output(job))
    found, records = pretrained_weights(job, Output(job), vocabulary, shapes)
    assert set(found) == set(bare)
    assert len(records) == 2
    assert "has no bert/pooler/dense/bias, bert/pooler/dense/kernel, cls/predictions" in caplog.text
    assert "has no vocab.txt and no tokenizer.json" in caplog.text
    write_checkpoint(tmp_path, {name: v for name, v in bare.items() if "layer_0/output/dense" not in name})
    with pytest.raises(ConfigError, match="bert/encoder/layer_0/output/dense/kernel is missing"):
        pretrained_weights(job, Output(job), vocabulary, shapes)


def take(job: TrainingJob, start_from: object, shapes: dict[str, tuple[int, ...]], **model: int) -> None:
    """What a training with these settings of the model takes over."""
    job = replace(
        job, model=replace(job.model, **model), train=replace(job.train, start_from=str(start_from))
    )
    pretrained_weights(job, Output(job), Vocabulary.read(job, Output(job)), shapes)


def test_what_does_not_fit_is_named(source: TrainingJob, tmp_path: Path) -> None:
    folder = Output(source).export
    weights, _ = read(find(str(folder)), folder)
    shapes = {name: value.shape for name, value in weights.items()}
    take(source, folder, shapes)
    kernel = "bert/encoder/layer_0/intermediate/dense/kernel"
    with pytest.raises(ConfigError, match=rf"{kernel} has the shape \[16, 32\], expected \[16, 64\]"):
        take(source, folder, shapes | {kernel: (16, 64)})
    with pytest.raises(ConfigError, match=r"trained with 2 attention heads; model\.num_attention_heads is 4"):
        take(source, folder, shapes, num_attention_heads=4)
    other = kernel.replace("layer_0", "layer_1")
    with pytest.raises(ConfigError, match=f"{other} is missing"):
        take(source, folder, shapes | {other: (16, 32)})
    write_checkpoint(tmp_path, weights | {other: weights[kernel]})
    with pytest.raises(ConfigError, match="unexpected layer bert/encoder/layer_1"):
        take(source, tmp_path, shapes)


def test_another_vocabulary_is_refused_by_its_first_difference(source: TrainingJob, tmp_path: Path) -> None:
    lines = Path(source.vocab_file).read_text().splitlines()
    vocab = tmp_path / "vocab.txt"
    job = replace(source, vocab_file=str(vocab))
    vocab.write_text("\n".join([*lines[:10], lines[11], lines[10], *lines[12:]]) + "\n")
    with pytest.raises(ConfigError, match="different vocabulary: line 11 is 'w5', yours has 'w6'"):
        take(job, Output(source).export, {})
    with pytest.raises(ConfigError, match="was trained with a different vocabulary"):
        take(job, source.output, {})
    vocab.write_text("\n".join([*lines, "more"]) + "\n")
    with pytest.raises(ConfigError, match="different vocabulary: it has 64 entries, yours has 65"):
        take(job, Output(source).export, {})


def test_nothing_to_start_from_says_what_may_be_given(tmp_path: Path) -> None:
    for address in (str(tmp_path), f"{tmp_path}/bert_model.ckpt", f"{tmp_path}/nowhere/"):
        with pytest.raises(InputError, match=r"no model to start from.*bert_model\.ckpt"):
            find(address)
    for name in ("a.index", "b.index"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match="several checkpoints: a, b"):
        find(str(tmp_path))


def test_contents_decide_the_model_id_and_addresses_do_not(source: TrainingJob, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(Output(source).export, copy)

    def prepared(start_from: str, allowed: AllowedSources | None = None) -> Run:
        values = {"preset": "demo", "workspace": str(tmp_path / "work"), "train": {"start_from": start_from}}
        return prepare(resolve(values), allowed)

    run = prepared(str(Output(source).export))
    assert run.model_id == prepared(str(copy)).model_id
    assert run.model_id != prepared("").model_id
    assert Run.from_dict(run.to_dict()) == run
    job = training_job(run)
    assert job.start_from_digest == find(str(copy)).digest
    with pytest.raises(ConfigError, match=r"^train\.start_from: sources may not be read from"):
        prepared(str(copy), AllowedSources.of([str(SAMPLE)]))
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert run.model_id != prepared(str(copy)).model_id
    changed = replace(
        source,
        output=str(tmp_path / "small"),
        start_from_digest=job.start_from_digest,
        train=replace(source.train, start_from=str(copy)),
    )
    with pytest.raises(InputError, match="has changed since the run was prepared"):
        train(changed)


@pytest.mark.parametrize(
    "setting",
    [{"train": {"recovery_minutes": 5, "steps_per_call": 5}}, {"evaluate": {"fill_mask_sentences": []}}],
    ids=["recovery checkpoints", "sentences to fill"],
)
def test_what_changes_nothing_in_the_model_does_not_make_another(
    tmp_path: Path, setting: dict[str, object]
) -> None:
    values = {"preset": "demo", "workspace": str(tmp_path)}
    ids = {prepare(resolve(v)).model_id for v in (values, values | setting)}
    assert len(ids) == 1


def test_going_on_needs_the_source_no_more(source: TrainingJob, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(Output(source).export, copy)
    job = started(source, str(copy), tmp_path)
    shutil.rmtree(copy)
    longer = replace(job, train=replace(job.train, train_steps=2))
    train(longer)
    manifest = export(longer)
    assert "start_from/model.safetensors" in [record.name for record in manifest.inputs]
    with pytest.raises(ConfigError, match="start_from differ"):
        train(replace(longer, train=replace(longer.train, start_from=source.output)))
