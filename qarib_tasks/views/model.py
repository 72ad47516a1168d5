"""A model beside the one before it, and where its files are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from qarib_tasks.storage import split_address
from qarib_tasks.views.files import Files, as_object
from qarib_tasks.views.runs import RunRecord, trouble
from qarib_tasks.views.training import evaluations

CONSOLE = "https://console.cloud.google.com/storage/browser/"
COMPARED = (
    "step", "masked_lm_loss", "masked_lm_accuracy", "perplexity", "next_sentence_accuracy",
    "unigram_entropy", "examples",
)  # fmt: skip


def model_view(record: RunRecord, files: Files, earlier: Sequence[RunRecord]) -> dict[str, Any]:
    """The evaluation beside the former model's, the export's files, the model card, links.

    Args:
        earlier: runs before this one, the newest first, that may have made the former model.
    """
    model = record.model
    if model is None:
        return {"model_id": None, "trouble": None}
    manifest = files.json(f"{model.name}manifest.json")
    own = evaluations(files, model)
    promoted = as_object(files.published("models/promoted.json") or files.local("models/promoted.json"))
    former = _former(record, files, earlier, promoted)
    card = files.read(f"{model.name}export/README.md")
    return {
        "model_id": model.model_id,
        "dataset_id": record.values.get("dataset_id"),
        "state": manifest.get("state"),
        "made_at": manifest.get("made_at"),
        "evaluation": _compared(own[-1]) if own else None,
        "former": former,
        "promoted": promoted.get("model_id"),
        "is_promoted": promoted.get("model_id") == model.model_id,
        "files": [
            {"name": one.get("name"), "bytes": one.get("bytes")} for one in manifest.get("outputs") or ()
        ],
        "card": None if card is None else card.decode("utf-8", errors="replace")[:20_000],
        "links": links(record),
        "trouble": trouble(files.trouble),
    }


def _former(
    record: RunRecord, files: Files, earlier: Sequence[RunRecord], promoted: dict[str, Any]
) -> dict[str, Any] | None:
    """The promoted model, or else the newest of the runs before that has an evaluation."""
    assert record.model is not None
    candidates = [other for other in earlier if other.model and other.address == record.address]
    candidates.sort(key=lambda other: other.values.get("model_id") != promoted.get("model_id"))
    seen = {record.model.model_id}
    for other in candidates:
        assert other.model is not None
        if other.model.model_id in seen:
            continue
        seen.add(other.model.model_id)
        if found := evaluations(files, other.model):
            return {
                "model_id": other.model.model_id,
                "same_dataset": other.values.get("dataset_id") == record.values.get("dataset_id"),
                "evaluation": _compared(found[-1]),
            }
    return None


def _compared(evaluation: dict[str, Any]) -> dict[str, Any]:
    return {name: evaluation[name] for name in COMPARED if name in evaluation}


def links(record: RunRecord) -> list[dict[str, str]]:
    """The addresses of what the run made, and the console's page on each."""
    address, model, dataset = record.address, record.model, record.dataset
    if address is None or model is None:
        return []
    places = {"Export": f"{model.name}export/", "Model": model.name}
    if dataset:
        places["Dataset"] = dataset.name
    result = []
    for title, name in places.items():
        bucket, path = split_address(address + name)
        page = f"{CONSOLE}{quote(bucket)}/{quote(path.rstrip('/'))}"
        result.append({"title": title, "address": address + name, "href": page})
    return result
