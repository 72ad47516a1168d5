"""A model compared with the previous one, and the locations of its files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from qarib_tasks.layout import PROMOTED
from qarib_tasks.storage.bucket import split_address
from qarib_tasks.views.files import Files, as_object
from qarib_tasks.views.runs import RunRecord, trouble
from qarib_tasks.views.shapes import MANIFEST
from qarib_tasks.views.training import evaluations

CONSOLE = "https://console.cloud.google.com/storage/browser/"
COMPARED = (
    "step", "masked_lm_loss", "masked_lm_accuracy", "perplexity", "next_sentence_accuracy",
    "unigram_entropy", "examples",
)  # fmt: skip


def model_view(record: RunRecord, files: Files, earlier: Sequence[RunRecord]) -> dict[str, Any]:
    """The evaluation next to the previous model's, the export's files, the model card, and links.

    Args:
        earlier: runs before this one, the newest first, any of which may have made the previous model.
    """
    model = record.model
    if model is None:
        return {"model_id": None, "trouble": None}
    manifest = files.json(model.name_of(model.manifest), MANIFEST)
    own = evaluations(files, model)
    judged, promoted = judgements(files, record)
    former = _judged_before(model.model_id, judged, promoted) or _trained_before(record, files, earlier)
    card = files.read(model.name_of(model.model_card))
    return {
        "model_id": model.model_id,
        "dataset_id": record.values.get("dataset_id"),
        "state": manifest.get("state"),
        "made_at": manifest.get("made_at"),
        "evaluation": _compared(own[-1]) if own else None,
        "former": former,
        "is_promoted": promoted == model.model_id,
        "judgement": judged.get(model.model_id, {}).get("reason"),
        "files": [
            {"name": one.get("name"), "bytes": one.get("bytes")} for one in manifest.get("outputs") or ()
        ],
        "card": None if card is None else card.decode("utf-8", errors="replace")[:20_000],
        "links": links(record),
        "trouble": trouble(files.trouble or files.fault),
    }


def judgements(files: Files, record: RunRecord) -> tuple[dict[str, dict[str, Any]], str | None]:
    """The judged models of the run's preset in the order of judgement, and the promoted model's name."""
    record_text = files.published(PROMOTED) or files.local(PROMOTED)
    presets = as_object(record_text).get("presets")
    own = presets.get(record.config.get("preset")) if isinstance(presets, dict) else None
    if not isinstance(own, dict):
        return {}, None
    listed = own.get("judged")
    judged = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    promoted = own.get("promoted")
    return {str(one.get("model_id")): one for one in judged}, promoted if isinstance(promoted, str) else None


def promoted_before(model_id: str, judged: dict[str, dict[str, Any]], promoted: str | None) -> str | None:
    """The newest model promoted before this one was judged; for a model not judged, the promoted model."""
    names = list(judged)
    before = names[: names.index(model_id)] if model_id in judged else names
    order = [name for name in reversed(before) if judged[name].get("state") == "promoted"]
    if model_id not in judged:
        order.insert(0, promoted or "")
    return next((name for name in order if name != model_id and judged.get(name)), None)


def _judged_before(
    model_id: str, judged: dict[str, dict[str, Any]], promoted: str | None
) -> dict[str, Any] | None:
    name = promoted_before(model_id, judged, promoted)
    if name is None:
        return None
    found, own = judged[name], judged.get(model_id, {})
    return {
        "model_id": name,
        "same_heldout": found.get("heldout") == own["heldout"] if own.get("heldout") else None,
        "evaluation": _compared(found.get("evaluation")),
    }


def _trained_before(record: RunRecord, files: Files, earlier: Sequence[RunRecord]) -> dict[str, Any] | None:
    """The newest other model with an evaluation from the earlier runs."""
    assert record.model is not None
    seen = {record.model.model_id}
    for other in earlier:
        if other.model is None or other.address != record.address or other.model.model_id in seen:
            continue
        seen.add(other.model.model_id)
        if found := evaluations(files, other.model):
            same = other.values.get("dataset_id") == record.values.get("dataset_id")
            return {
                "model_id": other.model.model_id,
                "same_heldout": same or None,
                "evaluation": _compared(found[-1]),
            }
    return None


def _compared(evaluation: Any) -> dict[str, Any]:
    found = evaluation if isinstance(evaluation, dict) else {}
    return {name: found[name] for name in COMPARED if name in found}


def links(record: RunRecord) -> list[dict[str, str]]:
    """The addresses of the run's outputs, each with its page in the Google Cloud console."""
    address, model, dataset = record.address, record.model, record.dataset
    if address is None or model is None:
        return []
    places = {"Export": f"{model.name_of(model.export)}/", "Model": model.name}
    if dataset:
        places["Dataset"] = dataset.name
    result = []
    for title, name in places.items():
        bucket, path = split_address(address + name)
        page = f"{CONSOLE}{quote(bucket)}/{quote(path.rstrip('/'))}"
        result.append({"title": title, "address": address + name, "href": page})
    return result
