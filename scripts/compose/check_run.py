"""Print as JSON which outputs of a run's manifests are missing from the bucket, and the metrics to expect.

The argument is the run that the task `preflight` returned, as JSON. `compose_test.py` runs this in a worker.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from qarib_tasks.runs.run import Run
from qarib_tasks.storage.bucket import Bucket, same
from qarib_tasks.storage.manifest import Manifest


def check(run: Run) -> dict[str, Any]:
    assert run.address
    bucket = Bucket(run.address, storage.Client(project="emulator", credentials=AnonymousCredentials()))
    objects = bucket.list()
    missing = []
    records = 0
    for name, path in ((run.dataset.name, run.dataset.manifest), (run.model.name, run.model.manifest)):
        if name + "manifest.json" not in objects:
            missing.append(name + "manifest.json")
        for record in Manifest.read(path).outputs:
            records += 1
            if not same(objects.get(name + record.name), record.checksums):
                missing.append(name + record.name)
    progress = json.loads(run.model.progress.read_text(encoding="utf-8"))
    memories = [name for name in objects if name.endswith("/memory.json")]
    preemptions = [json.loads(bucket.read_text(name) or "{}")["preemptions"] for name in memories]
    shards = Manifest.read(run.dataset.manifest).statistics["shards"]
    raw = len(list(Path(run.dataset.shards(run.dataset.data)).glob("shard_*")))
    return {
        "missing": missing,
        "outputs": records,
        "dataset": {"shards": raw, "shards_done": shards},
        "model": {
            "training_step": progress["step"],
            "loss": progress["loss"],
            "masked_lm_loss": progress["masked_lm_loss"],
            "examples_per_second": progress["examples_per_second"],
            "preemptions": sum(preemptions),
        },
    }


if __name__ == "__main__":
    print(json.dumps(check(Run.from_dict(json.loads(sys.argv[1])))))
