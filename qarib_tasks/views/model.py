"""A model compared with the previous one, and the locations of its files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from qarib_tasks.layout import PROMOTED
from qarib_tasks.storage.bucket import split_address
from qarib_tasks.views.files import Files
from qarib_tasks.views.heldout import heldout_of
from qarib_tasks.views.runs import RunRecord, trouble
from qarib_tasks.views.shapes import MANIFEST, as_object
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
    former = _judged_before(model.model_id, judged, record.ended) or _trained_before(record, files, earlier)
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


@dataclass(frozen=True)
class Judged:
    """The judged models of a preset by name, in the order of judgement, and the promoted model's name."""

    models: dict[str, dict[str, Any]]
    promoted: str | None


def judged_of(files: Files) -> dict[str, Judged]:
    """What the record of promoted models says, by preset."""
    presets = as_object(files.published(PROMOTED) or files.local(PROMOTED)).get("presets")
    found = {}
    for preset, own in presets.items() if isinstance(presets, dict) else ():
        if not isinstance(own, dict):
            continue
        listed, promoted = own.get("judged"), own.get("promoted")
        judged = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        models = {str(one.get("model_id")): one for one in judged}
        found[preset] = Judged(models, promoted if isinstance(promoted, str) else None)
    return found


def judgements(files: Files, record: RunRecord) -> tuple[dict[str, dict[str, Any]], str | None]:
    """The judged models of the run's preset in the order of judgement, and the promoted model's name."""
    own = judged_of(files).get(str(record.config.get("preset")))
    return (own.models, own.promoted) if own else ({}, None)


def promoted_before(
    model_id: str, judged: dict[str, dict[str, Any]], ended: datetime | None = None
) -> str | None:
    """The newest model promoted before this one was judged, or before its run ended if it was not judged."""
    names = list(judged)
    if model_id in judged:
        before = names[: names.index(model_id)]
    else:
        before = [name for name in names if ended is None or _is_before(judged[name].get("judged_at"), ended)]
    return next((name for name in reversed(before) if judged[name].get("state") == "promoted"), None)


def _is_before(stamp: object, time: datetime) -> bool:
    try:
        return datetime.fromisoformat(str(stamp)) <= time
    except (ValueError, TypeError):  # No time, or one without a zone.
        return False


def _judged_before(
    model_id: str, judged: dict[str, dict[str, Any]], ended: datetime | None
) -> dict[str, Any] | None:
    name = promoted_before(model_id, judged, ended)
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
            return {
                "model_id": other.model.model_id,
                "same_heldout": _same_heldout(record, other, files),
                "evaluation": _compared(found[-1]),
            }
    return None


def _same_heldout(one: RunRecord, other: RunRecord, files: Files) -> bool | None:
    """Whether two runs are evaluated on the same examples; None if that is not known."""
    names = [heldout_of(record, files) for record in (one, other)]
    if None not in names:
        return names[0] == names[1]
    evaluate = [record.config.get("evaluate") for record in (one, other)]
    same = one.values.get("dataset_id") == other.values.get("dataset_id") and evaluate[0] == evaluate[1]
    return same or None


def _compared(evaluation: Any) -> dict[str, Any]:
    found = evaluation if isinstance(evaluation, dict) else {}
    return {name: found[name] for name in COMPARED if name in found}


def links(record: RunRecord) -> list[dict[str, str | None]]:
    """The addresses of the run's outputs, each with its page in the Google Cloud console.

    An emulator's bucket has no such page: one of the same name there is another one.
    """
    address, model, dataset = record.address, record.model, record.dataset
    if address is None or model is None:
        return []
    places = {"Export": f"{model.name_of(model.export)}/", "Model": model.name}
    if dataset:
        places["Dataset"] = dataset.name
    result: list[dict[str, str | None]] = []
    for title, name in places.items():
        bucket, path = split_address(address + name)
        page = f"{CONSOLE}{quote(bucket)}/{quote(path.rstrip('/'))}"
        href = None if os.environ.get("STORAGE_EMULATOR_HOST") else page
        result.append({"title": title, "address": address + name, "href": href})
    return result
