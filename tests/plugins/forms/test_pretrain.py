"""The trigger form: every setting once, limits as in the config, and back to the config."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk.exceptions import ParamValidationError
from qarib_airflow.forms.pretrain import SECTIONS, build_params, field_names, read_params, settings
from qarib_airflow.preflight.checks import settings_table

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.config.evaluation import TaskConfig
from qarib_tasks.config.loading import fields_of, from_dict, to_dict
from qarib_tasks.config.presets import PRESETS, resolve
from qarib_tasks.config.run import RunConfig
from qarib_tasks.emulators.cloud_tpu.catalog import SLICES, ZONES
from qarib_tasks.errors import ConfigError

DEFAULTS = {"workspace": "/srv", "upload": {"bucket": "a-bucket"}}
SOURCES = [{"name": "tweets", "path": "/data/*.txt.gz", "document": "line"}]


def filled_in(**overrides: Any) -> dict[str, Any]:
    """What Airflow gives the run: the form's values, validated."""
    params = build_params()
    for name, value in overrides.items():
        params[name].resolve(value)
    return json.loads(json.dumps({name: param.value for name, param in params.items()}))


def test_every_setting_has_a_field() -> None:
    pairs = {(section, name) for section, fields in settings().items() for name in fields}
    assert set(field_names().values()) == pairs
    assert len(field_names()) == len(pairs)
    others = {key: setting for key, setting in field_names().items() if key != setting[1]}
    assert others == {
        "train_masked_lm_prob": ("train", "masked_lm_prob"),
        "tpu_approval_hours": ("tpu", "approval_hours"),
    }
    config = read_params(filled_in(masked_lm_prob=0.2, train_masked_lm_prob=0.3, masking="dynamic"), DEFAULTS)
    assert (config.convert.masked_lm_prob, config.train.masked_lm_prob) == (0.2, 0.3)
    assert set(SECTIONS) == set(fields_of(RunConfig)) - {"workspace", "preset", "extends", "partition"}
    assert set(build_params()) == set(field_names()) | {"preset", "workspace", "dataset", "first_step"}


def test_the_demo_is_the_preset_where_no_bucket_is_set() -> None:
    assert read_params(filled_in(), DEFAULTS).preset == "qarib"
    assert read_params(filled_in(), {"workspace": "/srv", "upload": {"bucket": None}}).preset == "demo"
    assert read_params(filled_in(), {"workspace": "/srv"}).preset == "demo"
    assert read_params(filled_in(bucket="mine-1"), {"workspace": "/srv"}).preset == "qarib"
    assert read_params({"train_steps": 70}, DEFAULTS).preset == "qarib"


def test_what_is_typed_arrives_as_meant() -> None:
    typed = filled_in(
        train_steps="2,000,000", learning_rate="8e-6", num_warmup_steps="1e5", sources="/data/t.txt\n/data/b/"
    )
    config = read_params(typed, DEFAULTS)
    train = config.train
    assert (train.train_steps, train.learning_rate, train.num_warmup_steps) == (2_000_000, 8e-6, 100_000)
    assert [(s.name, s.path) for s in config.collect.sources] == [("t", "/data/t.txt"), ("b", "/data/b/")]
    with pytest.raises(
        ConfigError, match=r"found 2 problems:\n1. learning_rate: '8,5'.*\n2. train_steps: '2.000'"
    ):
        read_params(filled_in(train_steps="2.000", learning_rate="8,5"), DEFAULTS)
    with pytest.raises(ConfigError, match="train_steps"):
        read_params(filled_in(train_steps="-5"), DEFAULTS)


def test_a_warm_up_in_the_form_replaces_that_of_the_deployment() -> None:
    defaults = DEFAULTS | {"train": {"num_warmup_steps": 1000}}
    train = read_params(filled_in(warmup_share=0.06), defaults).train
    assert (train.warmup_share, train.num_warmup_steps) == (0.06, 10)


