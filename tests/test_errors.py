"""Errors say where and what to do, and several are raised as one."""

from __future__ import annotations

import pytest

from qarib_tasks.errors import ConfigError, Faults, InputError, QaribError, StorageError


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
