"""What to know before a training is paid for, as sentences."""

from __future__ import annotations

from collections.abc import Iterator

from qarib_tasks.config.run import RunConfig
from qarib_tasks.machines.planning.options import Option, Plan, highest_cost, waiting
from qarib_tasks.machines.planning.text import span

WAITS_MUCH = 0.3
WORTH = 0.8  # of the price, to be named


def advice(config: RunConfig, plan: Plan) -> list[str]:
    """Return the sentences, the most important first."""
    return list(_sentences(config, plan))


def _sentences(config: RunConfig, plan: Plan) -> Iterator[str]:
    asked = plan.asked
    if plan.dataset and plan.shards_read is not None:
        share = plan.shards_read / plan.dataset.shards
        read = (
            f"{plan.shards_read:,.0f} of {plan.dataset.shards:,} shards"
            if share < 1
            else f"{share:.1f} epochs"
        )
        yield f"This reads {read} ({share:.1%} of about {plan.dataset.examples:,} examples)."
    if waiting(asked).high > WAITS_MUCH:
        yield (
            f"Batch {asked.batch:,} on {asked.estimate.chips} chips waits for the exchange of gradients "
            f"{span(waiting(asked), '.0%')} of the time."
        )
    own = [option for option in plan.options if option.provisioning == asked.provisioning]
    same_batch = min((o for o in own if o.batch == asked.batch), key=highest_cost)
    if highest_cost(same_batch) < WORTH * highest_cost(asked):
        yield f"The same training costs least on {same_batch.accelerator_type}: {_terms(same_batch, asked)}."
    same_type = min((o for o in own if o.accelerator_type == asked.accelerator_type), key=highest_cost)
    if highest_cost(same_type) < WORTH * highest_cost(asked):
        yield (
            f"Batch {same_type.batch:,} on {asked.accelerator_type} reads the same examples for "
            f"{_terms(same_type, asked)}. It is another training: it needs a higher learning_rate."
        )
    if asked.estimate.chips > 1 and config.train.precision == "float32":
        yield "Set precision to auto: in bfloat16, the chips exchange a third less."
    if asked.estimate.chips > 1 and not config.train.shard_optimizer:
        yield "Turn shard_optimizer on: each chip then updates a part of the weights, not all of them."
    if plan.within is not None and not plan.marked("cheapest in time"):
        yield f"No option of the table surely ends within {plan.within:g} hours."
    if asked.provisioning == "spot":
        yield "Spot TPUs can be preempted; each preemption adds a startup and the steps since a checkpoint."


def _terms(option: Option, asked: Option) -> str:
    return (
        f"{span(option.estimate.cost, ',.2f')} US dollars and {span(option.estimate.hours, ',.1f')} hours, "
        f"not {span(asked.estimate.cost, ',.2f')} and {span(asked.estimate.hours, ',.1f')}"
    )
