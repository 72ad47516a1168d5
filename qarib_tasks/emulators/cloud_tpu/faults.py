"""The delays, switches and faults of the emulated Cloud TPU service.

They can be in a YAML (or JSON) file, which is read again when it changes:

    scale: 0.01                       # all delays 100 times shorter than the real service's
    delays: {waiting: 120}
    expiry: waiting                   # a switch
    faults:
      - {kind: queue_for_ever, zone: us-central1-a}
      - {kind: preempt, at_step: 120, times: 1}
      - {kind: api_error, codes: [8, 13, 14], rate: 0.3, seed: 7}
"""

from __future__ import annotations

import dataclasses
import re
from fnmatch import fnmatchcase
from pathlib import Path
from random import Random
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from qarib_tasks.config.loading import STRICT, Settings, from_dict, load_yaml
from qarib_tasks.emulators.cloud_tpu.catalog import INTERNAL
from qarib_tasks.errors import ConfigError, InputError

Seconds = Annotated[float, Field(ge=0)]

Kind = Literal[
    "queue_for_ever",  # a queued resource stays in WAITING_FOR_RESOURCES
    "late_grant",  # … for `after` seconds, and is then granted, regardless of its queueing policy
    "stock_out",  # queued resource: FAILED; node: its operation fails with code 8
    "provisioning_fails",  # PROVISIONING, SUSPENDING (by the service), FAILED with `code` and `message`
    "create_refused",  # a create call fails with `code` and `message`
    "create_operation_fails",  # a create call succeeds, but its operation fails with them
    "create_conflict",  # a create call creates the resource, but answers that it already exists
    "quota",  # `chips` per zone and generation; everything that was not deleted counts
    "preempt",  # the machines are lost, after a preemption notice `notice` seconds earlier
    "vanish",  # the node is deleted, but its queued resource stays ACTIVE
    "node_state",  # the node enters `state`, its machines are lost
    "maintenance",  # the node is REPAIRING for `lasting` seconds, then its machines boot again
    "freeze",  # the machines' processes stop, the node stays READY
    "endpoints_late",  # a READY node has no network endpoints for `after` seconds
    "operation_slow",  # an operation is done `after` seconds after its effect
    "delete_again",  # a delete of a queued resource succeeds, but the resource still exists
    "api_error",  # a share `rate` of the calls fails with one of `codes`
]
# These happen while the machines run: after `after` seconds, at a step, or at a line that they print.
ON_MACHINES = ("preempt", "vanish", "node_state", "maintenance", "freeze")
_STEP = re.compile(r"\bstep (\d+)\b")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Fault(Settings):
    """A fault of the service.

    Attributes:
        match: shell pattern of the ids of the affected resources.
        zone: pattern of their zones.
        method: pattern of the affected calls, such as `Get*`; for `operation_slow` and `api_error`.
        times: number of affected resources, each counted once; None: no limit.
        after: seconds.
        at_step: triggered by the first line `step N` that a machine prints with N at least this number.
        at_output: a regular expression; triggered by the first match in the output.
        notice: seconds between the preemption notice and the end of the machines.
        lasting: seconds; None: without end.
        after_effect: the call takes effect, but its answer is lost.
    """

    kind: Kind
    match: str = "*"
    zone: str = "*"
    method: str = "*"
    times: Annotated[int, Field(ge=1)] | None = None
    after: Seconds = 0.0
    at_step: int | None = None
    at_output: str | None = None
    notice: Seconds = 0.0
    lasting: Seconds | None = None
    state: str = "TERMINATED"
    code: int = INTERNAL
    message: str = "an internal error has occurred"
    chips: int = 0
    rate: Annotated[float, Field(ge=0, le=1)] = 1.0
    codes: tuple[int, ...] = (8, 13, 14)
    seed: int = 0
    after_effect: bool = False

    @property
    def waits_for_output(self) -> bool:
        return self.at_step is not None or self.at_output is not None

    def is_triggered_by(self, output: str) -> bool:
        """Return whether the machines' output triggers the fault."""
        if self.at_output is not None and re.search(self.at_output, output):
            return True
        return self.at_step is not None and any(int(n) >= self.at_step for n in _STEP.findall(output))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Delays(Settings):
    """Seconds that the service takes; the defaults are about what users of the real service have reported."""

    accepting: Seconds = 2.0
    waiting: Seconds = 60.0
    provisioning: Seconds = 90.0
    suspending: Seconds = 30.0
    deleting: Seconds = 20.0
    node_creating: Seconds = 60.0
    node_deleting: Seconds = 30.0
    node_stopping: Seconds = 20.0
    stock_out: Seconds = 30.0
    preempted_visible: Seconds = 10.0
    booting: Seconds = 0.0  # of a machine, until its startup script runs
    between_machines: Seconds = 0.0
    id_taken_after_delete: Seconds = 0.0


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Behaviour(Settings):
    """Delays, faults, and switches for behaviour that could not be confirmed.

    Attributes:
        scale: factor of every delay, but not of seconds in faults and requests.
        expiry: state of a queued resource that is not granted by `valid_until`.
        delete_response: the response in the operation of DeleteQueuedResource. The client library cannot
            convert `empty`.
        strict_ids: whether ids must be valid names for Compute Engine; if not, the rules of the API's
            reference apply.
        refuse_scheduling_config: whether a queued resource's node must not have a scheduling_config.
        refuse_delete_while_waiting: whether a queued resource that waits for resources cannot be deleted
            without `force`.
        refusal_code: error code of a call that the resource's state does not allow.
    """

    scale: Annotated[float, Field(ge=0)] = 1.0
    delays: Delays = Delays()
    expiry: Literal["failed", "waiting"] = "failed"
    delete_response: Literal["empty", "queued_resource"] = "empty"
    strict_ids: bool = True
    refuse_scheduling_config: bool = True
    refuse_delete_while_waiting: bool = False
    refusal_code: Literal[3, 9] = 9
    faults: tuple[Fault, ...] = ()

    def delay(self, name: str) -> float:
        """Return a delay in seconds, scaled."""
        return float(getattr(self.delays, name)) * self.scale


