"""The trigger form of `qarib_backfill_shards`."""

from __future__ import annotations

from airflow.sdk import Param

from qarib_tasks.dataset.shard_state import BROKEN
from qarib_tasks.layout import ID


def backfill_params() -> dict[str, Param]:
    """The form."""
    return {
        "dataset": Param(
            type="string",
            pattern=f"^{ID}$",
            title="Dataset",
            description="Its name, as the log of preflight and of the failed task gives it: "
            "dataset_id, for example qarib-0123456789.",
        ),
        "choice": Param(
            list(BROKEN),
            type="array",
            items={"type": "string", "enum": list(BROKEN)},
            examples=list(BROKEN),
            title="Which shards",
            description="failed: the conversion said why. missing: not converted, or without its object "
            "in the bucket. corrupt: other bytes than the manifest tells, here or in the bucket.",
        ),
        "shards": Param(
            [],
            type="array",
            items={"type": "string"},
            title="Or these shards",
            description="One a line, for example shards/shard_0007 or heldout/shards/shard_0000. "
            "Empty: those chosen above. A shard that turns out to be whole is left alone.",
        ),
        "workspace": Param(
            None,
            type=["null", "string"],
            minLength=1,
            title="Workspace",
            description="Folder that the run worked in. Empty: the Airflow Variable qarib_workspace, or the "
            "environment's QARIB_WORKSPACE.",
        ),
    }