def test_the_settings_in_the_log_mark_what_is_from_the_form() -> None:
    params = filled_in(train_masked_lm_prob=0.3, masking="dynamic")
    lines = settings_table(read_params(params, DEFAULTS), params).splitlines()
    marked = [line.strip() for line in lines if line.endswith("<- from the form")]
    assert marked == ["masking = dynamic   <- from the form", "masked_lm_prob = 0.3   <- from the form"]
    params = filled_in(preset="demo", zones=["us-west4-a"])
    defaults = {**DEFAULTS, "tpu": {"machine": "cloud_tpu", "zones": ["us-central1-a"], "poll_seconds": None}}
    lines = settings_table(read_params(params, defaults), params, defaults).splitlines()
    marks = [line.strip().split("   <- ") for line in lines if "<-" in line]
    assert marks == [
        ["bucket = a-bucket", "from the deployment: qarib_bucket"],
        ["machine = cloud_tpu", "from the deployment: qarib_tpu"],
        ["zones = ['us-west4-a']", "from the form"],
    ]


def test_the_form_says_where_an_empty_machine_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    def help_of(name: str) -> str:
        return str(build_params()[name].description)

    deployed = "Empty: the Airflow Variable qarib_tpu, or QARIB_TPU in the environment"
    assert f"{deployed}; if neither sets it, the preset's value. QARiB: cloud_tpu. Demo: local." in help_of(
        "machine"
    )
    monkeypatch.setenv("QARIB_TPU", "machine: cloud_tpu")
    assert f"{deployed} (here cloud_tpu); if neither" in help_of("machine")
    assert f"{deployed}; if neither" in help_of("zones")
    assert deployed not in help_of("train_steps")
    assert "is an emulator" not in help_of("machine")
    monkeypatch.setenv("CLOUD_TPU_EMULATOR_HOST", "token@localhost:9470")
    assert "Cloud TPU is an emulator, a process on this machine" in help_of("machine")
    for text in ("machine: [", "cloud_tpu"):
        monkeypatch.setenv("QARIB_TPU", text)
        assert f"{deployed}; if neither" in help_of("machine")


def test_an_empty_form_is_the_preset() -> None:
    for preset in PRESETS:
        config = read_params(filled_in(preset=preset), DEFAULTS)
        assert config == resolve({**DEFAULTS, "preset": preset})


def test_every_value_comes_back() -> None:
    """Each setting of the demo typed into the form gives the demo's settings, whatever the preset."""
    demo = to_dict(resolve({"preset": "demo", "workspace": "/srv", "upload": {"bucket": "other-bucket"}}))
    typed = {key: demo[section][name] for key, (section, name) in field_names().items()}
    typed = {name: str(value).lower() if isinstance(value, bool) else value for name, value in typed.items()}
    config = read_params(filled_in(preset="qarib", workspace="/srv", **typed), DEFAULTS)
    assert to_dict(config) == {**demo, "preset": "qarib"}


@pytest.mark.parametrize(("typed", "value"), [("true", True), ("false", False)])
def test_a_switch_can_be_left_empty_on_and_off(typed: str, value: bool) -> None:
    assert read_params(filled_in(do_lower_case=typed), DEFAULTS).convert.do_lower_case is value
    assert build_params()["do_lower_case"].value is None


def test_sources_are_given_as_a_list() -> None:
    config = read_params(filled_in(sources=SOURCES), DEFAULTS)
    assert config.collect.sources == tuple(from_dict(SourceConfig, source) for source in SOURCES)


