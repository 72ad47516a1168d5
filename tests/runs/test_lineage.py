"""What each task read and made, by the manifests of a dataset and a model that an older version made."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from qarib_tasks.errors import InputError
from qarib_tasks.runs.lineage import Data, lineage_of
from qarib_tasks.runs.run import Run, run_of_dataset

MADE = Path(__file__).parents[1] / "data" / "made_by_3ef437a" / "work"
DATASET, MODEL = "demo-e3029ea0ef", "demo-c50f6ad7af"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    shutil.copytree(MADE, tmp_path / "work")
    return replace(run_of_dataset(tmp_path / "work", DATASET), model_id=MODEL)


def test_the_graph_from_source_files_to_the_exported_model_has_no_gap(run: Run) -> None:
    made: set[tuple[str, str]] = set()
    for task in ("collect", "vocab", "dataset", "train", "export"):
        step = lineage_of(run, task)
        read = {one.place for one in step.inputs}
        if task != "collect":
            assert read <= made, (task, read - made)
        else:
            listed = json.loads(run.dataset.sources.read_text(encoding="utf-8"))["files"]
            assert read == {("file", os.path.abspath(file["address"])) for file in listed}
            assert len(read) == 1
        made |= {one.place for one in step.outputs}
    assert ("file", str(run.model.export)) in made


def test_the_figures_are_those_of_the_manifests(run: Run) -> None:
    corpus = json.loads((run.dataset.root / "data.json").read_text(encoding="utf-8"))
    step = lineage_of(run, "collect")
    assert [one.version for one in step.inputs] == [f"sha256:{one['sha256']}" for one in corpus["inputs"]]
    text = step.outputs[0]
    assert text.address == str(run.dataset.data)
    assert text.rows == corpus["statistics"]["lines"]
    assert text.version == f"sha256:{corpus['outputs'][0]['sha256']}"
    assert step.made_by == corpus["made_by"]

    dataset = json.loads(run.dataset.manifest.read_text(encoding="utf-8"))
    training, heldout = lineage_of(run, "dataset").outputs
    assert (training.rows, training.bytes, training.files) == (
        dataset["statistics"]["examples"], dataset["statistics"]["bytes"], dataset["statistics"]["shards"],
    )  # fmt: skip
    assert heldout.rows is None
    assert training.fields["input_ids"] == f"int64[{run.config.convert.max_seq_length}]"
    assert training.version.startswith("sha256:")
    assert training.version != heldout.version

    model = json.loads(run.model.manifest.read_text(encoding="utf-8"))
    (exported,) = lineage_of(run, "export").outputs
    weights = next(one for one in model["outputs"] if one["name"] == "export/model.safetensors")
    assert exported.version == f"sha256:{weights['sha256']}"


def test_what_is_published_has_its_address_in_the_bucket(run: Run) -> None:
    upload = replace(run.config.upload, bucket="bucket", prefix="a/")
    published = replace(run, config=replace(run.config, upload=upload))
    places = {one.place for one in lineage_of(published, "train").inputs}
    assert places == {
        ("gs://bucket", f"a/datasets/{DATASET}/pretraining_data"),
        ("gs://bucket", f"a/datasets/{DATASET}/vocab.txt"),
    }
    # The text stays in the workspace.
    assert lineage_of(published, "vocab").inputs[0].place == ("file", str(run.dataset.data))


def test_the_model_that_a_training_starts_from_is_read(run: Run) -> None:
    train = replace(run.config.train, start_from="gs://other/models/x/export/")
    started = replace(run, config=replace(run.config, train=train), start_from_digest="abc")
    assert Data("gs://other/models/x/export", "sha256:abc") in lineage_of(started, "train").inputs


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("/srv/a b.txt", ("file", "/srv/a b.txt")),
        ("gs://bucket/a/b.txt", ("gs://bucket", "a/b.txt")),
        ("https://example.org/a.txt?token=***", ("https://example.org", "a.txt")),
        ("https://example.org", ("https://example.org", "/")),
    ],
)
def test_a_name_has_no_query(address: str, place: tuple[str, str]) -> None:
    assert Data(address).place == place


def test_a_task_that_has_not_ended_has_none(run: Run) -> None:
    run.model.manifest.unlink()
    with pytest.raises(InputError, match="no such manifest"):
        lineage_of(run, "export")
