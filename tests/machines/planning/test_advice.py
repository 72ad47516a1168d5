"""The sentences of a plan."""

from __future__ import annotations

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
