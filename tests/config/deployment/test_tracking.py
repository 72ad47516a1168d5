"""The deployment's trackers, in an environment variable."""

from __future__ import annotations

import pytest

from qarib_tasks.config.deployment.tracking import Tracking, deployment_tracking
from qarib_tasks.errors import ConfigError


def test_the_trackers_are_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QARIB_TRACKING", raising=False)
    assert deployment_tracking() == Tracking()
    assert not Tracking().is_on
    monkeypatch.setenv("QARIB_TRACKING", "{mlflow: 'https://mlflow.example.org/a/', experiment: arabic}")
    assert deployment_tracking() == Tracking(mlflow="https://mlflow.example.org/a", experiment="arabic")
    assert deployment_tracking().is_on
    assert Tracking(wandb="runs").is_on


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("mlflow: file:///srv/mlruns", "an http:// or https:// address"),
        ("mlflow: http://", "an http:// or https:// address"),
        ("mlflow: 'https://someone:secret@example.org'", "no user, password, or query"),
        ("mlflow: 'https://example.org?token=secret'", "no user, password, or query"),
        ("token: secret", "token"),
        ("experiment: ''", "experiment"),
    ],
)
def test_what_is_wrong_is_said_and_no_secret(monkeypatch: pytest.MonkeyPatch, text: str, what: str) -> None:
    monkeypatch.setenv("QARIB_TRACKING", text)
    with pytest.raises(ConfigError, match=what) as raised:
        deployment_tracking()
    assert "QARIB_TRACKING" in str(raised.value)
    assert "secret" not in str(raised.value).replace("token: secret", "")
