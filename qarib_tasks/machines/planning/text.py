"""Estimates and plans as text, for logs and the command line."""

from __future__ import annotations

from qarib_tasks.machines.planning.estimate import Estimate, Range
from qarib_tasks.machines.planning.options import Option, Plan


def span(range_: Range, form: str = "") -> str:
    """The two ends in one format, or one of them if they read the same."""
    low, high = format(range_.low, form), format(range_.high, form)
    return low if low == high else f"{low} to {high}"


def summary(expected: Estimate, steps: int) -> str:
    """Speed, hours, and cost of a training of this many steps, and what the hours are made of."""
    step = expected.step
    return (
        f"{span(expected.steps_per_second, ',.0f')} steps/s, {span(expected.hours, ',.1f')} hours for "
        f"{steps:,} steps, {span(expected.cost, ',.2f')} US dollars at {expected.hourly:.2f} per hour "
        f"({expected.price_source}), preemptions excluded. A step: products {1000 * step.products:.1f} ms, "
        f"optimizer {1000 * step.optimizer:.1f} ms, exchange of gradients "
        f"{span(step.exchange.times(1000), '.1f')} ms. Besides the steps: startup "
        f"{span(expected.startup_hours, '.1f')} hours, checkpoints "
        f"{span(expected.checkpoint_hours, '.1f')}, evaluations {span(expected.evaluation_hours, '.1f')}"
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
