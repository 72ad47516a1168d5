"""The examples that the model of a run is evaluated on: losses on others are not to be compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from qarib_tasks.config.evaluation import MEASURED_WITH
from qarib_tasks.layout import is_heldout
from qarib_tasks.views.files import Files
from qarib_tasks.views.runs import RunRecord
from qarib_tasks.views.shapes import MANIFEST, identifier

MOST_EXTENDED = 100  # datasets, one after the other


def heldout_of(record: RunRecord, files: Files) -> str | None:
    """Return what is the same for two runs only if both are evaluated on the same examples.

    A dataset that extends others has the held-out part of the first one. None if it is not known.
    """
    dataset, seen = record.dataset, set[str]()
    settings = record.config.get("evaluate") or {}
    if dataset is None or any(name not in settings for name in MEASURED_WITH):
        return None
    manifest = files.json(dataset.name_of(dataset.manifest), MANIFEST)
    while extended := _extended(manifest):
        if extended in seen or len(seen) >= MOST_EXTENDED:
            return None
        seen.add(extended)
        dataset = replace(dataset, dataset_id=extended)
        manifest = files.json(dataset.name_of(dataset.manifest), MANIFEST)
    parts = [
        [one["name"], one.get("sha256")]
        for one in manifest.get("outputs") or ()
        if "name" in one and is_heldout(one["name"])
    ]
    if not parts or not all(isinstance(checksum, str) and checksum for _, checksum in parts):
        return None
    # As `registry.promotion` does, for the models that it judges.
    values = [parts, {name: settings[name] for name in MEASURED_WITH}]
    try:
        return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()
    except ValueError:
        return None


def _extended(manifest: Mapping[str, Any]) -> str | None:
    name = (manifest.get("config") or {}).get("extends")
    return str(name) if identifier(name) else None
