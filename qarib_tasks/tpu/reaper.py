"""Finds expired TPUs by their labels, even if the run that created them no longer exists."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from qarib_tasks.tpu.api.client import CloudTpuClient
from qarib_tasks.tpu.api.errors import TpuUnavailableError
from qarib_tasks.tpu.job import MADE_BY, expiry

# For the machine, which saves before it deletes itself.
GRACE = timedelta(minutes=15)


@dataclass(frozen=True)
class Found:
    """A queued resource, or a node without one, that qarib created.

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


def find(client: CloudTpuClient) -> list[Found]:
    """All queued resources and nodes that qarib created in the project, sorted by zone and name."""
    found: dict[tuple[str, str], Found] = {}
    for resource in client.queued_resources(labels=MADE_BY):
        labels = dict(resource.tpu.node_spec[0].node.labels)
        one = _found(str(resource.name), str(resource.state.state.name), labels)
        found[one.zone, one.name] = one
    for node in client.nodes(labels=MADE_BY):
        one = _found(str(node.name), f"node {node.state.name}", dict(node.labels))
        found.setdefault((one.zone, one.name), one)
    return [found[key] for key in sorted(found)]


def expired(found: list[Found], now: datetime | None = None, grace: timedelta = GRACE) -> list[Found]:
    """The TPUs past their expiry plus the grace period; never one without a valid expiry label."""
    now = now or datetime.now(UTC)
    return [one for one in found if one.expires is not None and now > one.expires + grace]


def delete(client: CloudTpuClient, late: list[Found], *, within: float = 1800.0) -> None:
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


def _found(full_name: str, state: str, labels: Mapping[str, str]) -> Found:
    _, _, _, zone, _, name = full_name.split("/")
    run, owner = labels.get("run", "unknown"), labels.get("owner", "unknown")
    return Found(zone, name, state, run, owner, expiry(labels))
