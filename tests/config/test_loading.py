"""What no setting can be: true for a number, an address for a folder; and how errors name types."""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

import qarib_tasks.config
from qarib_tasks.config.loading import from_dict, load_yaml
from qarib_tasks.config.presets import resolve
from qarib_tasks.config.run import RunConfig
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.emulators.cloud_tpu.faults import Faults
from qarib_tasks.errors import ConfigError, InputError

MORE = ("qarib_tasks.emulators.cloud_tpu.faults", "qarib_tasks.registry.retraining")


def types_in(kind: Any) -> Iterator[Any]:
    yield kind
    for part in get_args(kind):
        yield from types_in(part)


def numeric_settings() -> Iterator[tuple[type, str, bool]]:
    """Yield each class, setting, and whether it is a list of numbers."""
    found_modules = pkgutil.walk_packages(qarib_tasks.config.__path__, "qarib_tasks.config.")
    names = [module.name for module in found_modules]
    for name in (*names, *MORE):
        for cls in vars(importlib.import_module(name)).values():
            if isinstance(cls, type) and cls.__module__ == name and hasattr(cls, "__pydantic_fields__"):
                for field, kind in get_type_hints(cls).items():
                    found = set(map(repr, types_in(kind)))
                    if found & {repr(int), repr(float)}:
                        yield cls, field, get_origin(kind) is tuple


def test_no_number_can_be_true_or_false() -> None:
    checked = 0
    for cls, name, listed in numeric_settings():
        for value in (True, False):
            with pytest.raises(ConfigError) as error:
                from_dict(cls, {name: [value] if listed else value})
            given = f"[{value}]" if listed else str(value)
            expected = f"{name}: must be a number (got {given.lower()})"
            assert expected in str(error.value), cls
        checked += 1
    assert checked > 80
    config = from_dict(TrainConfig, {"learning_rate": "1e-4", "train_steps": "70", "recovery_minutes": 3})
    assert (config.learning_rate, config.train_steps, config.recovery_minutes) == (1e-4, 70, 3.0)


@pytest.mark.parametrize(
    "address", ["gs://x/y", "s3://x", "http://h/x", "hdfs://h/x", "file:///x", "file:/x", "GS://x", "gs:/x"]
)
def test_a_folder_is_no_address(address: str) -> None:
    values = {"preset": "demo", "workspace": address}
    with pytest.raises(ConfigError, match=r"workspace: must be a folder on this machine; .*upload\.bucket"):
        resolve(values)
    job = {"training_data": "gs://b/d", "heldout_data": "h", "vocab_file": "gs://b/v"}
    with pytest.raises(
        ConfigError, match=r"output: must be a folder .*publish_to .*; cache: must be a folder"
    ):
        from_dict(TrainingJob, job | {"output": address, "cache": address})
    from_dict(TrainingJob, job | {"output": "o", "cache": "./gs:/x"})


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("cleaning: urls", "collect.cleaning: must be a list (got 'urls')"),
        ("2024-01-01: 3", "collect.2024-01-01: unknown setting."),
        ("5: 3", "collect.5: unknown setting."),
        ("'a[0]': 3", "collect.a[0]: unknown setting."),
        ("sources: [a]", "collect.sources.0: must hold settings as `name: value` (got 'a')"),
        (
            "sources: [{name: a, path: a, field: true}]",
            "collect.sources.0.field: Input should be a valid string",
        ),
        ("sources: [{name: a, path: a, limit: yes}]", "collect.sources.0.limit: must be a number (got true)"),
    ],
)
def test_errors_speak_of_yaml(section: str, message: str) -> None:
    import yaml

    with pytest.raises(ConfigError) as error:
        from_dict(RunConfig, {"workspace": "w", "collect": yaml.safe_load(section)}, "c.yaml")
    assert message in str(error.value)
    assert "tuple" not in str(error.value)
    assert "datetime" not in str(error.value)


def test_a_huge_file_is_no_file_of_settings(tmp_path: Path) -> None:
    with (tmp_path / "c.yaml").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ConfigError, match=r"c\.yaml: larger than 64 MiB"):
        load_yaml(tmp_path / "c.yaml")


def test_a_pipe_is_no_file_of_settings(tmp_path: Path) -> None:
    """The command waited for a writer, without end."""
    os.mkfifo(tmp_path / "c.yaml")
    with pytest.raises(InputError, match=r"c\.yaml: is not a regular file"):
        load_yaml(tmp_path / "c.yaml")
    with pytest.raises(ConfigError, match=r"c\.yaml: is not a regular file"):
        Faults(tmp_path / "c.yaml")
    with pytest.raises(InputError, match="is not a regular file"):
        load_yaml(Path("/dev/zero"))
    reader, writer = os.pipe()
    os.write(writer, b"a: 1\n")
    os.close(writer)
    try:
        assert load_yaml(Path(f"/dev/fd/{reader}")) == {"a": 1}  # as with <(…) in a shell
    finally:
        os.close(reader)


def test_no_text_has_a_nul_character() -> None:
    """No path can have one, and what it would mean to the system is not what was written."""
    source = {"name": "s", "path": "a\0b"}
    with pytest.raises(ConfigError, match="NUL character"):
        from_dict(RunConfig, {"workspace": "w", "collect": {"sources": [source]}})


def test_an_integer_has_64_bits_and_an_error_is_short() -> None:
    assert from_dict(TrainConfig, {"train_steps": 2**63 - 1}).train_steps == 2**63 - 1
    for value in (2**63, 10**100, 10**5_000, "1" + "0" * 400, "-" + "9" * 20):
        with pytest.raises(ConfigError, match="train_steps: is too large") as error:
            from_dict(TrainConfig, {"train_steps": value})
        assert len(str(error.value)) < 200
    with pytest.raises(ConfigError) as error:
        from_dict(TrainConfig, {"schedule": "x" * 10_000})
    assert len(str(error.value)) < 300
