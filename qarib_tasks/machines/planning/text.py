"""Estimates and plans as text, for logs and the command line."""

from __future__ import annotations

from qarib_tasks.counting import counted
from qarib_tasks.machines.planning.estimate import Estimate, Range
from qarib_tasks.machines.planning.options import Option, Plan


def figure(value: float, form: str) -> str:
    """A number in a format; one that is too large to be meant is short."""
    return format(value, form if abs(value) < 1e12 else ".3g")


def span(range_: Range, form: str = "") -> str:
    """The two ends in one format, or one of them if they read the same."""
    low, high = figure(range_.low, form), figure(range_.high, form)
    return low if low == high else f"{low} to {high}"


def hours(range_: Range) -> str:
    """Hours, or minutes if both ends are below an hour."""
    if range_.high < 1:
        return f"{span(range_.times(60), ',.1f')} minutes"
    return f"{span(range_, ',.1f')} hours"


def dollars(range_: Range) -> str:
    """US dollars; an end below a cent is not shown as nothing."""
    if range_.high < 0.01:
        return "less than 0.01 US dollars"
    return f"{span(range_, ',.2f')} US dollars"


def price(hourly: float) -> str:
    """US dollars per hour, with tenths of a cent if there are some."""
    if 0 < hourly < 0.001:
        return "less than 0.001"
    text = figure(hourly, ",.3f")
    return text.removesuffix("0") if "." in text else text


def summary(expected: Estimate, steps: int) -> str:
    """Speed, hours, and cost of a training of this many steps, and what the hours are made of."""
    step = expected.step
    return (
        f"{span(expected.steps_per_second, ',.0f')} steps/s, {hours(expected.hours)} for "
        f"{counted(steps, 'step')}, {dollars(expected.cost)} at {price(expected.hourly)} per hour "
        f"({expected.price_source}), preemptions excluded. A step: products {1000 * step.products:.1f} ms, "
        f"optimizer {1000 * step.optimizer:.1f} ms, exchange of gradients "
        f"{span(step.exchange.times(1000), '.1f')} ms. Besides the steps: startup "
        f"{hours(expected.startup_hours)}, checkpoints {hours(expected.checkpoint_hours)}, "
        f"evaluations {hours(expected.evaluation_hours)}"
    )


def table(plan: Plan, *, marked_only: bool = False) -> list[str]:
    """The options as lines: type, batch, speed, hours, prices, and marks.

    Args:
        marked_only: only the options with a mark.
    """
    rows: list[tuple[str, ...]] = [("type", "batch", "steps/s", "hours", "spot $", "on demand $", "")]
    by_place: dict[tuple[str, int], dict[str, Option]] = {}
    for option in plan.options:
        by_place.setdefault((option.accelerator_type, option.batch), {})[option.provisioning] = option
    for (accelerator_type, batch), options in by_place.items():
        first = next(iter(options.values()))
        marks: list[str] = [mark for option in options.values() for mark in option.marks]
        if first.parts > 1:
            marks.append(f"in {first.parts} parts")
        if marked_only and not any(option.marks for option in options.values()):
            continue
        found = (options.get(name) for name in ("spot", "on_demand"))
        prices = (span(option.estimate.cost, ",.2f") if option else "-" for option in found)
        rows.append(
            (
                accelerator_type,
                f"{batch:,}",
                span(first.estimate.steps_per_second, ",.1f"),
                span(first.estimate.hours, ",.1f"),
                *prices,
                ", ".join(marks),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
