"""The emulators' token: who has it, and where it must not be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qarib_tasks.emulators.access import has_token, new_token, read_token, split_token, write_token
from qarib_tasks.errors import ConfigError, InputError

TOKEN = "359693ef08adc2b27fbcc12e2449c70ca0c58aed5a1d6d99"


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "token"
    before = os.umask(0)
    try:
        write_token(path, TOKEN)
        assert path.stat().st_mode & 0o777 == 0o600
        write_token(path, new_token())
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_token(path) != TOKEN


def test_a_file_of_the_user_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("mine")
    with pytest.raises(InputError, match="not made by qarib"):
        write_token(path, TOKEN)
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    "text", [None, "", "short", TOKEN.upper().replace("0", "Z"), f"{TOKEN} {TOKEN}", "ن"]
)
def test_a_file_without_a_token(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "token"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=str(path)) as caught:
        read_token(path)
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "holds"),
    [
        (f"Bearer {TOKEN}", True),
        (f"bearer {TOKEN}", True),
        (TOKEN, False),
        (f"Basic {TOKEN}", False),
        ("Bearer ", False),
        ("", False),
        (f"Bearer {TOKEN}0", False),
        (f"Bearer {TOKEN[:-1]}", False),
        ("Bearer ن", False),
    ],
)
def test_authorization(header: str, holds: bool) -> None:
    assert has_token(header, TOKEN) == holds


@pytest.mark.parametrize(
    ("path", "rest"),
    [
        (f"/{TOKEN}/storage/v1/b?x=/y", "/storage/v1/b?x=/y"),
        (f"/{TOKEN}/", "/"),
        (f"/{TOKEN}", None),
        (f"/x/{TOKEN}/storage", None),
        (f"/{TOKEN}x/storage", None),
        (f"//{TOKEN}/storage", None),
        ("/storage/v1/b", None),
        ("", None),
    ],
)
def test_the_token_in_a_path(path: str, rest: str | None) -> None:
    assert split_token(path, TOKEN) == rest
