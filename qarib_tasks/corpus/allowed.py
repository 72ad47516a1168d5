"""Which source addresses a deployment allows."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import unquote, urlsplit

from qarib_tasks.config.deployment.limits import LIMITS_VARIABLE, Limits, deployment_limits
from qarib_tasks.errors import ConfigError, masked

C = TypeVar("C")
ALLOWED_VARIABLE = "QARIB_ALLOWED_SOURCES"
# The settings of a source or task that a deployment has a ceiling for.
LIMITED = ("most_expansion", "most_bytes", "most_members", "most_rows", "most_listed", "listing_seconds")

_MOST_DECODED = 3  # times that a path is decoded
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?://|:)")


@dataclass(frozen=True)
class AllowedSources:
    """Folders and addresses that sources may be in.

    Attributes:
        folders: allows files below these folders; symbolic links are resolved.
        addresses: `gs://bucket/` or `https://host/`, each with or without a path: allows everything below it.
        limits: how much may be read of them; None for what a source says.
    """

    folders: tuple[Path, ...] = ()
    addresses: tuple[str, ...] = ()
    limits: Limits | None = None

    @classmethod
    def of(cls, entries: Sequence[str]) -> AllowedSources:
        """Create from folders and addresses; entries with a scheme are addresses."""
        entries = [entry.strip() for entry in entries if entry.strip()]
        far = tuple(entry.rstrip("/") + "/" for entry in entries if _SCHEME.match(entry))
        return cls(tuple(Path(entry).resolve() for entry in entries if not _SCHEME.match(entry)), far)

    @classmethod
    def of_deployment(cls, own: Sequence[str]) -> AllowedSources:
        """Allow the deployment's own folders and addresses, and the entries of QARIB_ALLOWED_SOURCES.

        This environment variable is a comma-separated list of folders and addresses. The limits are those of
        QARIB_LIMITS.

        Raises:
            ConfigError: a limit is not valid.
        """
        allowed = cls.of([*own, *os.environ.get(ALLOWED_VARIABLE, "").split(",")])
        return replace(allowed, limits=deployment_limits())

    def check(self, source: str, where: object = None) -> None:
        """Check that sources may be read from a path or address.

        Raises:
            ConfigError: the path or address is not allowed.
        """
        if not self.allows(source):
            self.refuse(source, where)

    def refuse(self, source: str, where: object = None) -> NoReturn:
        """Raise the error for a path or address that is not allowed."""
        allowed = ", ".join([*map(str, self.folders), *self.addresses])
        raise ConfigError(
            f"sources may not be read from {source}",
            where=where,
            do=f"Use a path below {allowed}, or add to {ALLOWED_VARIABLE} in Airflow's environment",
        )

    def allows(self, source: str) -> bool:
        """Return whether sources may be read from a path or address."""
        if _SCHEME.match(source):
            try:
                parts = urlsplit(source)
            except ValueError:  # of brackets in the host
                return False
            plain = f"{parts.scheme.lower()}://{parts.netloc.lower()}{parts.path or '/'}"
            return not _climbs(parts.path) and any(plain.startswith(address) for address in self.addresses)
        try:
            path = Path(os.path.realpath(source))
        except ValueError:  # A name has no null character.
            return False
        return any(path.is_relative_to(folder) for folder in self.folders)


def _climbs(path: str) -> bool:
    """Whether a web server can take a path for one that leads out of a folder."""
    for _ in range(_MOST_DECODED):  # Some decode more than once.
        path = unquote(path)
    if unquote(path) != path:
        return True
    # Some take \ for a slash, and leave out what follows a semicolon.
    return any(part.partition(";")[0].strip() == ".." for part in re.split(r"[/\\]", path))


def limits_of(allowed: AllowedSources | None) -> Limits:
    """Return the deployment's limits, or the defaults for a command."""
    return (allowed.limits if allowed else None) or Limits()


def limited(config: C, allowed: AllowedSources | None) -> C:
    """Return a source or task that reads no more than a deployment allows.

    A default above a ceiling is lowered.

    Raises:
        ConfigError: another value is above it.
    """
    limits = allowed.limits if allowed else None
    if limits is None:
        return config
    source: Any = config
    lower: dict[str, float] = {}
    for name in LIMITED:
        value, most = getattr(source, name, 0), getattr(limits, name)
        if value > most:
            if value != type(source).__dataclass_fields__[name].default:
                raise ConfigError(
                    f"`{name}` is {value:,}, and this deployment allows {most:,}",
                    where=source.name,
                    do=f"Lower it. Who operates the deployment sets the limit, in {LIMITS_VARIABLE}",
                )
            lower[name] = most
    result: C = replace(source, **lower) if lower else config
    return result


def require_no_secret(address: str) -> None:
    """Check that an address has no password, key or signature: it is logged, and stays in manifests.

    Raises:
        ConfigError: it has.
    """
    if _SCHEME.match(address) and masked(address) != address:
        raise ConfigError(
            "the address has a password, a key, or a signature, which would be logged and published",
            where=address,
            do="Remove it: put the file in a bucket, which is read with the connection's credentials, or "
            "download it first",
        )


def is_remote(address: str) -> bool:
    """Return whether the address has a scheme.

    Raises:
        ConfigError: the scheme is not gs, http, or https; or there is no bucket or host.
    """
    if not (match := _SCHEME.match(address)):
        return False
    scheme = match[1] if match[1].lower() not in ("http", "https") else match[1].lower()
    if scheme not in ("gs", "http", "https") or "::" in address:
        raise ConfigError(
            "unsupported kind of address", where=address, do="Use a path, gs://, http://, or https://"
        )
    if not _has_host(address, scheme):
        what = "the bucket" if scheme == "gs" else "the host"
        raise ConfigError(f"{what} is missing or invalid", where=address, do="Correct the address")
    return True


def _has_host(address: str, scheme: str) -> bool:
    if scheme == "gs":
        return not address.startswith("gs:///") and address != "gs://"
    try:
        return bool(urlsplit(address).hostname)
    except ValueError:
        return False
