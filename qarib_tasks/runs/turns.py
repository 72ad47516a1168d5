"""Whose turn it is: runs that need the same dataset, model, or TPU have it one after another.

Each that needs it has a *claim* in a record of the workspace, `cache/turns/<name>.json`. A claim is over when
its run says so, as Airflow has it, so a process that is killed leaves nothing that must be released. The
order is that of the runs' starts, but a run that has its turn keeps it. A run that is cleared while it waits
keeps its place: those after it wait for it already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from qarib_tasks.layout import TURNS
from qarib_tasks.storage.shared_record import SharedRecord

CLAIMS = "claims"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A run that needs something.

    Attributes:
        started: when the run started, in ISO format and UTC.
        holds: whether it has its turn.
    """

    dag_id: str
    run_id: str
    started: str
    holds: bool = False

    @property
    def key(self) -> tuple[str, str]:
        return self.dag_id, self.run_id


@dataclass(frozen=True)
class Place:
    """A claim's place among those that are not over.

    Attributes:
        ahead: the claims before it, in order; none: it is its turn.
        total: the number of claims, with itself.
        since: the start of the run by which it has its place.
    """

    ahead: tuple[Claim, ...]
    total: int
    since: str = ""

    def __str__(self) -> str:
        return f"place {len(self.ahead) + 1} of {self.total}"


def take(workspace: Path, name: str, own: Claim, is_over: Callable[[Claim], bool]) -> Place:
    """Claim what `name` stands for, and return the place of the claim.

    The record is locked meanwhile, also while `is_over` is called: between its answer and the change, no
    other run can have its turn.

    Raises:
        CorruptError: the record is damaged.
    """
    place = Place((), 1)

    def claimed(values: Mapping[str, Any]) -> Mapping[str, Any]:
        nonlocal place
        others = [one for one in claims_of(values) if one.key != own.key and not is_over(one)]
        # Airflow changes the start of a run that failed and is cleared.
        known = next((one for one in claims_of(values) if one.key == own.key), own)
        claims = sorted([*others, known], key=lambda one: (not one.holds, one.started, one.key))
        number = [one.key for one in claims].index(own.key)
        claims[number] = replace(claims[number], holds=number == 0)
        place = Place(tuple(claims[:number]), len(claims), known.started)
        return {CLAIMS: [asdict(one) for one in claims]}

    _record(workspace, name).change(claimed)
    return place


def claims(workspace: Path, name: str) -> list[Claim]:
    """Return the claims of a record, in order, also those that are over."""
    return claims_of(_record(workspace, name).read())


def claims_of(values: Mapping[str, Any]) -> list[Claim]:
    """Return the claims in a record's values. What is not one is left out."""
    found = values.get(CLAIMS)
    return [claim for one in (found if isinstance(found, list) else ()) if (claim := _claim(one))]


def _claim(value: Any) -> Claim | None:
    names = "dag_id", "run_id", "started"
    if not isinstance(value, dict) or not all(isinstance(value.get(name), str) for name in names):
        return None
    return Claim(**{name: value[name] for name in names}, holds=value.get("holds") is True)


def _record(workspace: Path, name: str) -> SharedRecord:
    return SharedRecord(workspace, None, f"{TURNS}/{name}.json")
