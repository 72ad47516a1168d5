"""The form of qarib_clean_up."""

from __future__ import annotations

import math

import pytest
from airflow.sdk.exceptions import ParamValidationError
from qarib_airflow.forms.clean_up import clean_up_params, minimum_age

from qarib_tasks.errors import ConfigError


def test_the_form_can_be_triggered_as_it_is() -> None:
    params = {name: param.resolve() for name, param in clean_up_params().items()}
    assert params == {"older_than_days": "90", "dry_run": True, "prefix": None}
    assert minimum_age(params) == 90


@pytest.mark.parametrize(("typed", "days"), [("7", 7), (7, 7), ("1.5", 1.5), ("1,000", 1000), ("٣٠", 30)])
def test_the_age_is_read_as_it_is_typed(typed: object, days: float) -> None:
    assert minimum_age({"older_than_days": clean_up_params()["older_than_days"].resolve(typed)}) == days


@pytest.mark.parametrize("typed", ["0", "-5", "0.5", "7,5", " ", "", "1.000", "1e99", math.nan, math.inf])
def test_an_age_at_which_a_running_run_would_lose_files_is_refused(typed: object) -> None:
    with pytest.raises(ConfigError, match="older_than_days"):
        minimum_age({"older_than_days": typed})


@pytest.mark.parametrize(
    ("name", "value"), [("older_than_days", "soon"), ("prefix", "no_slash"), ("dry_run", "no")]
)
def test_the_form_itself_refuses(name: str, value: object) -> None:
    with pytest.raises(ParamValidationError):
        clean_up_params()[name].resolve(value)
