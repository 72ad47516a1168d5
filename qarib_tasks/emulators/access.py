"""Who may use an emulator: the processes that know its token.

Every user of a machine can connect to its loopback ports. An emulator therefore answers only a request that
has its token. The token is made at each start, or read from a file, and is in a file that only its owner can
read. It is in no command line, because every user can read those; clients get it from their environment.
"""

from __future__ import annotations

import hmac
import re
import secrets
from pathlib import Path

from qarib_tasks.errors import ConfigError
from qarib_tasks.storage.files import write_private
from qarib_tasks.storage.recognition import require_ours

_TOKEN = re.compile(r"[0-9a-f]{48}")


def new_token() -> str:
    return secrets.token_hex(24)


def write_token(path: Path, token: str) -> None:
    """Write a token to a file that only its owner can read, in place of an earlier one.

    Raises:
        InputError: the file exists, and is not an emulator's token.
    """
    require_ours(path, lambda head: _TOKEN.fullmatch(head.decode("latin-1").rstrip("\n")) is not None)
    write_private(path, f"{token}\n")


def read_token(path: Path) -> str:
    """Read the token of a file that another program wrote.

    Raises:
        ConfigError: there is no such file, or it has no token.
    """
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise ConfigError(f"cannot read the token: {reason}", where=path) from None
    if not _TOKEN.fullmatch(token):
        raise ConfigError(
            "the file has no token",
            where=path,
            do="Write 48 hexadecimal digits to it: openssl rand -hex 24",
        )
    return token


def is_token(given: str, token: str) -> bool:
    """Compare a token in a time that says nothing of it."""
    return hmac.compare_digest(given.encode(), token.encode())


def has_token(authorization: str, token: str) -> bool:
    """Whether the value of an Authorization header is `Bearer` and the token."""
    scheme, _, given = authorization.partition(" ")
    return scheme.lower() == "bearer" and is_token(given.strip(), token)


def split_token(path: str, token: str) -> str | None:
    """`/TOKEN/some/path` → `/some/path`; None of a path that does not begin with the token."""
    given, slash, rest = path.removeprefix("/").partition("/")
    return f"/{rest}" if slash and is_token(given, token) else None
