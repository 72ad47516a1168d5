"""A slice of several machines: the real trainer on each, through the operator, against the emulators."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from qarib_tasks.config.loading import dump_yaml
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.tpu.job import TpuJob
from qarib_tasks.tpu.machine.startup import BucketFile
from tests.support.tpu_jobs import Bench, context, deferred, event_of, operator
from tests.support.training_examples import make_job, write_shard

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SECONDS = 900.0
READS = re.compile(r"epoch (\d+): rank (\d+) reads (\S+)$", re.MULTILINE)


@pytest.fixture
def bench(
    bucket_name: str, emulator_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    bench = Bench(bucket_name, emulator_address, tmp_path, monkeypatch)
    bench.emulator.state.environment |= {
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": os.environ["XLA_FLAGS"],
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),  # the second slice need not compile again
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",  # its many small functions too
    }
    with bench.emulator:
        yield bench


def tpu_job(bench: Bench, training: TrainingJob, **tpu: Any) -> dict[str, Any]:
    """The training, with all that it reads, in the bucket."""
    bucket = Bucket(f"gs://{bench.bucket.name}/")
    for path in sorted(bench.folder.rglob("*")):
        if path.suffix == ".tfrecord" or path.name == "vocab.txt":
            bucket.upload(path, f"data/{path.relative_to(bench.folder).as_posix()}")
    there = replace(
        training,
        training_data=f"{bucket.address}data/pretraining_data",
        heldout_data=f"{bucket.address}data/heldout",
        vocab_file=f"{bucket.address}data/vocab.txt",
        output="models/small",
        cache="cache",
        publish_to=f"{bucket.address}models/small/",
    )
    config = bench.folder / "config.yaml"
    config.write_text(dump_yaml(there))
    bucket.upload(config, "config.yaml")
    arguments = ("-m", "qarib_tasks.cli", "train", "--config", "config.yaml")
    job = TpuJob.from_dict(bench.job(arguments=arguments, poll_seconds=0.2, **tpu))
    return replace(job, files=(BucketFile.of(config, "config.yaml"),)).to_dict()


def finish(job: dict[str, Any]) -> dict[str, Any]:
    """A try of the task from its start to its end, with time for trainers that import and compile."""
    task = operator(job)
    event = asyncio.run(asyncio.wait_for(event_of(deferred(task)), SECONDS))
    task.execute_complete(context(), event)
    return event


def serial_logs(bench: Bench) -> dict[str, str]:
    """All that the machines ever printed, by folder."""
    logs = sorted((bench.folder / "tpu").glob("*/worker-*/serial.log"))
    return {path.parent.relative_to(bench.folder / "tpu").as_posix(): path.read_text() for path in logs}


def test_four_machines_lose_their_slice_and_publish_one_model(bench: Bench) -> None:
    training = make_job(
        bench.folder,
        examples=(20, 18, 16, 14, 12, 10, 8),
        train_batch_size=16,
        train_steps=100,
        save_checkpoints_steps=25,
        shuffle_window=8,
    )
    bench.emulator.add_fault(kind="preempt", at_step=50, times=1)
    event = finish(tpu_job(bench, training, accelerator_type="v5litepod-16"))
    assert event["status"] == "success"
    assert len(event["history"]) == bench.made == 2
    assert bench.nothing_is_left

    # Each machine of both slices has trained, all of the second one from the same checkpoint.
    logs = serial_logs(bench)
    assert len(logs) == 8
    second = bench.memory().name
    restored = {
        found[1]
        for folder, text in logs.items()
        if folder.startswith(f"{second}-") and (found := re.search(r"checkpoint of step (\d+)", text))
    }
    assert len(restored) == 1
    assert int(restored.pop()) in (25, 50, 75)

    # Each epoch's shards are divided: none is read by two workers, and in whole epochs none is left out.
    read: dict[int, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    last: dict[int, int] = {}
    for text in logs.values():
        for epoch, worker, shard in READS.findall(text):
            read[int(epoch)][shard].add(int(worker))
            last[int(worker)] = max(last.get(int(worker), 0), int(epoch))
    assert all(len(workers) == 1 for shards in read.values() for workers in shards.values())
    whole = range(min(last.values()))
    assert sorted(last) == [0, 1, 2, 3]
    assert len(whole) > 5
    shards = {f"shard_{number:04}.tfrecord" for number in range(7)}
    assert all(set(read[epoch]) == shards for epoch in whole)

    # One published, and what it published is one training.
    published = Bucket(f"gs://{bench.bucket.name}/models/small/").list()
    checkpoints = sorted(name for name in published if name.endswith(".safetensors"))
    assert checkpoints == [f"bert_model/checkpoint-{step}.safetensors" for step in (100, 50, 75)]
    assert not [name for name in published if "worker" in name]
    assert len([name for name in published if "bert_model/tensorboard/" in name]) == 1
    history = Bucket(f"gs://{bench.bucket.name}/models/small/").read_text("bert_model/history.jsonl") or ""
    steps = [json.loads(line)["step"] for line in history.splitlines()]
    assert steps == list(range(1, 101))
    progress = json.loads(Bucket(f"gs://{bench.bucket.name}/models/small/").read_text("progress.json") or "")
    assert (progress["state"], progress["step"], progress["devices"]) == ("finished", 100, 4)
    assert (progress["backend"], len(progress["evaluation"]["fill_mask"])) == ("jax", 5)
    reports = Bucket(f"gs://{bench.bucket.name}/models/m/tpu/run/{second}/").list()
    assert {f"worker-{n}.json" for n in range(4)} <= set(reports)


def test_what_one_machine_cannot_read_is_what_the_user_sees(bench: Bench) -> None:
    training = make_job(bench.folder, examples=(40, 40), train_steps=5000, shuffle_window=16)
    write_shard(bench.folder / "pretraining_data" / "shard_0001.tfrecord", [b"no example"] * 40)
    job = tpu_job(bench, training, accelerator_type="v4-16", zones=["us-central2-b"])
    with pytest.raises(AirflowFailException, match=r"worker \d: [\s\S]*qarib: error: .*pretraining_data"):
        finish(job)
    assert bench.made == 1
    assert bench.nothing_is_left
