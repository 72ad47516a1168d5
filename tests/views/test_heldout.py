"""Which runs are evaluated on the same examples."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from qarib_tasks.views.heldout import heldout_of
from qarib_tasks.views.model import model_view
from qarib_tasks.views.runs import RunRecord
from tests.support.browser.many_runs import demo_values
from tests.support.made_up_run import FolderBucket, MadeUpRun, files, make_run, write_training


def of(run: MadeUpRun, model: str = "demo-00000000bb", **evaluate: Any) -> RunRecord:
    config = demo_values(run.workspace, {"evaluate": evaluate} if evaluate else None)
    return replace(run.record, values={**run.record.values, "config": config, "model_id": model})


def write(run: MadeUpRun, **values: Any) -> None:
    manifest = json.loads(run.dataset.manifest.read_text())
    run.dataset.manifest.write_text(json.dumps(manifest | values))


@pytest.fixture
def other(run: MadeUpRun) -> MadeUpRun:
    """A run of another dataset, with another held-out part."""
    made = make_run(run.workspace, 2, dataset_id="demo-00000000cc")
    outputs = json.loads(made.dataset.manifest.read_text())["outputs"]
    for one in outputs:
        one["sha256"] = "1" * 64
    write(made, outputs=outputs)
    return made


def test_the_same_examples_and_settings(run: MadeUpRun, other: MadeUpRun) -> None:
    own = heldout_of(of(run), files(run, None))
    assert own is not None
    assert heldout_of(of(run, "demo-00000000bc"), files(run, None)) == own
    assert heldout_of(of(run, max_eval_steps=3), files(run, None)) != own
    assert heldout_of(of(other), files(run, None)) not in (None, own)


def test_a_dataset_that_extends_another_has_the_held_out_part_of_the_first(
    run: MadeUpRun, other: MadeUpRun, bucket: FolderBucket
) -> None:
    own = heldout_of(of(run), files(run, None))
    write(other, config={"extends": run.dataset.dataset_id})
    assert heldout_of(of(other), files(run, None)) == own
    run.upload(bucket.folder)
    other.upload(bucket.folder)
    assert heldout_of(of(other), files(run, bucket, local=False)) == own
    # In a circle, of one that is gone, and a name that leads elsewhere.
    write(run, config={"extends": other.dataset.dataset_id})
    assert heldout_of(of(other), files(run, None)) is None
    write(other, config={"extends": "demo-0000000000"})
    assert heldout_of(of(other), files(run, None)) is None
    write(other, config={"extends": "../../etc"}, outputs=[])
    assert heldout_of(of(other), files(run, None)) is None


def test_what_is_not_known(run: MadeUpRun) -> None:
    assert heldout_of(run.record, files(run, None)) is None  # its settings do not say
    write(run, outputs=[{"name": "heldout/pretraining_data/shard_0000.tfrecord", "bytes": 9, "sha256": 3}])
    assert heldout_of(of(run), files(run, None)) is None
    run.dataset.manifest.unlink()
    assert heldout_of(of(run), files(run, None)) is None


def test_models_are_compared_only_on_the_same_examples(run: MadeUpRun, other: MadeUpRun) -> None:
    """Of one dataset, but not of as many examples; of two, but of the same examples."""
    own, before = of(run), of(run, "demo-00000000b0", max_eval_steps=3)
    for record, steps in ((own, 20), (before, 10)):
        assert record.model is not None
        write_training(run.workspace / record.model.name, steps=steps, at="")

    def same(earlier: RunRecord) -> object:
        return model_view(own, files(run, None), [earlier])["former"]["same_heldout"]

    assert same(before) is False
    assert same(of(run, "demo-00000000b0")) is True
    write(other, config={"extends": run.dataset.dataset_id})
    assert same(replace(of(other), values={**of(other).values, "model_id": "demo-00000000b0"})) is True