class Faults:
    """The current behaviour, and the resources that each of its faults has affected.

    Args:
        source: a behaviour, or a file with one.
    """

    def __init__(self, source: Behaviour | Path | None = None) -> None:
        self.path = source if isinstance(source, Path) else None
        self.behaviour = source if isinstance(source, Behaviour) else Behaviour()
        self.problem = ""
        self._seen: tuple[int, int] | None = None
        self._affected: dict[int, tuple[Fault, set[str]]] = {}
        self._random: dict[Fault, Random] = {}
        self.refresh()
        if self.problem:
            raise ConfigError(self.problem)

    def add(self, fault: Fault) -> None:
        self.behaviour = dataclasses.replace(self.behaviour, faults=(*self.behaviour.faults, fault))

    def clear(self) -> None:
        self.behaviour = dataclasses.replace(self.behaviour, faults=())
        self._affected.clear()

    def refresh(self) -> None:
        """Read the file again if it changed. An invalid file changes nothing except `problem`."""
        if self.path is None:
            return
        try:
            stat = self.path.stat()
            if self._seen == (stat.st_mtime_ns, stat.st_size):
                return
            self._seen = stat.st_mtime_ns, stat.st_size
            empty = self.path.is_file() and not self.path.read_text(encoding="utf-8").strip()
            values = {} if empty else load_yaml(self.path)
            self.behaviour = from_dict(Behaviour, values, self.path)
        except FileNotFoundError:  # The file does not exist yet: no faults.
            return
        except (OSError, ConfigError, InputError) as error:
            self.problem = str(error)
            return
        self.problem = ""

    def take(self, kind: Kind, who: str, zone: str, *, method: str = "") -> Fault | None:
        """Return the first fault of this kind for the resource; each resource counts once."""
        for index, fault in enumerate(self.behaviour.faults):
            if fault.kind == kind and self._affects(fault, who, zone, method):
                affected = self._affected_by(index, fault)
                if who in affected:
                    return fault
                if fault.times is None or len(affected) < fault.times:
                    affected.add(who)
                    return fault
        return None

    def take_once(self, kind: Kind, who: str, zone: str, *, method: str = "") -> Fault | None:
        """Return the first fault of this kind for the resource; each call counts."""
        for index, fault in enumerate(self.behaviour.faults):
            if fault.kind != kind or not self._affects(fault, who, zone, method):
                continue
            affected = self._affected_by(index, fault)
            if fault.times is None or len(affected) < fault.times:
                affected.add(f"{who} {len(affected)}")
                return fault
        return None

    def on_machines(self, who: str, zone: str) -> list[tuple[int, Fault]]:
        """Return the faults that can affect a node's machines, with their numbers for `strike`."""
        of = enumerate(self.behaviour.faults)
        return [(i, f) for i, f in of if f.kind in ON_MACHINES and self._affects(f, who, zone, "")]

    def strike(self, index: int, who: str) -> bool:
        """Count a fault for a resource; False if the fault has affected it before, or reached `times`."""
        fault = self.behaviour.faults[index]
        affected = self._affected_by(index, fault)
        if who in affected or (fault.times is not None and len(affected) >= fault.times):
            return False
        affected.add(who)
        return True

    def chips(self, zone: str) -> int | None:
        """Return the quota of a zone in chips; None if it has none."""
        limits = [f.chips for f in self.behaviour.faults if f.kind == "quota" and fnmatchcase(zone, f.zone)]
        return min(limits, default=None)

    def api_error(self, method: str, who: str, zone: str) -> tuple[int, Fault] | None:
        """Return the error code of this call and the fault; None if the call does not fail."""
        for index, fault in enumerate(self.behaviour.faults):
            if fault.kind != "api_error" or not self._affects(fault, who, zone, method):
                continue
            random = self._random.setdefault(fault, Random(fault.seed))
            affected = self._affected_by(index, fault)
            left = fault.times is None or len(affected) < fault.times
            if left and random.random() < fault.rate:
                affected.add(f"{method} {len(affected)}")
                return random.choice(fault.codes), fault
        return None

    def _affects(self, fault: Fault, who: str, zone: str, method: str) -> bool:
        if not fnmatchcase(who, fault.match) or not fnmatchcase(zone, fault.zone):
            return False
        return not method or fnmatchcase(method, fault.method)

    def _affected_by(self, index: int, fault: Fault) -> set[str]:
        known = self._affected.get(index)
        if known is None or known[0] != fault:  # The file changed: this number is now another fault.
            known = self._affected[index] = (fault, set())
        return known[1]
