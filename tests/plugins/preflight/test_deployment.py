"""What the deployment sets."""

from __future__ import annotations

import pytest
from qarib_airflow.preflight.deployment import yaml_mapping

from qarib_tasks.errors import ConfigError


def test_a_deployment_that_is_no_mapping_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("cloud_tpu", "a: [", "[1]"):
        monkeypatch.setenv("QARIB_TPU", text)
        with pytest.raises(ConfigError, match="qarib_tpu"):
            yaml_mapping("qarib_tpu")
