"""What is found of a dataset's shards.

Covers plugins/qarib_airflow/publishing/published.py.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks import pipeline
from qarib_tasks.dataset.audit import MAX_LISTED, audit, broken, chosen, listed, repair
from qarib_tasks.dataset.shard_state import ShardState
from qarib_tasks.errors import InputError
from qarib_tasks.runs.completion import finish_dataset
from qarib_tasks.runs.prepare import prepare_training
from qarib_tasks.runs.run import Run
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.manifest import manifest_of
from tests.support.datasets import fail, objects, states


@pytest.fixture
def run(published_run: Run) -> Run:
    return published_run


def test_a_whole_dataset_needs_nothing_even_where_files_were_dropped(run: Run) -> None:
    assert states(run) == {}
    run.dataset.tfrecord("shards/shard_0001").unlink()
    assert states(run) == {}
    assert broken(audit(run.dataset)) == [
        ShardState(
            "shards/shard_0001", "missing", "the workspace has no pretraining_data/shard_0001.tfrecord"
        )
    ]


def test_each_kind_of_damage_is_told_apart(run: Run) -> None:
    fail(run, "shards/shard_0000", "cannot be read")
    manifest_of(run.dataset.tfrecord("shards/shard_0001")).unlink()
    manifest_of(run.dataset.tfrecord("shards/shard_0002")).write_text("{")
    with run.dataset.tfrecord("shards/shard_0003").open("ab") as file:
        file.write(b"more")
    bucket = Bucket(f"{run.address}{run.dataset.name}")
    bucket.delete("pretraining_data/shard_0004.tfrecord")
    bucket.write_text("pretraining_data/shard_0005.tfrecord", "other")
    bucket.write_text("pretraining_data/shard_0006.tfrecord.manifest.json", "other")
    found = states(run)
    assert {name[-1]: state for name, (state, _) in found.items()} == {
        **{"0": "failed", "1": "missing", "2": "corrupt", "3": "corrupt"},
        **{"4": "missing", "5": "corrupt", "6": "corrupt"},
    }
    assert found["shards/shard_0000"][1] == "cannot be read"
    assert "no pretraining_data/shard_0004.tfrecord" in found["shards/shard_0004"][1]
    with pytest.raises(InputError) as error:
        finish_dataset(run, objects(run))
    assert all(f"shards/shard_000{number}: " in str(error.value) for number in range(7))
    assert "shard_0007" not in str(error.value)
    assert f"qarib_backfill_shards for the dataset {run.dataset_id}" in str(error.value)
    assert not run.dataset.manifest.exists()


def test_what_is_chosen() -> None:
    found = [ShardState("a", "complete"), ShardState("b", "failed"), ShardState("c", "missing")]
    assert chosen(found, ["failed", "missing"]) == ["b", "c"]
    assert chosen(found, ["missing"]) == ["c"]
    assert chosen(found, ["missing"], ["a"]) == ["a"]
    with pytest.raises(InputError, match="no such shards: d"):
        chosen(found, [], ["a", "d"])


def test_a_long_list_ends_with_a_number() -> None:
    many = [ShardState(f"shards/shard_{number:04d}", "missing") for number in range(MAX_LISTED + 7)]
    lines = listed(many).splitlines()
    assert len(lines) == MAX_LISTED + 1
    assert lines[-1] == "and 7 more"


def test_a_killed_conversion_is_told_of(run: Run) -> None:
    """By the manifest that the conversion leaves before it begins."""
    tfrecord = run.dataset.tfrecord("shards/shard_0001")
    manifest_of(tfrecord).unlink()
    process = os.fork()
    if not process:

        def strike(event: str, arguments: tuple[Any, ...]) -> None:
            if event == "open" and ".tfrecord.qarib-" in str(arguments[0]):
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(strike)
        pipeline.convert(run, "shards/shard_0001")
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    state, reason = states(run)["shards/shard_0001"]
    assert state == "failed"
    assert reason.startswith("its conversion did not finish (began 20")
    assert f"process {process})" in reason
    pipeline.convert(run, "shards/shard_0001")
    bucket = Bucket(f"{run.address}{run.dataset.name}")
    bucket.upload(manifest_of(tfrecord), f"pretraining_data/{manifest_of(tfrecord).name}")
    assert states(run) == {}


def test_a_shard_that_cannot_be_read_says_so(run: Run) -> None:
    run.dataset.shard("shards/shard_0001").unlink()
    with pytest.raises(InputError, match="no such file"):
        pipeline.convert(run, "shards/shard_0001")
    assert states(run) == {}, "what was converted from it is still complete"
    run.dataset.tfrecord("shards/shard_0001").unlink()
    manifest_of(run.dataset.tfrecord("shards/shard_0001")).unlink()
    with pytest.raises(InputError, match="no such file"):
        pipeline.convert(run, "shards/shard_0001")
    assert states(run)["shards/shard_0001"][0] == "failed"


def test_a_shard_whose_text_changed_is_not_complete(run: Run) -> None:
    """Also if its conversion then fails: what was converted before is still there, and not used."""
    with run.dataset.data.open("a", encoding="utf-8") as file:
        file.write("\nكلام جديد\n")
    last = pipeline.split(run)[-2]
    assert states(run)[last] == ("missing", "its raw shard changed since it was converted")
    pipeline.convert(run, last)
    assert last not in states(run) or "changed" not in states(run)[last][1]


def test_beginning_with_the_shards(run: Run) -> None:
    """Sources, text and vocabulary are not looked at; only shards that are not whole are done."""
    from qarib_airflow.publishing.published import incomplete_shards

    Bucket(f"{run.address}{run.dataset.name}").delete("pretraining_data/shard_0002.tfrecord")
    again = prepare_training(run.config, run.dataset_id, first_step="convert")
    assert (again.dataset_id, pipeline.sources(again)) == (run.dataset_id, [])
    pipeline.collect(again)
    pipeline.build_vocab(again)
    assert pipeline.split(again) == pipeline.split(run)
    assert incomplete_shards(again, "google_cloud_default") == ["shards/shard_0002"]
    manifest_of(run.dataset.vocab).unlink()
    with pytest.raises(InputError, match=r"vocab\.txt: not made yet"):
        prepare_training(run.config, run.dataset_id, first_step="convert")


@pytest.mark.parametrize(
    "workspace",
    [
        *(
            "/w",
            "/w'; touch ran; '",
            "/w' $(touch ran) '",
            "/w`touch ran`",
            '/w"; touch ran; "',
            "/w\n touch ran",
        ),
        *("/w\\'; touch ran #", "/عربي 'ن'", "-rf", "/w;&|<>*?!~{}"),
    ],
)
def test_the_command_that_repairs_does_nothing_else(workspace: str, tmp_path: Path) -> None:
    """When it is pasted into a shell, whatever the workspace is."""
    shards = ["shards/shard_0001", "it's"]
    text = repair("demo-0123456789", workspace, shards)
    command = text[text.index("airflow dags trigger") :]
    assert "\n" not in command
    script = f"airflow() {{ printf '%s\\0' \"$@\"; }}\n{command}"
    ended = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, check=True)
    *words, conf, _ = ended.stdout.decode().split("\0")
    assert words == ["dags", "trigger", "qarib_backfill_shards", "--conf"]
    assert json.loads(conf) == {"dataset": "demo-0123456789", "workspace": workspace, "shards": shards}
    assert list(tmp_path.iterdir()) == []
