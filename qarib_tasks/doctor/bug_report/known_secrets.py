"""The secrets of this process: in its environment, its connections, and the key that it names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from qarib_tasks.doctor.bug_report.allowed import ALLOWED
from qarib_tasks.errors import QaribError, is_secret_name
from qarib_tasks.storage.regular_files import read_settings_text

LEAST = 4  # characters of a secret: a shorter one is in every text
KEY_FILE = "GOOGLE_APPLICATION_CREDENTIALS"
# Of a connection (AIRFLOW_CONN_…): no secrets. Everything else of one is, whatever its name.
_PLAIN = {"conn_type", "host", "schema", "port", "project", "is_anonymous", "num_retries", "scope", "scopes"}
# Of a key file: no secrets.
_PLAIN_OF_KEY = {"type", "project_id", "auth_uri", "token_uri", "universe_domain", "quota_project_id"}
_PLAIN_OF_KEY |= {"auth_provider_x509_cert_url", "client_x509_cert_url", "client_email", "account"}
# Settings and figures of ours.
_OURS = ("token_dropping", "token_losses")
_MORE = re.compile(r"pass|private|fernet|webhook|dsn|conn(?:ection)?s?(?:$|_)|credential", re.IGNORECASE)


def is_secret(name: str) -> bool:
    """Whether the value of this name is a secret."""
    if name in _OURS:
        return False
    return is_secret_name(name) or _MORE.search(name) is not None


def known_secrets(environment: Mapping[str, str]) -> set[str]:
    """The secrets of an environment, each also without its quoting, and its lines one by one."""
    found: set[str] = set()
    for name, value in environment.items():
        if name in ALLOWED or not value:
            continue
        if (tree := _tree(value)) is not None:
            found.update(_leaves(tree, is_secret(name), _PLAIN))
        elif "://" in value:
            found.update(_of_address(value, is_secret(name)))
        elif is_secret(name) and name != KEY_FILE:
            found.add(value)
        # Emulators: token@host:port.
        if "@" in value and "://" not in value and tree is None:
            found.add(value.rpartition("@")[0])
    found.update(_of_key_file(environment.get(KEY_FILE, "")))
    lines = {line.strip() for secret in found for line in secret.replace("\\n", "\n").splitlines()}
    return {one for one in found | lines if len(one) >= LEAST and not one.startswith("-----")}


def _tree(value: str) -> Any | None:
    try:
        tree = json.loads(value)
    except ValueError:
        return None
    return tree if isinstance(tree, dict | list) else None


def _leaves(tree: Any, secret: bool, plain: set[str], name: str = "") -> Iterator[str]:
    """The texts in JSON that are secrets, also in JSON that is a text in it."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            last = str(key).rpartition("__")[2]
            yield from _leaves(value, last not in plain and (secret or is_secret(last)), plain, last)
    elif isinstance(tree, list):
        for value in tree:
            yield from _leaves(value, secret, plain, name)
    elif isinstance(tree, str):
        if (inner := _tree(tree)) is not None:
            yield from _leaves(inner, secret, plain, name)
        elif "://" in tree and not secret:
            yield from _of_address(tree, False)
        elif secret:
            yield tree
    elif secret and isinstance(tree, int | float) and not isinstance(tree, bool):
        yield str(tree)


def _of_address(value: str, all_of_it: bool) -> Iterator[str]:
    """The user-info of an address, and the values of its query that are secrets.

    Args:
        all_of_it: also its path and every value of its query: it is a connection, or a webhook.
    """
    for address in re.split(r"\s+|,(?=\w+://)", value):
        url = urlsplit(address)
        user, at, _ = url.netloc.rpartition("@")
        if at:
            name, _, password = user.partition(":")
            yield from (one for part in (password, user) for one in (part, unquote(part)))
            if not password:
                yield from (name, unquote(name))
        if all_of_it:
            yield from (part for part in url.path.split("/") if len(part) >= 2 * LEAST)
        for key, one in parse_qsl(url.query):
            if (inner := _tree(one)) is not None:
                yield from _leaves(inner, all_of_it, _PLAIN)
            elif key not in _PLAIN and (all_of_it or is_secret(key)):
                yield one


def _of_key_file(path: str) -> Iterator[str]:
    if not path:
        return
    try:
        tree = json.loads(read_settings_text(Path(path)))
    except (OSError, ValueError, RecursionError, QaribError):
        return
    yield from _leaves(tree, True, _PLAIN_OF_KEY)
