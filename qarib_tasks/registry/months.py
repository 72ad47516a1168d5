"""The months that a preset's model was trained on, in order, each once: `months` in `models/promoted.json`.

A month is settled when its model is judged, when its files hold nothing new, or when a person skips it. Only
then is it the next month's turn. A month that a run works on names the run: no second run takes it while the
first one is active.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, Literal

from qarib_tasks.errors import ConfigError
from qarib_tasks.registry.month import Month
from qarib_tasks.registry.presets import of_preset, with_preset
from qarib_tasks.storage.shared_record import SharedRecord, Values

MOST_NAMED = 3  # causes, in a message
RUNNING: Literal["running"] = "running"
Settled = Literal["trained", "nothing new"]


@dataclass(frozen=True)
class Turn:
    """Whether a run may train on its month.

    Attributes:
        state: due: the run has the month now. settled: there is nothing left to do. waiting: not yet.
        reason: why, in plain text.
        ahead: how many months must be settled first.
    """

    state: Literal["due", "settled", "waiting"]
    reason: str
    ahead: int = 0


@dataclass(frozen=True)
class Months:
    """The months of a preset.

    Attributes:
        record: `models/promoted.json`.
        first: the first month of all. Each later one waits for all between.
        skipped: months that a person skips.
        timezone: the deployment's.
    """

    record: SharedRecord
    preset: str
    first: Month
    skipped: frozenset[Month] = frozenset()
    timezone: tzinfo = UTC

    def take(
        self,
        month: Month,
        run_id: str,
        *,
        now: datetime,
        is_active: Callable[[str], bool],
        missing: Callable[[], Sequence[str]],
    ) -> Turn:
        """Give the month to a run if it is its turn. The run that has it gets it again.

        Args:
            now: the time, with a time zone.
            is_active: whether another run, by its run_id, has not ended.
            missing: what is missing of the month's files; not called before its turn.

        Raises:
            ConfigError: the month is before the first one. CorruptError: the record is damaged.
        """
        if month < self.first:
            raise ConfigError(
                f"the month {month} is before the first one, {self.first}",
                where="QARIB_RETRAIN_FIRST_MONTH",
                do=f"Set it to {month} or earlier, if the month is to be trained on",
            )
        values = self.record.read()
        held = self._held(values)
        if turn := self._settled(month, held):
            return turn
        before = [
            str(one) for one in self.first.through(month) if one < month and not self._settled(one, held)
        ]
        if before:
            return Turn("waiting", f"{month} waits for {_some(before)}", len(before))
        if not of_preset(values, self.preset).get("promoted"):
            return Turn("waiting", f"no model of the preset {self.preset} is promoted yet")
        if now < (end := month.next.start(self.timezone)):
            return Turn("waiting", f"{month} ends on {end.isoformat()}")
        holder = _run_of(held, month)
        if holder not in ("", run_id) and is_active(holder):
            return Turn("waiting", f"the run {holder} trains on {month}")
        if causes := missing():
            return Turn("waiting", f"{month} is not complete: {_some(causes, '; ')}")
        return self._claim(month, run_id, holder)

    def settle(self, month: Month, state: Settled, why: str = "") -> None:
        """Record that a month is done, unless it was before."""
        self.record.change(lambda values: settled(values, self.preset, str(month), state, why))

    def _claim(self, month: Month, run_id: str, holder: str) -> Turn:
        """Write the run's name into the record, unless another run did so since."""
        turn = Turn("due", f"it is the turn of {month}")

        def change(values: Values) -> Values:
            nonlocal turn
            held = self._held(values)
            if found := self._settled(month, held):
                turn = found
            elif (other := _run_of(held, month)) not in (holder, run_id):
                turn = Turn("waiting", f"the run {other} trains on {month}")
            else:
                return _with_month(values, self.preset, str(month), {"state": RUNNING, "run": run_id})
            return values

        self.record.change(change)
        return turn

    def _held(self, values: Values) -> Mapping[str, Mapping[str, Any]]:
        held: Mapping[str, Mapping[str, Any]] = of_preset(values, self.preset).get("months", {})
        return held

    def _settled(self, month: Month, held: Mapping[str, Mapping[str, Any]]) -> Turn | None:
        if month in self.skipped:
            return Turn("settled", f"{month} is in skip_months")
        entry = held.get(str(month))
        if entry is None or entry["state"] == RUNNING:
            return None
        why = entry.get("why", "")
        return Turn("settled", f"{month} is done: {entry['state']}" + (f", {why}" if why else ""))


def settled(values: Values, preset: str, month: str, state: Settled, why: str = "") -> Values:
    """Return the record with a month that is done; the same if it was before, or if there is no month."""
    entry = of_preset(values, preset).get("months", {}).get(month, {"state": RUNNING})
    if not month or entry["state"] != RUNNING:
        return values
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return _with_month(values, preset, month, {**entry, "state": state, "why": why, "settled_at": now})


def _with_month(values: Values, preset: str, month: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    own = of_preset(values, preset)
    months = {**own.get("months", {}), month: dict(entry)}
    return with_preset(values, preset, {**own, "months": months})


def _run_of(held: Mapping[str, Mapping[str, Any]], month: Month) -> str:
    return str(held.get(str(month), {}).get("run", ""))


def _some(names: Sequence[str], separator: str = ", ") -> str:
    more = f"{separator}and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return separator.join(names[:MOST_NAMED]) + more
