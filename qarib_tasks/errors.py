"""The errors that a user can see: what happened, where, and what to do about it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import unquote

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


# Words in the names of parameters of an address whose values are secrets: signatures of Google, Amazon,
# Azure, CloudFront and Akamai, and what web services call their keys.
_SECRET_WORDS = (
    *("signature", "credential", "credentials", "password", "passwd", "passphrase", "secret", "token"),
    *("apikey", "accesskey", "accessid", "keyid", "auth", "authorization", "session", "sessionid", "cookie"),
    *("jwt", "hmac", "sig", "sign", "sas", "key", "pwd", "pw", "pass", "passcode", "otp", "bearer", "ticket"),
    *("sid", "phpsessid", "hdnts", "hdnea", "hdntl", "tempauth", "assertion", "authcode", "accesscode"),
    # Words in front of "key" without a mark between.
    *(f"{owner}key" for owner in ("auth", "private", "shared", "sharing", "signing", "license", "user")),
    *(f"{owner}key" for owner in ("account", "client", "server", "service", "master", "storage", "function")),
)
# Azure's functions call their key so; a shorter value is that of a language, or such.
_PERHAPS_SECRET, _LEAST_KEY = "code", 16  # characters
# At the end of a name whose words are not apart; a shorter word ends others, too, such as monkey.
_SECRET_ENDS = tuple(word for word in _SECRET_WORDS if len(word) > 4)
_SCHEME = r"(?P<before>\b[A-Za-z][A-Za-z0-9+.-]*:/{1,3})"
_USER = re.compile(_SCHEME + r"[^/?#\s'\"<>]*@")
# A password with a slash: what is between host and path is no port.
_ODD_USER = re.compile(_SCHEME + r"[^/:@\[\s'\"<>]*:(?!\d{0,5}(?:[/?#\s'\"<>.,;:)]|$))[^\s'\"<>]+")
_PARAMETER = re.compile(r"(?P<before>[?&;#])(?P<name>[^=&;?#\s'\"<>]+)=(?P<value>[^&;#\s'\"<>]+)")
# An address in the path of another one.
_ENCODED = re.compile(r"(?<![^\s'\"<>])[^\s'\"<>]*%[0-9A-Fa-f]{2}[^\s'\"<>]*")
_MOST_DECODED = 3  # times: some servers decode more than once
# Of the emulators of Google Cloud on this machine.
_EMULATOR_TOKEN = re.compile(r"\b[0-9a-f]{48}\b")
MASK = "***"


def is_secret_name(name: str) -> bool:
    """Whether a parameter of an address with this name is a password, a key, or a part of a signature."""
    words = _words(name)
    return any(word in _SECRET_WORDS for word in words) or "".join(words).endswith(_SECRET_ENDS)


def _words(name: str) -> list[str]:
    for _ in range(_MOST_DECODED if "%" in name else 0):
        name = unquote(name)
    if not name.isascii():  # Full-width letters.
        name = unicodedata.normalize("NFKC", name)
    return re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower())


def _masked_parameter(found: re.Match[str]) -> str:
    value = unquote(found["value"])
    # The value can be an address itself.
    is_secret = is_secret_name(found["name"]) or (value != found["value"] and masked(value) != value)
    is_secret |= len(value) >= _LEAST_KEY and _PERHAPS_SECRET in _words(found["name"])
    return f"{found['before']}{found['name']}={MASK}" if is_secret else found[0]


def masked(text: str) -> str:
    """Return a text with the passwords, keys and signatures of addresses in it replaced by `***`."""
    if ":/" in text:
        text = _USER.sub(rf"\g<before>{MASK}@", text)
        text = _ODD_USER.sub(rf"\g<before>{MASK}", text)
        text = _EMULATOR_TOKEN.sub(MASK, text)
    if "=" in text:
        text = _PARAMETER.sub(_masked_parameter, text)
    return _ENCODED.sub(_masked_encoded, text) if "%" in text else text


def _masked_encoded(found: re.Match[str]) -> str:
    decoded = unquote(found[0])
    shown = decoded if decoded == found[0] else masked(decoded)
    return found[0] if shown == decoded else shown


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


class QaribError(Exception):
    """Base class of every error that this package raises on purpose.

    Args:
        what: what happened, one sentence without a full stop.
        where: file, file:line, shard, or setting where it was found.
        do: what the user can do about it.
        parts: the errors that this one lists, see `Faults`.

    Attributes:
        in_file: the settings that it names are in a file, also if the command has options for such settings.
    """

    in_file = False

    def __init__(
        self, what: str, *, where: object = None, do: str | None = None, parts: Sequence[QaribError] = ()
    ) -> None:
        # An address can hold a password, and a name a line break; a message is one line.
        what, do = masked(what), do and masked(do)
        self.where = None if where is None else _CONTROL.sub(_escaped, masked(str(where)))
        super().__init__(what, self.where, do)
        self.what = what
        self.do = do
        self.parts = tuple(parts)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}. {self.do}" if self.do else text


class ConfigError(QaribError):
    """A setting is unknown, has the wrong type, is out of range, or conflicts with another."""


class InputError(QaribError):
    """An input is missing, empty, or unusable: a retry does not help."""


class NothingNewError(InputError):
    """Everything in the sources is already in the dataset: there is nothing to do."""


class CorruptError(QaribError):
    """A file does not match its manifest or its own checksums."""


class TrainingError(QaribError):
    """The training cannot continue, or its process ended before it finished."""


class LostWorkerError(TrainingError):
    """A rank was lost: the other ranks cannot continue without it."""


class BusyError(QaribError):
    """Other work has what this work needs for itself: it can start later."""


class StoppedError(QaribError):
    """The work stopped on request: its state is saved, and the next run resumes from it."""


class StorageError(QaribError):
    """A bucket does not exist, does not answer, or holds bytes that differ from those sent."""


class RefusedError(StorageError):
    """A server refuses, such as one that wants a login: a retry does not help."""


class ChangedError(StorageError):
    """An object was modified concurrently: results based on the version that was read are out of date."""


class TrackerError(QaribError):
    """An experiment tracker does not answer, or refuses a request."""


class Faults:
    """Collects errors, to report them together."""

    def __init__(self) -> None:
        self.found: list[QaribError] = []

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Collect errors raised in the block instead of raising them."""
        try:
            yield
        except QaribError as error:
            self.found += error.parts or (error,)

    def raise_all(self, worst: Callable[[QaribError], bool] = lambda error: True) -> None:
        """Raise the collected error, or one listing them all, if any.

        Args:
            worst: chooses the type of the error that lists them all: the type of the first error for which
                it is true, or of the first error.
        """
        if len(self.found) < 2:
            for error in self.found:
                raise error
            return
        first = next(filter(worst, self.found), self.found[0])
        lines = "".join(f"\n{number}. {error}" for number, error in enumerate(self.found, 1))
        text = f"found {len(self.found)} problems:{lines}"
        raise type(first)(text, parts=self.found) from first.__cause__
