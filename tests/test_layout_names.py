"""Names of what a run makes: each is stated once, and what is made of a name is read back from it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from qarib_tasks import layout
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.config.upload import UploadConfig
from qarib_tasks.layout import DatasetLayout, ModelLayout

REPOSITORY = Path(layout.__file__).parents[1]
# Parts of paths that only layout.py may state, wherever they are in a string without spaces.
PARTS = (
    *("manifest.json", "config.yaml", "progress.json", "history.jsonl", "memory.json", "sources.json"),
    "preview.json",
    *("promoted.json", "eval_results.txt", "report.html", "vocab.txt", "bert_config.json", "tokenizer.json"),
    *("tokenizer_config.json", "model.safetensors", "data.json", "vocab.json"),
    *("datasets/", "models/", "launch/", "export/", "heldout/", "shards/", "bert_model/", "bert_evals/"),
    *(
        "pretraining_data/",
        "cache/sources",
        "cache/vocab",
        "cache/checksums",
        "tensorboard/",
        "/worker-",
        "worker-\\d",
    ),
    *("shard_0", "shard_[", "shard_\\d", "shard_*", "evaluation-", "checkpoint-", "recovery-", ".tfrecord"),
)
# Names of folders: as a whole string that is joined to a path by `/`.
FOLDERS = (
    *("datasets", "models", "launch", "cache", "export", "heldout", "shards", "tensorboard", "start_from"),
    *("bert_model", "bert_evals", "pretraining_data", "tpu"),
)


def stated(source: str) -> Iterator[tuple[int, str]]:
    """The lines and the texts in which a program states a name of the layout."""
    tree = ast.parse(source)
    prose = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            if " " not in node.value and any(part in node.value for part in PARTS):
                yield node.lineno, node.value
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            for side in (node.left, node.right):
                if isinstance(side, ast.Constant) and side.value in FOLDERS:
                    yield node.lineno, str(side.value)


def sources() -> list[Path]:
    files = [
        path for folder in ("qarib_tasks", "plugins", "dags") for path in (REPOSITORY / folder).rglob("*.py")
    ]
    assert len(files) > 150
    return sorted(path for path in files if path != Path(layout.__file__))


def test_the_names_are_stated_in_layout_alone() -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{line}: {text!r}"
        for path in sources()
        for line, text in stated(path.read_text(encoding="utf-8"))
    ]
    assert not found, "take these from qarib_tasks/layout.py:\n" + "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        'path = folder / "manifest.json"',
        'name = f"models/{model_id}"',
        'path = root / "export"',
        'match = re.compile(r"evaluation-(\\d+)")',
    ],
)
def test_a_name_that_is_stated_again_is_found(line: str) -> None:
    assert list(stated(line))


def test_prose_is_no_name() -> None:
    assert not list(
        stated('"""Writes models/x/manifest.json."""\nlog.info("see models/x/manifest.json of it")')
    )


def test_shards() -> None:
    dataset = DatasetLayout(Path("/w"), "demo-0123456789", UploadConfig())
    for shard, label in (
        ("shards/shard_0007", "shard_0007"),
        ("heldout/shards/shard_0000", "heldout/shard_0000"),
    ):
        assert layout.is_shard(shard)
        assert dataset.shard_of_tfrecord(dataset.tfrecord_name(shard)) == shard
        for path in (dataset.shard(shard), dataset.tfrecord(shard)):
            assert layout.shard_label(str(path)) == label
        assert layout.shard_of_label(label) == shard
        assert layout.dataset_of_shard(dataset.shard(shard)) == (Path("/w"), "demo-0123456789", shard)
    assert layout.shard_file(7) == "shard_0007"
    assert dataset.shard_of_tfrecord("pretraining_data/shard_0000.json") == ""
    assert layout.shard_of_label("3") == ""
    for other in ("shard_0000", "shards/shard_7", "shards/other", "other/shards/shard_0000", "shards/../x"):
        assert not layout.is_shard(other), other


def test_checkpoints_and_evaluations() -> None:
    model = ModelLayout.of(Path("/w"), "demo-0123456789", UploadConfig())
    for recovery in (False, True):
        name = layout.checkpoint_name(500, recovery=recovery)
        found = layout.checkpoint_of_index(model.checkpoint_index(name).name)
        assert found == layout.checkpoint_of_stem(name) == layout.CheckpointName(name, 500, recovery)
        files = (model.checkpoint_index(name).name, model.checkpoint_state(name).name)
        assert layout.checkpoint_files(name) == files
    assert layout.checkpoint_of_index(model.checkpoint_state("checkpoint-500").name) is None
    assert layout.evaluation_step(model.evaluation(500).name) == 500
    assert layout.evaluation_step(model.eval_results.name) is None


def test_a_trainer_finds_the_same_files_as_a_run() -> None:
    model = ModelLayout.of(Path("/w"), "demo-0123456789", UploadConfig(bert_model="m/", bert_evals="e/"))
    job = TrainingJob(
        training_data="t",
        heldout_data="h",
        vocab_file="v",
        output=str(model.root),
        bert_model="m/",
        bert_evals="e/",
    )
    trainer = ModelLayout(Path(job.output), job)
    for name in ("history", "evaluation_events", "manifest", "export", "progress", "name", "model_id"):
        assert getattr(trainer, name) == getattr(model, name)
    assert model.name_of(model.history) == "models/demo-0123456789/m/history.jsonl"


def test_names_that_an_older_version_gave() -> None:
    """Files of 3ef437a: not one may get another name."""
    dataset = DatasetLayout(Path("/w"), "d-0123456789", UploadConfig())
    model = ModelLayout.of(Path("/w"), "m-0123456789", UploadConfig())
    root = "/w/models/m-0123456789"
    assert [str(path) for path in (dataset.data, dataset.heldout_data, dataset.sources)] == [
        f"/w/datasets/d-0123456789/{name}" for name in ("data.txt", "heldout/data.txt", "sources.json")
    ]
    assert str(dataset.tfrecord("heldout/shards/shard_0001")) == (
        "/w/datasets/d-0123456789/heldout/pretraining_data/shard_0001.tfrecord"
    )
    assert (
        str(model.checkpoint_state(layout.checkpoint_name(5)))
        == f"{root}/bert_model/checkpoint-5.safetensors"
    )
    assert (
        str(model.checkpoint_index(layout.checkpoint_name(5, recovery=True)))
        == f"{root}/bert_model/recovery-5.json"
    )
    assert str(model.evaluation(5)) == f"{root}/bert_evals/evaluation-5.json"
    assert str(model.events) == f"{root}/bert_model/tensorboard"
    assert model.tpu_job("manual__2026") == "models/m-0123456789/tpu/manual__2026/"
    assert (layout.FETCHED, layout.VOCABULARIES, layout.PROMOTED) == (
        "cache/sources",
        "cache/vocab",
        "models/promoted.json",
    )
