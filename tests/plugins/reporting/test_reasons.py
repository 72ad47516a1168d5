"""Why a task failed, as it is kept for the page."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from qarib_airflow.reporting import reasons

from qarib_tasks.errors import InputError


def test_the_three_parts_of_an_error_also_when_airflow_may_not_retry_it() -> None:
    error = InputError("cannot be read", where="/data/x", do="Check the path")
    expected = {"kind": "failed", "what": "cannot be read", "where": "/data/x", "do": "Check the path"}
    assert reasons.described(error) == expected
    told = AirflowFailException("the task failed")
    told.__cause__ = error
    assert reasons.described(told) == expected


def test_secrets_and_lengths() -> None:
    found = reasons.described(ValueError("https://me:PASSWORD@host/ " + 5_000 * "x"))
    assert str(found["what"]).startswith("https://***@host/ x")
    assert len(str(found["what"])) == reasons.MOST_CHARACTERS
    assert reasons.described(KeyError())["what"] == "KeyError"
    assert reasons.described("Nothing new") == {
        "kind": "skipped", "what": "Nothing new", "where": None, "do": None,
    }  # fmt: skip


def test_a_reason_that_cannot_be_kept_fails_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def xcom_push(key: str, value: Any) -> None:
        raise OSError("the API server does not answer")

    reasons.keep(SimpleNamespace(xcom_push=xcom_push), "why")
    assert "Could not keep the reason for the page: the API server does not answer" in caplog.text


def test_nothing_is_kept_where_nothing_is_known() -> None:
    """Airflow's DAG processor, which reports a task whose process is gone, answers no XCom: it would hang."""
    pushed: list[str] = []
    reasons.keep(SimpleNamespace(xcom_push=lambda key, value: pushed.append(key)), None)
    assert pushed == []
