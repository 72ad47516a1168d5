"""Secrets in every form are left out, and what is none stays.

Covers qarib_tasks/doctor/bug_report/known_secrets.py, qarib_tasks/doctor/bug_report/allowed.py.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qarib_tasks.doctor.bug_report.allowed import ALLOWED
from qarib_tasks.doctor.bug_report.known_secrets import known_secrets
from qarib_tasks.doctor.bug_report.secrets_out import without_secrets
from tests.support.users.planted_secrets import FORMS, MORE, OTHER, SECRET, SHORT, UNKNOWN


@pytest.mark.parametrize("secret", [SECRET, OTHER, SHORT])
@pytest.mark.parametrize("form", FORMS)
def test_a_known_secret_is_left_out_in_every_form(form: str, secret: str) -> None:
    encoded = FORMS[form](secret)
    cleaned = without_secrets(f"before {encoded} after", [secret])
    inner = encoded.strip("\"'")
    assert inner not in cleaned
    assert secret not in cleaned
    assert cleaned.startswith("before ")
    if form not in MORE:  # What is left is too short to say anything.
        parts = {inner[start : start + 12] for start in range(max(1, len(inner) - 12))}
        assert not any(part in cleaned for part in parts)


PEM = "-----BEGIN PRIVATE KEY-----\nfirst-line-of-key\nsecond-line\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize("text", UNKNOWN)
def test_an_unknown_secret_is_left_out_by_what_stands_around_it(text: str) -> None:
    cleaned = without_secrets(f"12:00:00 before\n12:00:01 {text}\n\n12:00:02 after", [])
    assert "hunter2-secret" not in cleaned
    assert text.partition("hunter2")[0][:4] in cleaned or "***" in cleaned
    assert "***" in cleaned
    assert cleaned.startswith("12:00:00 before\n")
    assert cleaned.endswith("12:00:02 after")
    # In a record, where a letter is before it: that of the escaped end of the line.
    assert "hunter2-secret" not in without_secrets(json.dumps({"message": f"before\n{text}\nafter"}), [])
    assert "hunter2-secret" not in without_secrets(repr(f"a: before\n{text}\n"), [])
    assert base64.b64encode(b"hunter2-secret").decode()[:-2] not in cleaned
    assert b"hunter2-secret".hex() not in cleaned


@pytest.mark.parametrize(
    "token",
    [
        "0123456789abcdef0123456789abcdef0123456789abcdef",  # of an emulator
        "AKIAIOSFODNN7EXAMPLE",
        "AIzaSyA1234567890abcdefghijklmnopqrstuv",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY12345",
        "Zm9vYmFy8sKJh2387sdfkjHJK34HJKsdf98374kjhsdf",
    ],
)
def test_a_token_is_known_by_its_characters(token: str) -> None:
    assert without_secrets(f"it was {token}, then", []) == "it was ***, then"


def test_what_is_no_secret_stays() -> None:
    text = """
12:00:01 step 1,200 of 2,000,000: loss 2.31, 4,096 examples/s, token_dropping 0.5, checksum of 3 files
/srv/qarib/work/models/qarib_modern-0123456789/bert_model/checkpoint-100000.safetensors
gs://my-bucket/models/demo-0123456789/tpu/manual__2026-11-22T17:40:12+00:00/qarib-manual-5f0c1d2e3a-1/worker-0.log
"sha256": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae", "crc32c": "AAAAAA=="
Quota limit 'TPUV5sPreemptibleLitepodServingPerProjectPerZoneForTPUAPI' has been exceeded. Limit: 0 in zone x
File "/usr/lib/python3.12/site-packages/jax/_src/interpreters/pxla.py", line 1234, in __call__
tokens_per_second: 40960.0
train:
  token_dropping: 0.25
  learning_rate: 0.0005
qarib-tpu@my-project.iam.gserviceaccount.com: TPUs can run as it
"""
    assert without_secrets(text, [OTHER]) == text


def test_the_secrets_of_an_environment(tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    key.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "my-project",
                "private_key_id": "the-id-of-the-key",
                "private_key": PEM,
                "client_email": "a@my-project.iam.gserviceaccount.com",
            }
        )
    )
    extra = {"keyfile_dict": json.dumps({"private_key": "key-in-a-connection"}), "project": "my-project"}
    found = known_secrets(
        {
            "AIRFLOW_CONN_A": json.dumps(
                {"conn_type": "http", "host": "example.org", "password": "first-password"}
            ),
            "AIRFLOW_CONN_B": json.dumps({"conn_type": "google_cloud_platform", "extra": extra}),
            "AIRFLOW_CONN_C": "https://me:second%2Dpassword@example.org/?__extra__=%7B%22x%22%3A+%22of-the-extra%22%7D",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://airflow:third-password@db/airflow",
            "AIRFLOW__CORE__FERNET_KEY": "the-fernet-key",
            "SLACK_WEBHOOK": "https://hooks.example.org/services/the-path-is-it",
            "CLOUD_TPU_EMULATOR_HOST": "token-of-emulator@127.0.0.1:9470",
            "SOURCE": "https://example.org/?sig=signature-of-it&page=harmless",
            "GOOGLE_APPLICATION_CREDENTIALS": str(key),
            "MY_PASSWORD": "fourth-password",
            "HOME": "/home/somebody",
            "XLA_FLAGS": "--xla_dump_to=/tmp/x",
        }
    )
    assert found >= {
        *("first-password", "key-in-a-connection", "second-password", "second%2Dpassword", "of-the-extra"),
        *("third-password", "the-fernet-key", "the-path-is-it", "token-of-emulator", "signature-of-it"),
        *("the-id-of-the-key", "first-line-of-key", "second-line", "fourth-password"),
    }
    assert not found & {
        "my-project",
        "example.org",
        "harmless",
        "/home/somebody",
        str(key),
        "google_cloud_platform",
    }


def test_no_allowed_name_is_one_of_a_secret() -> None:
    from qarib_tasks.doctor.bug_report.known_secrets import is_secret

    assert [name for name in ALLOWED if is_secret(name)] == []


@settings(max_examples=200, deadline=None)
@given(
    secret=st.text(
        st.characters(min_codepoint=33, max_codepoint=0x6FF, exclude_categories=["Cc", "Cs"]), min_size=4
    ),
    form=st.sampled_from(sorted(FORMS)),
    around=st.text(st.characters(max_codepoint=0x6FF, exclude_categories=["Cs"]), max_size=20),
)
def test_any_secret_in_any_form(secret: str, form: str, around: str) -> None:
    encoded = FORMS[form](secret)
    cleaned = without_secrets(f"{around} {encoded} {around}", [secret])
    assert secret not in cleaned
    if form not in MORE and encoded not in around:
        assert encoded not in cleaned
