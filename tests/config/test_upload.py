"""Names that a run chooses for its folders: plain, and free.

Covers qarib_tasks/config/upload.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from qarib_tasks.config.loading import from_dict
from qarib_tasks.config.presets import resolve
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.config.upload import chosen_faults
from qarib_tasks.errors import ConfigError
from qarib_tasks.layout import DatasetLayout, ModelLayout
from qarib_tasks.registry.retraining import RetrainConfig

JOB = {"training_data": "a", "heldout_data": "b", "vocab_file": "v", "output": "o"}


@pytest.mark.parametrize("setting", ["pretraining_data", "bert_model", "bert_evals"])
@pytest.mark.parametrize(
    "name",
    [
        *("../", "./", ".../", ".hidden/", "-x/", "a/b/", "/", "", "a", "/a/", "a\\b/", "ن/", "a\n/", "a/\n"),
        *("export/", "Export/", "heldout/", "shards/", "tasks/", "cache/", "tpu/", "launch/", "start_from/"),
        *("manifest.json/", "data.txt/", "config.yaml/", "data.sources/", "train.log/", "train.lock/"),
    ],
)
def test_a_folder_of_the_run_is_a_plain_name_that_is_free(setting: str, name: str) -> None:
    values = {"preset": "demo", "workspace": "w", "upload": {setting: name}}
    with pytest.raises(ConfigError, match=setting):
        resolve(values)
    if setting != "pretraining_data":
        with pytest.raises(ConfigError, match=setting):
            from_dict(TrainingJob, JOB | {setting: name})


def test_the_folders_of_a_run_differ() -> None:
    for one, other in (("bert_model", "bert_evals"), ("pretraining_data", "bert_model")):
        values = {"preset": "demo", "workspace": "w", "upload": {one: "same/", other: "same/"}}
        with pytest.raises(ConfigError, match="different folders"):
            resolve(values)
    with pytest.raises(ConfigError, match="different folders"):
        from_dict(TrainingJob, JOB | {"bert_model": "same/", "bert_evals": "same/"})
    upload = {
        "pretraining_data": "data.v2/",
        "bert_model": "_m-1/",
        "bert_evals": "EVALS/",
        "prefix": "a/b c/",
    }
    assert resolve({"preset": "demo", "workspace": "w", "upload": upload}).upload.bert_model == "_m-1/"


@pytest.mark.parametrize("prefix", ["../", "a/../b/", "a/./", "./a/", "a/\n/", "/a/", "a", "a/\0/"])
def test_a_prefix_is_plain_names(prefix: str) -> None:
    with pytest.raises(ConfigError, match="prefix"):
        resolve({"preset": "demo", "workspace": "w", "upload": {"prefix": prefix}})
    with pytest.raises(ConfigError, match="prefix"):
        from_dict(RetrainConfig, {"prefix": prefix})


def test_every_name_of_a_model_and_a_dataset_is_refused(tmp_path: Path) -> None:
    """Also one that the layout gets later."""
    upload = resolve({"preset": "demo", "workspace": "w"}).upload
    dataset, model = DatasetLayout(tmp_path, "d-0123456789", upload), ModelLayout(tmp_path, upload)
    found = set()
    for layout in (dataset, model):
        for name in dir(layout):
            value = getattr(layout, name)
            for path in value if isinstance(value, list) else [value]:
                if isinstance(path, Path) and path.is_relative_to(layout.root) and path != layout.root:
                    found.add(f"{path.relative_to(layout.root).parts[0]}/")
    own = {upload.pretraining_data, upload.bert_model, upload.bert_evals, ".lock/"}
    assert len(found - own) > 8
    assert {name for name in found - own if not chosen_faults({"x": name})} == set()
