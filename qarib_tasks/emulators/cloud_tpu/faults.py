"""How slow, how strict and how broken the emulated Cloud TPU service is.

A file of them is YAML (or JSON), and is read again whenever it changes:

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

from qarib_tasks.config.loading import STRICT, from_dict, load_yaml
from qarib_tasks.emulators.cloud_tpu.catalog import INTERNAL
from qarib_tasks.errors import ConfigError

Seconds = Annotated[float, Field(ge=0)]

Kind = Literal[
    "queue_for_ever",  # a queued resource stays in WAITING_FOR_RESOURCES
    "late_grant",  # … for `after` seconds, and is then granted, whatever it asked for
    "stock_out",  # queued resource: FAILED; node: its operation ends in code 8
    "provisioning_fails",  # PROVISIONING, SUSPENDING (by the service), FAILED with `code` and `message`
    "create_refused",  # a create call answers `code` and `message`
    "create_operation_fails",  # a create call is accepted, and its operation then ends so
    "create_conflict",  # a create call makes the resource and answers that it exists already
    "quota",  # `chips` a zone and generation; whatever was not deleted counts
    "preempt",  # the machines are gone; `notice` seconds before, they are told
    "vanish",  # the node is gone without a trace, its queued resource still ACTIVE
    "node_state",  # the node goes to `state`, its machines are gone
    "maintenance",  # the node is REPAIRING for `lasting` seconds, then its machines boot again
    "freeze",  # the machines' processes stand still, the node stays READY
    "endpoints_late",  # a READY node has no network endpoints for `after` seconds
    "operation_slow",  # an operation is done `after` seconds later than what it does
    "delete_again",  # a delete of a queued resource ends well, and the resource is still there
    "api_error",  # a share `rate` of the calls answers one of `codes`
]
# These are set off once the machines run: `after` seconds later, at a step, or at a line they print.
ON_MACHINES = ("preempt", "vanish", "node_state", "maintenance", "freeze")
_STEP = re.compile(r"\bstep (\d+)\b")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Fault:
    """One thing that goes wrong.

    Attributes:
        match: pattern (as of a shell) of the ids of the resources it befalls.
        zone: pattern of their zones.
        method: pattern of the calls it befalls, such as `Get*`; of `operation_slow` and `api_error`.
        times: how often, counting each resource once; None: always.
        after: seconds.
        at_step: the first line `step N` with N this large that a machine prints sets it off.
        at_output: a regular expression; the first line that has it sets it off.
        notice: seconds between telling the machines that they will be preempted and their end.
        lasting: seconds; None: for ever.
        after_effect: the call does its work and only its answer is lost.
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

    def is_set_off_by(self, output: str) -> bool:
        """Whether what the machines have printed sets it off."""
        if self.at_output is not None and re.search(self.at_output, output):
            return True
        return self.at_step is not None and any(int(n) >= self.at_step for n in _STEP.findall(output))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Delays:
    """Seconds that the service takes, by default about what users of the real one have reported."""

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
    between_machines: Seconds = 0.0
    id_taken_after_delete: Seconds = 0.0


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Behaviour:
    """Delays, what nobody could confirm as switches, and the faults.

    Attributes:
        scale: every delay is multiplied by it; what a fault or a request says in seconds is not.
        expiry: what `valid_until` leaves of a queued resource that is not granted in time.
        delete_response: what the operation of DeleteQueuedResource holds. `empty` is what the client
            library cannot convert.
        strict_ids: ids must be valid names of Compute Engine; else what the API's reference says.
        refuse_scheduling_config: of a node within a queued resource.
        refuse_delete_while_waiting: a delete without `force` of what waits for resources.
        refusal_code: of what is asked of a resource that is in the wrong state for it.
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
        """Seconds."""
        return float(getattr(self.delays, name)) * self.scale


class Faults:
    """The behaviour in force, and which of its faults have struck whom.

    Args:
        source: a behaviour, or the file of one.
    """

    def __init__(self, source: Behaviour | Path | None = None) -> None:
        self.path = source if isinstance(source, Path) else None
        self.behaviour = source if isinstance(source, Behaviour) else Behaviour()
        self.problem = ""
        self._seen: tuple[int, int] | None = None
        self._struck: dict[int, tuple[Fault, set[str]]] = {}
        self._random: dict[Fault, Random] = {}
        self.refresh()
        if self.problem:
            raise ConfigError(self.problem)

    def add(self, fault: Fault) -> None:
        self.behaviour = dataclasses.replace(self.behaviour, faults=(*self.behaviour.faults, fault))

    def clear(self) -> None:
        self.behaviour = dataclasses.replace(self.behaviour, faults=())
        self._struck.clear()

    def refresh(self) -> None:
        """Read the file again if it changed. One that is wrong leaves all as it is (see `problem`)."""
        if self.path is None:
            return
        try:
            stat = self.path.stat()
            if self._seen == (stat.st_mtime_ns, stat.st_size):
                return
            self._seen = stat.st_mtime_ns, stat.st_size
            text = self.path.read_text(encoding="utf-8")
            values = load_yaml(self.path) if text.strip() else {}
            self.behaviour = from_dict(Behaviour, values, self.path)
        except FileNotFoundError:  # Not yet: there are none.
            return
        except (OSError, ConfigError) as error:
            self.problem = str(error)
            return
        self.problem = ""

    def take(self, kind: Kind, who: str, zone: str, *, method: str = "") -> Fault | None:
        """The first fault of this kind that befalls the resource, counted once for each resource."""
        for index, fault in enumerate(self.behaviour.faults):
            if fault.kind == kind and self._befalls(fault, who, zone, method):
                struck = self._struck_by(index, fault)
                if who in struck:
                    return fault
                if fault.times is None or len(struck) < fault.times:
                    struck.add(who)
                    return fault
        return None

    def take_once(self, kind: Kind, who: str, zone: str, *, method: str = "") -> Fault | None:
        """As `take`, but each call counts, also those for the same resource."""
        for index, fault in enumerate(self.behaviour.faults):
            if fault.kind != kind or not self._befalls(fault, who, zone, method):
                continue
            struck = self._struck_by(index, fault)
            if fault.times is None or len(struck) < fault.times:
                struck.add(f"{who} {len(struck)}")
                return fault
        return None

    def on_machines(self, who: str, zone: str) -> list[tuple[int, Fault]]:
        """The faults that may befall a node's machines, with their numbers for `strike`."""
        of = enumerate(self.behaviour.faults)
        return [(i, f) for i, f in of if f.kind in ON_MACHINES and self._befalls(f, who, zone, "")]

    def strike(self, index: int, who: str) -> bool:
        """Count a fault against a resource; False where it has struck it before, or often enough."""
        fault = self.behaviour.faults[index]
        struck = self._struck_by(index, fault)
        if who in struck or (fault.times is not None and len(struck) >= fault.times):
            return False
        struck.add(who)
        return True

    def chips(self, zone: str) -> int | None:
        """The quota of a zone, in chips; None without one."""
        limits = [f.chips for f in self.behaviour.faults if f.kind == "quota" and fnmatchcase(zone, f.zone)]
        return min(limits, default=None)

    def api_error(self, method: str, who: str, zone: str) -> tuple[int, Fault] | None:
        """The code that this call answers, if it is to fail."""
        for index, fault in enumerate(self.behaviour.faults):
            if fault.kind != "api_error" or not self._befalls(fault, who, zone, method):
                continue
            random = self._random.setdefault(fault, Random(fault.seed))
            struck = self._struck_by(index, fault)
            left = fault.times is None or len(struck) < fault.times
            if left and random.random() < fault.rate:
                struck.add(f"{method} {len(struck)}")
                return random.choice(fault.codes), fault
        return None

    def _befalls(self, fault: Fault, who: str, zone: str, method: str) -> bool:
        if not fnmatchcase(who, fault.match) or not fnmatchcase(zone, fault.zone):
            return False
        return not method or fnmatchcase(method, fault.method)

    def _struck_by(self, index: int, fault: Fault) -> set[str]:
        known = self._struck.get(index)
        if known is None or known[0] != fault:  # The file changed: another fault stands there now.
            known = self._struck[index] = (fault, set())
        return known[1]
