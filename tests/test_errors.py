"""Errors say where and what to do, and several are raised as one."""

from __future__ import annotations

import pytest

from qarib_tasks.errors import ConfigError, Faults, InputError, QaribError, StorageError, masked


def test_the_text_has_the_place_first_and_the_advice_last() -> None:
    assert str(InputError("no such file", where="a.txt", do="Look")) == "a.txt: no such file. Look"
    assert str(InputError("no such file")) == "no such file"


def test_no_error_and_one_error_stay_as_they_are() -> None:
    faults = Faults()
    faults.raise_all()
    with faults.kept():
        raise InputError("first", where="a.txt")
    with pytest.raises(InputError) as raised:
        faults.raise_all()
    assert raised.value is faults.found[0]


def test_several_are_raised_as_one_of_the_worst_type() -> None:
    faults = Faults()
    for error in (StorageError("one"), ConfigError("two", where="b")):
        with faults.kept():
            raise error
    with pytest.raises(ConfigError) as raised:
        faults.raise_all(lambda error: isinstance(error, ConfigError))
    assert str(raised.value).splitlines()[1:] == ["1. one", "2. b: two"]
    # Kept again, they are listed one by one.
    outer = Faults()
    with outer.kept():
        raise raised.value
    assert [str(error) for error in outer.found] == ["one", "b: two"]


def test_what_is_no_error_of_ours_is_not_kept() -> None:
    def divide(faults: Faults) -> None:
        with faults.kept():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        divide(Faults())
    assert not issubclass(ZeroDivisionError, QaribError)


SIGNED = (
    *(
        "https://user:PASS@host/a.txt",
        "https://PASS@host/a.txt",
        "http://u:p@PASS@host",
        "gs://u:PASS@bucket/a",
    ),
    *(
        "HTTPS://u:PASS@[::1]:80/a",
        "https://u:PA/SS@host/a",
        "https://u:PASS@host:8080",
        "https:/u:PASS@host/",
    ),
    "https://host/a?X-Goog-Algorithm=GOOG4&X-Goog-Credential=PASS&X-Goog-Date=2026&X-Goog-Signature=PASS",
    "https://host/a?X-Amz-Security-Token=PASS&X-Amz-Signature=PASS",
    "https://host/a?AWSAccessKeyId=PASS&Signature=PASS&Expires=1",
    "https://host/a?GoogleAccessId=PASS&Expires=1&Signature=PASS",
    "https://host/a?sv=2026&se=2026&sr=b&sig=PASS",
    "https://host/a?Policy=x&Signature=PASS&Key-Pair-Id=PASS",
    *("https://host/a?token=PASS", "https://host/a?access_token=PASS", "https://host/a?b=1&accessToken=PASS"),
    *(
        "https://host/a?api_key=PASS",
        "https://host/a?apikey=PASS",
        "https://host/a?key=PASS",
        "https://h/?pwd=PASS",
    ),
    *(
        "https://host/a#token=PASS",
        "https://host/a?X%2DGoog%2DSignature=PASS",
        "https://host/a?b;password=PASS",
    ),
    *("https://host/a?pass=PASS", "https://host/a?pass[]=PASS", "https://host/a?authkey=PASS"),
    *("https://host/a?sign=PASS&t=1", "https://host/a?ticket=PASS", "https://host/a?sid=PASS"),
    *(
        "https://host/a?hdnts=exp=1~hmac=PASS",
        "https://host/a?tempauth=PASS",
        "https://host/a?secretKey=PASS",
    ),
    # An address in an address.
    "https://host/get?url=https%3A%2F%2Fhost%2Fa%3Ftoken%3DPASS",
    "https://host/get?url=https%3A%2F%2Fu%3APASS%40host%2Fa",
    *("https://host/https%3A%2F%2Fu%3APASS%40host%2Fa", "https:%2F%2Fu:PASS@host/a"),
    *("https://host/a?sig%3DPASS", "https://host/a?%2573ig=PASS", "https://host/a?ｔｏｋｅｎ=PASS"),
    # Of Azure's functions.
    *("https://host/a?code=PASS-0123456789-abcdefg==", "https://host/a?assertion=PASS"),
    *("https://host/a?jwt=PASS", "https://host/a?client_secret=PASS", "https://host/a?Authorization=PASS"),
)


@pytest.mark.parametrize("address", SIGNED)
@pytest.mark.parametrize("text", ["{}", "cannot read {}: 403", "found ({}), {}", "'{}'", '{{"path": "{}"}}'])
def test_no_secret_of_an_address_is_shown(address: str, text: str) -> None:
    written = text.replace("{}", address)
    for error in (QaribError(written), QaribError("x", where=written), QaribError("x", do=written)):
        shown = f"{error} {error!r} {error.args} {error.what} {error.where} {error.do}"
        assert "PA" not in shown
        assert "SS" not in shown
        assert "***" in shown
    assert masked(masked(written)) == masked(written)


@pytest.mark.parametrize(
    "text",
    [
        *("https://host/a?download=true&id=7", "gs://bucket/a@b/c.txt", "/home/me@work/a=b", "me@host: no"),
        *("https://host:8080/a", "gs://bucket: no such bucket", "http://[::1]:9/a", "gs://bucket/a:b/c@d"),
        *(
            "https://host/a?keyword=x&monkey=y&author=z&tokenizer=b&passage=c",
            "https://host/?u=a%20b%3Dc",
            "train.token = 3",
            "data/?key*.txt",
            "https://host/a?code=ar&hash=e3b0c44298fc1c149afb",
            "gs://bucket/100%25%20of/a%3Fb.txt",
            "",
        ),
        "see http://localhost:8080, http://127.0.0.1:4443.",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855: gs://bucket/",
    ],
)
def test_other_text_is_shown_as_it_is(text: str) -> None:
    assert masked(text) == text


def test_the_token_of_an_emulator_is_not_shown() -> None:
    token = "0123456789abcdef" * 3
    error = StorageError(f"404 GET http://127.0.0.1:4443/{token}/storage/v1/b/x: not found")
    assert token not in str(error)
    assert "http://127.0.0.1:4443/***/storage/v1/b/x" in str(error)