def test_labelled_tasks_are_given_as_a_list() -> None:
    tasks = [{"name": "sentiment", "train": "/data/train.csv", "label": "sentiment"}]
    config = read_params(filled_in(tasks=tasks), DEFAULTS)
    assert config.evaluate.tasks == tuple(from_dict(TaskConfig, task) for task in tasks)
    help_text = build_params()["tasks"].schema["description_md"]
    assert all(f"**{name}**" in help_text for name in fields_of(TaskConfig))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("preset", "arabert"),
        ("vocab_size", 10),
        ("vocab_size", "many"),
        ("masked_lm_prob", 1),
        ("bucket", "gs://with-scheme"),
        ("pretraining_data", "no_slash"),
        ("sources", [{"path": "/without/a/name"}]),
        ("tasks", [{"name": "without-texts"}]),
        ("do_lower_case", "maybe"),
    ],
)
def test_the_form_itself_refuses(name: str, value: Any) -> None:
    with pytest.raises(ParamValidationError):
        build_params()[name].resolve(value)


def test_what_no_form_would_send_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="vocab_sise"):
        read_params(filled_in() | {"vocab_sise": 5}, DEFAULTS)
    with pytest.raises(ConfigError, match=r"max_seq_length 600.*\n?.*512"):
        read_params(filled_in(max_seq_length=600), DEFAULTS)


def test_every_field_says_what_it_is() -> None:
    for name, param in build_params().items():
        assert param.schema["title"], name
        assert param.description or param.schema.get("description_md"), name
        assert name == "preset" or param.schema["section"], name
        assert param.value is None, name
        assert "null" in param.schema["type"], name
    params = build_params()
    assert "64,000" in params["vocab_size"].description
    assert "QARiB: 64,000. Demo: 3,000. Demo modern: 3,000." in params["vocab_size"].description
    assert (
        "QARiB: 64. QARiB modern: 2,048. Demo: 32. Demo modern: 16." in params["train_batch_size"].description
    )
    assert all(f"**{preset}**" in params["preset"].schema["description_md"] for preset in PRESETS)


def test_tpus_and_zones_are_proposed() -> None:
    params = build_params()
    assert set(params["accelerator_type"].schema["examples"]) == set(SLICES)
    assert set(params["zones"].schema["examples"]) == set(ZONES)
    typed = filled_in(accelerator_type="v7x-8", zones=["us-south1-a", "us-west4-a"], preset="demo")
    config = read_params(typed, DEFAULTS)
    assert (config.tpu.accelerator_type, config.tpu.zones) == ("v7x-8", ("us-south1-a", "us-west4-a"))


def test_the_form_comes_before_the_deployment_before_the_preset() -> None:
    params = {name: param.value for name, param in build_params().items()}
    for name, value in {"preset": "demo", "zones": ["us-east5-b"], "max_cost": 12.5}.items():
        build_params()[name].resolve(value)
        params[name] = value
    deployment = {"workspace": "w", "tpu": {"machine": "cloud_tpu", "zones": ["us-west4-a"]}}
    tpu = read_params(params, deployment).tpu
    assert (tpu.machine, tpu.zones, tpu.max_cost) == ("cloud_tpu", ("us-east5-b",), 12.5)


def test_a_check_on_one_chip_stays_one_whatever_the_deployment_sets() -> None:
    tpu = {"accelerator_type": "v5litepod-8", "max_cost": 200, "running_hours": 100, "approval_above": 1}
    deployment = {"workspace": "w", "tpu": {**tpu, "zones": ["us-west4-a"]}}
    found = read_params(filled_in(preset="tpu_smoke"), deployment).tpu
    assert (found.accelerator_type, found.max_cost, found.running_hours) == ("v5litepod-1", 2.0, 0.5)
    assert (found.zones, found.approval_above) == (("us-west4-a",), 1)
    # A person who fills in the form decides, and other presets have the deployment's.
    assert read_params(filled_in(preset="tpu_smoke", max_cost=3), deployment).tpu.max_cost == 3
    assert read_params(filled_in(preset="demo"), deployment).tpu.accelerator_type == "v5litepod-8"


def test_the_form_tells_the_prices() -> None:
    description = str(build_params()["accelerator_type"].description)
    assert "spot / on demand: v2 " in description
    assert "v5e 0.24 / 1.20" in description
