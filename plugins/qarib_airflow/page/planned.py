"""The plan of a run that is typed in the view *New run*, and what the preflight would refuse of it."""

from __future__ import annotations

from typing import Any

from qarib_airflow.defaults import CONNECTION
from qarib_airflow.tpu.emulated import is_emulated
from qarib_tasks.config.run import RunConfig
from qarib_tasks.config.typed import number
from qarib_tasks.errors import ConfigError, Faults
from qarib_tasks.machines.planning.advice import advice
from qarib_tasks.machines.planning.estimate import Range
from qarib_tasks.machines.planning.limits import over_limits, require_devices
from qarib_tasks.machines.planning.options import Option, Plan, plan
from qarib_tasks.runs.disk_space import size_to_read


def deadline(typed_in: float | str | None, found: list[dict[str, str]]) -> float | None:
    """The hours of the deadline, as typed; None without one. Those found get what is wrong with it."""
    try:
        hours = number(typed_in) if isinstance(typed_in, str) and typed_in.strip() else typed_in or None
        if isinstance(hours, int | float) and not 0 < hours < 1e6:
            raise ValueError("must be above 0, and below a million")
    except ValueError as error:
        found.append({"field": "within", "what": f"Hours it may take: {error}"})
        return None
    return float(hours) if isinstance(hours, int | float) else None


def planned(
    config: RunConfig, text: float | None, within: float | None, faults: Faults
) -> dict[str, Any] | None:
    """The plan of a run on a TPU, for the page; None for a run without one.

    Args:
        text: bytes of the sources, if they are known.
        within: hours in which the training should end.
        faults: get what the preflight would refuse.
    """
    tpu = config.tpu
    if tpu.machine == "local":
        return None
    with faults.kept():
        require_devices(config.train, tpu.accelerator_type)
    try:
        made = plan(config, size_to_read(config, text or 0.0), within)
    except ConfigError as error:
        if not faults.found:
            faults.found.append(error)
        return {"trouble": str(error)}
    asked = made.asked
    above = list(over_limits(tpu, asked.estimate))
    faults.found += above
    return {
        "emulated": is_emulated(CONNECTION),
        "asked": _option(asked)
        | {"price_source": asked.estimate.price_source, "chips": asked.estimate.chips},
        "rows": _table(made),
        "advice": advice(config, made),
        "above_budget": any(fault.where == "max_cost" for fault in above),
    }


def _table(made: Plan) -> list[dict[str, Any]]:
    """A row per type and batch, with the prices of spot and on demand."""
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for option in made.options:
        row = rows.setdefault(
            (option.accelerator_type, option.batch), _option(option) | {"prices": {}, "marks": []}
        )
        row["prices"][option.provisioning] = _ends(option.estimate.cost)
        row["marks"] += option.marks
    return list(rows.values())


def _option(option: Option) -> dict[str, Any]:
    return {
        "accelerator_type": option.accelerator_type,
        "provisioning": option.provisioning,
        "batch": option.batch,
        "steps": option.steps,
        "parts": option.parts,
        "steps_per_second": _ends(option.estimate.steps_per_second),
        "hours": _ends(option.estimate.hours),
        "cost": _ends(option.estimate.cost),
    }


def _ends(range_: Range) -> list[float]:
    return [range_.low, range_.high]
