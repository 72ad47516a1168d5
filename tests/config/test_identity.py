"""Which settings are part of a name, and that a later version's settings rename nothing."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import pytest
from pydantic import Field
from pydantic.dataclasses import dataclass as pydantic_dataclass

from qarib_tasks.config import identity
from qarib_tasks.config.conversion import ConvertConfig, SplitConfig
from qarib_tasks.config.corpus import CollectConfig, SourceConfig
from qarib_tasks.config.evaluation import EvaluateConfig, TaskConfig
from qarib_tasks.config.identity import DATASET, MODEL, identities, named_settings, neither
from qarib_tasks.config.loading import from_dict
from qarib_tasks.config.run import PromotionConfig, RunConfig
from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.config.training.model import ModelConfig
from qarib_tasks.config.training.recipe import TrainConfig, log_removed
from qarib_tasks.config.upload import UploadConfig
from qarib_tasks.config.vocabulary import VocabConfig
from qarib_tasks.runs.names import dataset_name, model_name

CHANGES_DATA = "dataset: changes the text or the examples"
CHANGES_WEIGHTS = "model: changes the weights"
CONTENTS = "its contents count, not where it is"
PLACE = "neither: changes where files are, not what is in them"
SAVING = "neither: changes how often the training is saved, not what it computes"
LIMIT = "neither: a source that exceeds it is an error"
MEASURE = "neither: measures the model without changing it"
MACHINE = "neither: changes where and how long a training runs, not what it computes"

# Every setting, and whether another value makes another dataset, another model or neither, and why.
SETTINGS: dict[type, dict[str, str]] = {
    RunConfig: {
        "workspace": PLACE,
        "preset": "dataset: is the first part of both names",
        "extends": CHANGES_DATA,
        "partition": "neither: says which month the files are of, not what is in them",
    },
    PromotionConfig: dict.fromkeys(
        (
            "promote_by",
            "promote_task",
            "promotion_margin",
            "task_margin",
            "below_baseline",
            "approval",
            "approval_hours",
        ),
        "neither: judges the model without changing it",
    ),
    SourceConfig: {
        "path": "neither: the contents of its files count, not where they are",
        **dict.fromkeys(("name", "format", "compression", "field", "document", "group"), CHANGES_DATA),
        **dict.fromkeys(("encoding", "encoding_errors", "undecodable_share", "delimiter"), CHANGES_DATA),
        **dict.fromkeys(("quoting", "escape", "header"), CHANGES_DATA),
        **dict.fromkeys(("member", "limit", "share", "skip_at_most", "sha256"), CHANGES_DATA),
        **dict.fromkeys(("most_expansion", "most_bytes", "most_members", "most_rows"), LIMIT),
        **dict.fromkeys(("most_listed", "listing_seconds"), LIMIT),
    },
    CollectConfig: dict.fromkeys(
        (
            *("sources", "heldout_share", "cleaning", "minimum_characters", "maximum_characters"),
            *("arabic_share", "deduplicate", "near_duplicates"),
        ),
        CHANGES_DATA,
    ),
    VocabConfig: {
        **dict.fromkeys(("vocab_size", "sample_lines", "placeholders", "recipe", "model_type"), CHANGES_DATA),
        "vocab_file": f"dataset: {CONTENTS}",
    },
    SplitConfig: {"shard_lines": CHANGES_DATA},
    ConvertConfig: {
        **dict.fromkeys(("max_seq_length", "max_predictions_per_seq", "masked_lm_prob"), CHANGES_DATA),
        **dict.fromkeys(("random_seed", "dupe_factor", "short_seq_prob", "do_lower_case"), CHANGES_DATA),
        **dict.fromkeys(("do_whole_word_mask", "random_seed_per_shard", "format"), CHANGES_DATA),
        "compression": "dataset: changes the bytes of the files",
    },
    ModelConfig: dict.fromkeys(
        (
            *("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size"),
            *("max_position_embeddings", "type_vocab_size", "hidden_act", "hidden_dropout_prob"),
            *("attention_probs_dropout_prob", "initializer_range"),
        ),
        CHANGES_WEIGHTS,
    ),
    TrainConfig: {
        "start_from": f"model: {CONTENTS}",
        "start_from_optimizer": CHANGES_WEIGHTS,
        **dict.fromkeys(("train_batch_size", "learning_rate", "train_steps"), CHANGES_WEIGHTS),
        **dict.fromkeys(("num_warmup_steps", "shuffle_window", "next_sentence"), CHANGES_WEIGHTS),
        **dict.fromkeys(("warmup_share", "schedule", "decay_share", "decay_floor"), CHANGES_WEIGHTS),
        **dict.fromkeys(("bias_correction", "beta_1", "beta_2", "epsilon"), CHANGES_WEIGHTS),
        **dict.fromkeys(("weight_decay", "clip_norm"), CHANGES_WEIGHTS),
        **dict.fromkeys(("backend", "precision", "xla"), CHANGES_WEIGHTS),
        **dict.fromkeys(("masking", "masked_lm_prob", "mask_strategy", "whole_words"), CHANGES_WEIGHTS),
        **dict.fromkeys(("token_dropping", "interleave_shards"), CHANGES_WEIGHTS),
        "save_checkpoints_steps": SAVING,
        "recovery_minutes": SAVING,
        "keep_checkpoint_max": "neither: only removes old checkpoints",
        "max_corrupt_records": "neither: changes when the training stops, not what the intact records teach",
        "shard_optimizer": "neither: changes where the optimizer computes, not what",
        "steps_per_call": "neither: changes how often the device waits, not what it computes",
        "accumulation_steps": "neither: changes the memory that a step needs, not what it computes",
    },
    EvaluateConfig: dict.fromkeys(
        (
            *("eval_batch_size", "max_eval_steps", "fill_mask_sentences", "tasks", "probe_seconds"),
            *("free_tasks", "finetune", "finetune_seeds"),
        ),
        MEASURE,
    ),
    TaskConfig: dict.fromkeys(
        (
            *("name", "train", "test", "test_share", "text", "label", "metric", "positive", "negative"),
            *("limit", "format", "compression", "encoding", "encoding_errors", "undecodable_share"),
            *("delimiter", "quoting", "escape", "header", "member", "skip_at_most"),
            *("most_expansion", "most_bytes", "most_members", "most_rows"),
        ),
        MEASURE,
    ),
    UploadConfig: {
        **dict.fromkeys(("bucket", "prefix", "pretraining_data", "bert_model", "bert_evals"), PLACE),
        "keep_local": "neither: only removes local copies",
        "tolerated_missing_share": "neither: decides when training may start; the manifest names the missing "
        "shards",
        "license": "neither: is text in the model card",
    },
    TpuConfig: dict.fromkeys(
        (
            *("machine", "accelerator_type", "runtime_version", "zones", "provisioning", "reservation"),
            *("network", "subnetwork", "external_ips", "service_account", "queueing_hours"),
            *("booting_hours", "running_hours", "heartbeat_minutes", "max_preemptions", "max_cost"),
            *("chip_hour_price", "share_of_peak", "poll_seconds", "approval_above", "approval_hours"),
            *("stock_out_hours", "image", "gke_cluster", "gke_namespace", "gke_queue", "gke_service_account"),
        ),
        MACHINE,
    ),
}


@pytest.mark.parametrize("cls", SETTINGS, ids=lambda cls: cls.__name__)
def test_every_setting_says_what_it_names(cls: type) -> None:
    sections = {f.name for f in dataclasses.fields(cls) if dataclasses.is_dataclass(f.default)}
    marks = {name: mark for name, mark in identities(cls).items() if name not in sections}
    assert None not in marks.values(), "mark each setting: see qarib_tasks/config/identity.py"
    assert {name: f"{mark.of}: {mark.why}" for name, mark in marks.items() if mark} == SETTINGS[cls]


def test_no_section_is_forgotten() -> None:
    fields = dataclasses.fields(RunConfig)
    sections = {type(field.default) for field in fields if dataclasses.is_dataclass(field.default)}
    assert sections | {RunConfig, SourceConfig, TaskConfig} == set(SETTINGS)
    unmarked = [field.name for field in fields if identities(RunConfig)[field.name] is None]
    assert sorted(unmarked) == sorted(f.name for f in fields if dataclasses.is_dataclass(f.default))


@pydantic_dataclass(frozen=True, kw_only=True)
class Inner:
    """A section in a section."""

    depth: Annotated[int, Field(title="Depth"), MODEL] = 2
    label: Annotated[str, Field(title="Label"), neither("is text")] = ""


@pydantic_dataclass(frozen=True, kw_only=True)
class LaterTrainConfig(TrainConfig):
    """A later version's: it adds settings of every kind, with a mark and without."""

    new_optimizer: Annotated[str, Field(title="Optimizer"), MODEL] = "adamw"
    unmarked: int = 3
    betas: Annotated[tuple[float, ...], MODEL] = dataclasses.field(default_factory=lambda: (0.9, 0.98))
    decay: Annotated[float | None, MODEL] = Field(default=None, title="Decay")
    inner: Annotated[Inner, MODEL] = Inner()
    parts: Annotated[tuple[Inner, ...], MODEL] = (Inner(),)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> type[LaterTrainConfig]:
    monkeypatch.setitem(identity._FIRST, "LaterTrainConfig", identity._FIRST["TrainConfig"])
    return LaterTrainConfig


