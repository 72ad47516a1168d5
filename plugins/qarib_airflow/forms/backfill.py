"""The trigger form of `qarib_backfill_shards`."""

from __future__ import annotations

from airflow.sdk import Param

from qarib_tasks.dataset.shard_state import BROKEN
from qarib_tasks.layout import ID


def backfill_params() -> dict[str, Param]:
    """The fields of the form."""
    return {
        "dataset": Param(
            type="string",
            pattern=f"^{ID}$",
            title="Dataset",
            description="The dataset_id that the log of preflight and of the failed task gives, "
            "for example qarib-0123456789.",
        ),
        "choice": Param(
            list(BROKEN),
            type="array",
            items={"type": "string", "enum": list(BROKEN)},
            examples=list(BROKEN),
            title="Kinds of shards",
            description="failed: the conversion reported an error. missing: not converted, or not in the "
            "bucket. corrupt: the bytes in the workspace or in the bucket differ from the manifest. A file "
            "in the workspace that was compared before is read again only if its size, times, or inode "
            "changed.",
        ),
        "shards": Param(
            [],
            type="array",
            items={"type": "string"},
            title="Only these shards",
            description="One per line, for example shards/shard_0007 or heldout/shards/shard_0000. "
            "Empty: all shards of the kinds above. Intact shards are not converted again.",
        ),
        "workspace": Param(
            None,
            type=["null", "string"],
            minLength=1,
            title="Workspace",
            description="The folder that the run used. Empty: the Airflow Variable qarib_workspace, or the "
            "environment variable QARIB_WORKSPACE.",
        ),
    }
