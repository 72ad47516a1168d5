"""The limits of a deployment."""

from __future__ import annotations

import pytest

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.config.deployment.limits import Limits, deployment_limits
from qarib_tasks.config.evaluation import TaskConfig
from qarib_tasks.corpus.allowed import LIMITED
from qarib_tasks.errors import ConfigError


def test_the_environment_sets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert deployment_limits() == Limits()
    monkeypatch.setenv("QARIB_LIMITS", "{most_bytes: 5, page_seconds: 2.5}")
    assert deployment_limits() == Limits(most_bytes=5, page_seconds=2.5)
    monkeypatch.setenv("QARIB_LIMITS", '{"most_bytes": 6}')
    assert deployment_limits() == Limits(most_bytes=6)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("most_bytes: 0", "most_bytes"),
        ("most_byte: 1", "most_byte: unknown"),
        ("page_threads: true", "page_threads"),
        ("12", "mapping"),
        ("a: [", "YAML"),
    ],
)
def test_what_is_invalid_is_named(monkeypatch: pytest.MonkeyPatch, text: str, named: str) -> None:
    monkeypatch.setenv("QARIB_LIMITS", text)
    with pytest.raises(ConfigError, match=named) as raised:
        deployment_limits()
    assert raised.value.where == "QARIB_LIMITS"


def test_every_default_of_a_source_and_a_task_is_below_its_ceiling() -> None:
    source, task = SourceConfig(name="s", path="p"), TaskConfig(name="t", train="t.tsv")
    for name in LIMITED:
        assert getattr(source, name) < getattr(Limits(), name)
        assert getattr(task, name, 0) < getattr(Limits(), name)
