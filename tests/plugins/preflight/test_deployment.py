"""What the deployment sets."""

from __future__ import annotations

import pytest
from qarib_airflow.preflight.deployment import approvers, yaml_mapping

from qarib_tasks.errors import ConfigError


def test_a_deployment_that_is_no_mapping_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("cloud_tpu", "a: [", "[1]"):
        monkeypatch.setenv("QARIB_TPU", text)
        with pytest.raises(ConfigError, match="qarib_tpu"):
            yaml_mapping("qarib_tpu")


def test_approvers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QARIB_APPROVERS", raising=False)
    assert approvers() == []
    monkeypatch.setenv("QARIB_APPROVERS", " jane , 7,,jane")
    assert approvers() == ["jane", "7"]
    # Not everybody, as without the setting.
    for text in (" ", ", ,"):
        monkeypatch.setenv("QARIB_APPROVERS", text)
        with pytest.raises(ConfigError, match="qarib_approvers: names no user"):
            approvers()
