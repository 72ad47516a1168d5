"""The form of qarib_retrain: empty is the deployment's value, and the limits are the config's."""

from __future__ import annotations

import pytest
from airflow.sdk.exceptions import ParamValidationError
from qarib_airflow.forms.retrain import retrain_params

from qarib_tasks.config.loading import fields_of
from qarib_tasks.registry.retraining import RetrainConfig


def test_every_setting_is_in_the_form_and_may_stay_empty() -> None:
    params = retrain_params()
    assert params.keys() == fields_of(RetrainConfig).keys()
    assert [param.resolve() for param in params.values()] == [None] * len(params)
    assert all(param.schema["title"] and param.description for param in params.values())


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("retrain_steps", 30, 0),
        ("preset", "demo", 3),
        ("sources", [{"name": "a", "path": "b"}], [{"name": "a"}]),
    ],
)
def test_the_limits_hold(name: str, good: object, bad: object) -> None:
    param = retrain_params()[name]
    assert param.resolve(good) == good
    with pytest.raises(ParamValidationError):
        param.resolve(bad)
