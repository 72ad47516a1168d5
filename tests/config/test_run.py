"""Settings: every fault named, nothing unknown let through, presets laid under.

Covers qarib_tasks/config/conversion.py, qarib_tasks/config/loading.py, qarib_tasks/config/presets.py,
qarib_tasks/config/training/job.py, qarib_tasks/config/training/model.py,
qarib_tasks/config/training/recipe.py, qarib_tasks/config/vocabulary.py.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from qarib_tasks.config.conversion import ConvertConfig
from qarib_tasks.config.loading import dump_yaml, from_dict, load_yaml, to_dict
from qarib_tasks.config.presets import PRESETS, resolve
from qarib_tasks.config.run import RunConfig
from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.config.vocabulary import VocabConfig
from qarib_tasks.errors import ConfigError, InputError


def test_the_defaults_are_the_published_numbers() -> None:
    config = to_dict(resolve({"preset": "qarib", "workspace": "w"}))
    published = {
        "vocab": {"vocab_size": 64_000, "sample_lines": 5_000_000, "placeholders": 256},
        "split": {"shard_lines": 512_000},
        "convert": {
            "max_seq_length": 64,
            "max_predictions_per_seq": 20,
            "masked_lm_prob": 0.15,
            "random_seed": 34,
            "dupe_factor": 5,
            "short_seq_prob": 0.1,
            "do_lower_case": True,
        },
        "train": {
            "train_batch_size": 64,
            "learning_rate": 8e-6,
            "train_steps": 2_000_000,
            "save_checkpoints_steps": 100_000,
            "keep_checkpoint_max": 20,
            "num_warmup_steps": 10,
        },
        "evaluate": {"eval_batch_size": 64, "max_eval_steps": 100},
        "model": {
            "num_hidden_layers": 12,
            "hidden_size": 768,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "max_position_embeddings": 512,
        },
    }
    for section, settings in published.items():
        for name, value in settings.items():
            assert config[section][name] == value, f"{section}.{name}"


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_valid_and_survives_yaml(preset: str) -> None:
    config = resolve({"preset": preset, "workspace": "w"})
    assert from_dict(RunConfig, yaml.safe_load(dump_yaml(config))) == config


def test_the_modern_presets_read_each_text_once_and_have_no_pairs() -> None:
    for name, base in (("qarib_modern", "qarib"), ("demo_modern", "demo")):
        modern, published = (resolve({"preset": preset, "workspace": "w"}) for preset in (name, base))
        assert (modern.convert.format, modern.convert.dupe_factor) == ("packed", 1)
        assert (modern.train.masking, modern.train.next_sentence) == ("dynamic", False)
        assert modern.train.warmup_steps == round(0.06 * modern.train.train_steps)
        assert modern.train.stable_step == round((1 - modern.train.decay_share) * modern.train.train_steps)
        # Text, vocabulary and the shape of the exported model are the same.
        for section in ("vocab", "split", "tpu"):
            assert getattr(modern, section) == getattr(published, section)
        assert set(published.collect.sources) <= set(modern.collect.sources)
        assert modern.model == replace(
            published.model, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
        )


def test_every_fault_is_named_at_once() -> None:
    values = {
        "workspace": "w",
        "trian": {},
        "vocab": {"vocab_size": 3},
        "train": {"train_steps": "many", "learning_rte": 1},
    }
    with pytest.raises(ConfigError) as error:
        from_dict(RunConfig, values, "run.yaml")
    for part in (
        "run.yaml",
        "trian: unknown setting",
        "vocab.vocab_size",
        "train.train_steps",
        "train.learning_rte",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"convert": {"max_seq_length": 1024}},
            "max_seq_length 1024 is above model.max_position_embeddings 512",
        ),
        (
            {"convert": {"max_seq_length": 16}},
            "max_predictions_per_seq 20 is above convert.max_seq_length 16",
        ),
        ({"vocab": {"vocab_size": 200}}, "vocab.vocab_size 200 has no room for words"),
        ({"model": {"hidden_size": 100}}, "hidden_size 100 is not a multiple of num_attention_heads 12"),
        ({"train": {"train_steps": 10}}, "num_warmup_steps 10 must be less than train_steps 10"),
        (
            {"train": {"num_warmup_steps": 20, "warmup_share": 0.1}},
            r"give num_warmup_steps \(20\) or warmup_share \(0.1\), not both",
        ),
        (
            {"train": {"train_steps": 100, "schedule": "wsd", "decay_share": 0.95}},
            r"10 steps of warm-up and 95 of decay \(decay_share 0.95\) are more than train_steps 100",
        ),
        (
            {"convert": {"format": "packed"}},
            "train.next_sentence must be false for packed data.*no masks. Set train.masking: dynamic",
        ),
        (
            {"train": {"accumulation_steps": 3}},
            "train_batch_size 64 is not a multiple of accumulation_steps 3",
        ),
        (
            {"train": {"token_dropping": 0.9}},
            "token_dropping 0.9 keeps 7 of 64 positions; keep fewer, but at least 13",
        ),
        (
            {"train": {"token_dropping": 0.5}, "model": {"num_hidden_layers": 2}},
            "token_dropping needs 3 layers or more; model.num_hidden_layers is 2",
        ),
        ({"train": {"decay_floor": 0.1}}, "decay_floor 0.1 needs the schedule cosine or wsd"),
        (
            {"collect": {"sources": [{"name": "a", "path": "x"}, {"name": "a", "path": "y"}]}},
            "duplicate name 'a'",
        ),
        ({"upload": {"bucket": "Has Spaces"}}, "upload.bucket"),
        ({"train": {"learning_rate": float("nan")}}, "train.learning_rate"),
    ],
)
def test_settings_at_odds_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve({"workspace": "w", **values})


def test_overrides_are_laid_over_the_preset_and_none_leaves_it() -> None:
    config = resolve(
        {"preset": "demo", "workspace": "w", "train": {"train_steps": 777, "learning_rate": None}}
    )
    assert config.train.train_steps == 777
    assert config.train.learning_rate == PRESETS["demo"]["train"]["learning_rate"]
    assert config.train.keep_checkpoint_max == TrainConfig.keep_checkpoint_max
    with pytest.raises(ConfigError, match=r"unknown preset 'demmo'.*qarib, qarib_modern, demo"):
        resolve({"preset": "demmo", "workspace": "w"})


def test_a_given_warm_up_replaces_the_preset_s_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    demo = {"preset": "demo", "workspace": "w"}
    train = resolve(demo | {"train": {"warmup_share": 0.06}}).train
    assert (train.warmup_share, train.warmup_steps) == (0.06, 48)
    assert resolve(demo | {"train": {"warmup_share": 0.0}}).train.warmup_steps == 80
    monkeypatch.setitem(PRESETS, "shared", {"train": {"warmup_share": 0.06}})
    train = resolve({"preset": "shared", "workspace": "w", "train": {"num_warmup_steps": 20}}).train
    assert train.warmup_steps == 20
    assert from_dict(RunConfig, to_dict(resolve(demo | {"train": {"warmup_share": 0.06}}))).train == (
        resolve(demo | {"train": {"warmup_share": 0.06}}).train
    )


def test_packed_data_have_each_text_once_and_no_masks() -> None:
    demo = {"preset": "demo", "workspace": "w", "train": {"masking": "dynamic", "next_sentence": False}}
    assert resolve(demo | {"convert": {"format": "packed"}}).convert.dupe_factor == 1
    for name, value in (("dupe_factor", 3), ("masked_lm_prob", 0.3), ("do_whole_word_mask", True)):
        with pytest.raises(ConfigError, match=name):
            resolve(demo | {"convert": {"format": "packed", name: value}})


def test_shares_that_fill_all_steps_fit_at_every_number_of_steps() -> None:
    for steps in range(2, 200):
        train = TrainConfig(train_steps=steps, schedule="wsd", warmup_share=0.06, decay_share=0.94)
        assert train.warmup_steps + train.decay_steps <= steps
    for values, message in (
        ({"warmup_share": 0.5, "decay_share": 0.6, "schedule": "wsd"}, "are more than train_steps"),
        ({"decay_share": 0.1}, "needs the schedule wsd"),
        ({"shard_optimizer": True, "backend": "tensorflow"}, "shard_optimizer needs the backend jax"),
    ):
        with pytest.raises(ValueError, match=message):
            TrainConfig(**values)  # type: ignore[arg-type]


def test_configurations_cannot_be_changed_and_are_checked_when_made() -> None:
    with pytest.raises(AttributeError):
        VocabConfig().vocab_size = 1  # type: ignore[misc]
    with pytest.raises(ValueError, match="masked_lm_prob"):
        ConvertConfig(masked_lm_prob=1.5)


def test_yaml_that_is_missing_or_no_mapping_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_yaml(tmp_path / "nowhere.yaml")
    for text in ("a: [", "- a\n- b\n"):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(ConfigError, match=r"bad\.yaml"):
            load_yaml(tmp_path / "bad.yaml")