def test_a_new_setting_at_its_default_is_in_no_name(later: type[LaterTrainConfig]) -> None:
    assert named_settings(later()) == named_settings(TrainConfig())


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"new_optimizer": "lamb"}, {"new_optimizer": "lamb"}),
        ({"unmarked": 4}, {"unmarked": 4}),
        ({"betas": (0.9, 0.999)}, {"betas": [0.9, 0.999]}),
        ({"decay": 0.1}, {"decay": 0.1}),
        ({"inner": Inner(depth=3, label="x")}, {"inner": {"depth": 3}}),
        ({"parts": (Inner(), Inner(depth=5))}, {"parts": [{}, {"depth": 5}]}),
    ],
)
def test_a_new_setting_at_another_value_is(
    later: type[LaterTrainConfig], changed: dict[str, Any], named: dict[str, Any]
) -> None:
    assert named_settings(later(**changed)) == named_settings(TrainConfig()) | named


@pydantic_dataclass(frozen=True, kw_only=True)
class LaterTpuConfig(TpuConfig):
    """A section whose settings name nothing gets one that names a model, and one that names a dataset."""

    rounding: Annotated[str, MODEL] = "nearest"
    text: Annotated[str, DATASET] = ""


@pydantic_dataclass(frozen=True, kw_only=True)
class LaterRunConfig(RunConfig):
    tpu: LaterTpuConfig = LaterTpuConfig()
    whole_run: Annotated[int, DATASET] = 0


def test_a_mark_counts_in_whatever_section_it_is() -> None:
    def names(**changed: Any) -> tuple[str, str]:
        config = LaterRunConfig(workspace="w", **changed)
        return dataset_name(config, [], ""), model_name(config, "demo-0123456789", "")

    plain = RunConfig(workspace="w")
    now = dataset_name(plain, [], ""), model_name(plain, "demo-0123456789", "")
    assert names() == now
    for changed, differ in (
        ({"tpu": LaterTpuConfig(rounding="up")}, (False, True)),
        ({"tpu": LaterTpuConfig(text="x")}, (True, False)),
        ({"whole_run": 1}, (True, False)),
    ):
        assert tuple(one != other for one, other in zip(names(**changed), now, strict=True)) == differ


def test_settings_of_earlier_versions_are_accepted_and_ignored(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    log_removed.cache_clear()
    values: dict[str, Any] = {"workspace": "w", "train": {"num_tpu_cores": 4, "train_steps": 100}}
    assert from_dict(RunConfig, values).train == TrainConfig(train_steps=100)
    assert "train.num_tpu_cores is no longer a setting" in caplog.text
