"""The part of `models/promoted.json` that belongs to a preset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qarib_tasks.errors import CorruptError
from qarib_tasks.layout import PROMOTED
from qarib_tasks.storage.recognition import MOVE_SHARED
from qarib_tasks.storage.records.read import fault_of
from qarib_tasks.storage.records.schemas import PromotedModels
from qarib_tasks.storage.shared_record import Values


def of_preset(values: Values, preset: str) -> Mapping[str, Any]:
    """Return what the record holds of a preset.

    Raises:
        CorruptError: the record is damaged.
    """
    if fault := fault_of(values, PromotedModels):
        raise CorruptError(f"not a record of promoted models: {fault}", where=PROMOTED, do=MOVE_SHARED)
    own: Mapping[str, Any] = values.get("presets", {}).get(preset, {})
    return own


def with_preset(values: Values, preset: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record with other contents for a preset."""
    return {**values, "presets": {**values.get("presets", {}), preset: own}}
