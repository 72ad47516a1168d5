"""The sentences of a plan."""

from __future__ import annotations

import re

from qarib_tasks.config.presets import resolve
from qarib_tasks.config.run import RunConfig
from qarib_tasks.machines.planning.advice import advice
from qarib_tasks.machines.planning.options import DatasetSize, plan

QARIB = DatasetSize(shards=1_172, examples=1_356_261_840)


def config(**tpu: object) -> RunConfig:
    return resolve({"workspace": "w", "preset": "qarib", "tpu": tpu})


def test_advice_for_the_published_run() -> None:
    sentences = advice(config(), plan(config(), QARIB, within=0.01))
    assert sentences[0] == "This reads 111 of 1,172 shards (9.4% of about 1,356,261,840 examples)."
    assert sentences[1].startswith("Batch 64 on 8 chips waits for the exchange of gradients 45% to 63% of")
    assert any(one.startswith("The same training costs least on v6e-1: ") for one in sentences)
    assert any(one.startswith("Batch 4,096 on v5litepod-8 reads the same examples for") for one in sentences)
    assert "No option of the table surely ends within 0.01 hours." in sentences
    alone = advice(config(accelerator_type="v6e-1"), plan(config(accelerator_type="v6e-1")))
    assert not any("waits" in one or "precision" in one or "reads 1" in one for one in alone)


def of(values: dict[str, object], **more: object) -> list[str]:
    found = resolve({"workspace": "w", "preset": "qarib", **values})
    return advice(found, plan(found, **more))  # type: ignore[arg-type]


def test_counts_read_well() -> None:
    one = of({"train": {"train_steps": 1, "num_warmup_steps": 0}}, dataset=QARIB, within=1e-3)
    assert (
        one[0] == "This reads less than 1 of 1,172 shards (less than 0.1% of about 1,356,261,840 examples)."
    )
    alone = of({}, dataset=DatasetSize(1, 200_000_000), within=1)
    assert alone[0] == "This reads less than 1 of 1 shard (64.0% of about 200,000,000 examples)."
    assert "No option of the table surely ends within 1 hour." in of(
        {"train": {"train_steps": 10**9}}, within=1
    )
    many = of({}, dataset=DatasetSize(1, 10_000))
    assert many[0] == "This reads 12,800.0 epochs (1,280,000.0% of about 10,000 examples)."
    core = of({"tpu": {"accelerator_type": "v3-2"}, "train": {"train_batch_size": 2}})
    assert core[0].startswith("Batch 2 on 1 chip waits")


def test_less_than_an_hour_is_minutes() -> None:
    demo = resolve({"workspace": "w", "preset": "demo", "tpu": {"machine": "cloud_tpu"}})
    (cheaper,) = (one for one in advice(demo, plan(demo)) if one.startswith("The same training"))
    assert re.search(
        r"US dollars and [\d.]+ to [\d.]+ minutes, not [\d.]+ to [\d.]+ and [\d.]+ to [\d.]+\.$", cheaper
    )
    long = config(accelerator_type="v5litepod-8")
    (cheaper,) = (one for one in advice(long, plan(long)) if one.startswith("The same training"))
    assert cheaper.endswith(
        "2.65 to 2.99 US dollars and 4.9 to 5.5 hours, not 16.79 to 26.51 and 8.6 to 13.5."
    )


def test_only_settings_that_help_are_named() -> None:
    """At 512 examples per chip, the gathered gradients of the wordpieces cost what the optimizer saves."""
    assert not any("shard_optimizer" in one for one in of({"train": {"train_batch_size": 4_096}}))
    assert any("shard_optimizer" in one for one in of({}))
    # 4 bytes for each of 135.85 million parameters become 2, except for 49.5 million in the embeddings:
    # 371 of 543 MB. With the words' second gradient, 469 of 740.
    assert "Set precision to auto: in bfloat16, the chips exchange 32% to 37% less." in of({})
    demo = resolve({"workspace": "w", "preset": "demo"})
    assert not any(one.startswith(("Set", "Turn")) for one in advice(demo, plan(demo)))


def test_what_cannot_begin_is_said_first() -> None:
    apart = of({"tpu": {"accelerator_type": "v5litepod-256"}}, dataset=QARIB)[0]
    assert apart == (
        "No run can start like this: a batch of 64 cannot be divided over 256 devices of v5litepod-256. "
        "Set train_batch_size to a multiple of 256."
    )
    large = of({"train": {"train_batch_size": 4_096}})[0]
    assert large.startswith("Batch 4,096 may not fit into the memory of v5litepod-8: set accumulation_steps")
    huge = of({"train": {"train_batch_size": 2**40}})[0]
    assert huge.endswith("use more chips, or a smaller batch or model.")
