"""What the page's views are made of."""

from __future__ import annotations

from qarib_tasks.views.files import Cache, Files
from tests.support.made_up_run import FolderBucket, MadeUpRun


def files(run: MadeUpRun, bucket: FolderBucket | None, *, local: bool = True) -> Files:
    return Files(run.workspace if local else None, bucket, Cache())


def states(view: dict[str, object]) -> dict[str, str]:
    shards = view["shards"]
    assert isinstance(shards, list)
    return {
        shard["name"].rpartition("_")[2] if "heldout" not in shard["name"] else "heldout": shard["state"]
        for shard in shards
    }
