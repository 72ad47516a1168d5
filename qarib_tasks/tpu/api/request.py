"""What a run requests from Cloud TPU: names, labels and the request."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from qarib_tasks.layout import MAX_NAME
from qarib_tasks.tpu.api.errors import TpuRequestError

Tier = Literal["spot", "on_demand", "reserved"]
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_ZONE = re.compile(r"[a-z]+-[a-z]+[0-9]+-[a-z]")


def resource_name(run_id: str, attempt: int, prefix: str = "qarib") -> str:
    """The name of a run's `attempt`-th TPU: always the same, and unique to the run.

    It keeps the readable part of the run's id. It is valid as the name of a Compute Engine instance, the
    strictest rule that the service can apply.
    """
    digest = hashlib.sha256(run_id.encode()).hexdigest()[:10]
    readable = re.sub(r"[^a-z0-9]+", "-", f"{prefix}-{run_id}".lower()).strip("-")
    end = f"-{digest}-{attempt}"
    start = readable[: MAX_NAME - len(end)].rstrip("-")
    return (start if start[:1].isalpha() else f"t{start}"[: MAX_NAME - len(end)]) + end


@dataclass(frozen=True, kw_only=True)
class TpuRequest:
    """A queued resource with one node, of the same name.

    Attributes:
        valid_until: seconds within which it must be granted; None: no limit.
        startup_script: run with bash on every machine at every boot.
        metadata: more values for the machines. Every process on them can read these: no secrets.
        service_account: e-mail that the machines run as; empty: the project's default Compute account.
        reservation: `projects/P/locations/Z/reservations/R`, for the tier `reserved`.
    """

    name: str
    zone: str
    accelerator_type: str
    runtime_version: str
    tier: Tier = "spot"
    labels: Mapping[str, str] = field(default_factory=dict)
    startup_script: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    service_account: str = ""
    network: str = ""
    subnetwork: str = ""
    external_ips: bool = True
    valid_until: float | None = None
    reservation: str = ""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise TpuRequestError(
                f"{self.name!r} is not a valid name", do=f"Use one that matches {_NAME.pattern}"
            )
        if not _ZONE.fullmatch(self.zone):
            raise TpuRequestError(f"{self.zone!r} is not a zone", do="Use a name such as us-central1-a")
        if self.reservation and self.tier != "reserved":
            raise TpuRequestError("a reservation is set but not used", do="Set the tier to reserved")

    def message(self, project: str) -> Any:
        """The request as a google.cloud.tpu_v2alpha1.QueuedResource."""
        from google.cloud.tpu_v2alpha1 import QueuedResource

        node: dict[str, Any] = {
            "accelerator_type": self.accelerator_type,
            "runtime_version": self.runtime_version,
            "description": self.description,
            "labels": dict(self.labels),
            "metadata": {**self.metadata, "startup-script": self.startup_script},
            "network_config": {
                "network": self.network,
                "subnetwork": self.subnetwork,
                "enable_external_ips": self.external_ips,
            },
        }
        if self.service_account:
            scope = ["https://www.googleapis.com/auth/cloud-platform"]
            node["service_account"] = {"email": self.service_account, "scope": scope}
        parent = f"projects/{project}/locations/{self.zone}"
        spec = {"parent": parent, "node_id": self.name, "node": node}
        values: dict[str, Any] = {"tpu": {"node_spec": [spec]}}
        if self.tier == "spot":
            values["spot"] = {}
        elif self.tier == "reserved":
            values |= {"guaranteed": {"reserved": True}, "reservation_name": self.reservation}
        if self.valid_until is not None:
            values["queueing_policy"] = {"valid_until_duration": {"seconds": round(self.valid_until)}}
        return QueuedResource(values)
