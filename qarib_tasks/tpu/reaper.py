"""Finds expired TPUs by their labels, even if the run that created them no longer exists."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from qarib_tasks.tpu.api.errors import TpuUnavailableError
from qarib_tasks.tpu.api.service import Service
from qarib_tasks.tpu.job import MADE_BY, expiry

# For the machine, which saves before it deletes itself.
GRACE = timedelta(minutes=15)


@dataclass(frozen=True)
class Found:
    """A request for machines, or a machine without one, that qarib created.

    Attributes:
        expires: None if its label is missing or not a date.
    """

    zone: str
    name: str
    state: str
    run: str
    owner: str
    expires: datetime | None

    def __str__(self) -> str:
        until = f"until {self.expires:%Y-%m-%d %H:%M} UTC" if self.expires else "without a valid expiry label"
        return f"{self.zone}/{self.name}: {self.state}, run {self.run}, owner {self.owner}, {until}"


def find(client: Service) -> list[Found]:
    """Everything that qarib created in the project, sorted by zone and name; a request before its nodes."""
    found: dict[tuple[str, str], Found] = {}
    for one in client.listed(MADE_BY):
        run, owner = one.labels.get("run", "unknown"), one.labels.get("owner", "unknown")
        new = Found(one.zone, one.name, one.state, run, owner, expiry(one.labels))
        found.setdefault((one.zone, one.name), new)
    return [found[key] for key in sorted(found)]


def expired(found: list[Found], now: datetime | None = None, grace: timedelta = GRACE) -> list[Found]:
    """The TPUs past their expiry plus the grace period; never one without a valid expiry label."""
    now = now or datetime.now(UTC)
    return [one for one in found if one.expires is not None and now > one.expires + grace]


def delete(client: Service, late: list[Found], *, within: float = 1800.0) -> None:
    """Delete the TPUs, and wait until they no longer exist.

    Raises:
        TpuUnavailableError: some still exist after `within` seconds.
    """
    deadline, pause = time.monotonic() + within, 0.1
    while remaining := [one for one in late if not client.delete_step(one.zone, one.name)]:
        if time.monotonic() > deadline:
            raise TpuUnavailableError(
                f"TPUs still exist after {within:g} s of deleting",
                where=", ".join(f"{one.zone}/{one.name}" for one in remaining),
                do="They may cost money: delete them in the Google Cloud console",
            )
        time.sleep(pause)
        pause = min(15.0, 1.5 * pause)
