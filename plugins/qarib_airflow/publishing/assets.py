"""The assets that other teams' DAGs can follow: one event when a dataset or a model is complete.

The `extra` of each event gives the name, the location and the contents. The assets are identified by their
names; each deployment sets the locations.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset

from qarib_tasks.layout import VOCAB
from qarib_tasks.registry.comparison import JudgedModel
from qarib_tasks.storage.manifest import FileRecord, Manifest

if TYPE_CHECKING:
    from airflow.sdk import Context

# A DAG that delivers new text emits this one; `qarib_retrain` can be scheduled on it.
CORPUS = Asset("qarib_corpus", uri="x-qarib://corpus")
DATASET = Asset("qarib_dataset", uri="x-qarib://dataset")
VOCABULARY = Asset("qarib_vocabulary", uri="x-qarib://vocabulary")
MODEL = Asset("qarib_model", uri="x-qarib://model")


def describe_dataset(context: Context, addresses: list[str]) -> None:
    """Describe the dataset and the vocabulary that `publish` uploaded; the task's `post_execute`.

    Args:
        addresses: of the objects; the last one is the dataset's manifest.
    """
    task: Any = context["task"]
    path = Path(task.src[-1])
    location = addresses[-1].rpartition("/")[0] + "/"
    manifest, record = Manifest.read(path), FileRecord.of(path)
    figures = manifest.statistics
    _emit(
        context,
        DATASET,
        {
            "dataset_id": manifest.id,
            "location": location,
            "extends": manifest.config.get("extends", ""),
            "partition": manifest.config.get("partition", ""),
            **{name: figures[name] for name in ("shards", "examples", "bytes")},
            "source_files": len(manifest.inputs),
            "manifest_sha256": record.sha256,
            "manifest_crc32c": record.crc32c,
        },
    )
    vocabulary = manifest.output(VOCAB)
    _emit(
        context,
        VOCABULARY,
        {
            "dataset_id": manifest.id,
            "location": f"{location}{VOCAB}",
            "entries": manifest.config["vocab"]["vocab_size"],
            "sha256": vocabulary.sha256,
            "crc32c": vocabulary.crc32c,
        },
    )


def describe_model(context: Context, model: JudgedModel, manifest: Path) -> None:
    """Describe the promoted model.

    Args:
        manifest: of the model, in the workspace.
    """
    record = FileRecord.of(manifest)
    figures = ("masked_lm_loss", "masked_lm_accuracy", "perplexity")
    _emit(
        context,
        MODEL,
        {
            "model_id": model.model_id,
            "dataset_id": model.dataset_id,
            "location": model.address,
            "total_steps": model.total_steps,
            "trained_from": model.trained_from,
            "evaluation": {name: model.evaluation[name] for name in figures if name in model.evaluation},
            "manifest_sha256": record.sha256,
            "manifest_crc32c": record.crc32c,
        },
    )


def _emit(context: Context, asset: Asset, extra: Mapping[str, Any]) -> None:
    context["outlet_events"][asset].extra.update(extra)
