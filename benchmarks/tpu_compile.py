"""Compile the training step for TPUs, ahead of time and without a TPU.

    python benchmarks/tpu_compile.py [--topology v5e:2x4 …] [--batch 64 …]

Needs jax and libtpu (requirements/tpu_compile.in), but no special machine. The step is the one that
`qarib train` runs on JAX with `train.precision: bfloat16`, with the published shape unless you use --small.

For each topology and batch, prints the floating-point operations and bytes of memory of one chip's program
according to the TPU's compiler, the operations that the model needs by arithmetic
(`qarib_tasks.machines.chips`), and whether the program fits in the chip's memory. Also prints, by arithmetic,
the steps per second, and the hours and price of --steps at --share of the chips' peak. The compiler's
`optimal_seconds` is not printed, because it is inaccurate. The exit status is 1 if a program does not fit or
does not compile.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from dataclasses import dataclass, replace

from qarib_tasks.config.training import ModelConfig, TrainConfig
from qarib_tasks.machines.chips import CHIPS, SHARE_OF_PEAK, TrainingShape, estimate

LENGTH, PREDICTIONS = 64, 10
SMALL = ModelConfig(
    num_hidden_layers=2,
    hidden_size=128,
    num_attention_heads=2,
    intermediate_size=512,
    max_position_embeddings=64,
)


@dataclass(frozen=True)
class Compiled:
    """One chip's program: operations, peak bytes of memory, and seconds to compile it."""

    flops: float
    bytes: int
    seconds: float


def compile_step(topology: str, shape: TrainingShape, precision: str = "bfloat16") -> Compiled:
    """Compile the training step for a topology such as "v5e:2x4"."""
    prepare()
    from jax.experimental import topologies

    from qarib_tasks.train.model.bert import PretrainingBert
    from qarib_tasks.train.model.steps_jax import JaxSteps

    model = PretrainingBert(shape.model, shape.vocab_size, precision=precision)
    config = TrainConfig(train_batch_size=shape.batch, backend="jax", precision=precision)  # type: ignore[arg-type]
    devices = topologies.get_topology_desc(topology, platform="tpu").devices
    steps = JaxSteps(model, config, seed=0, devices=devices)
    words, places = (shape.length,), (shape.predictions,)
    layout = (
        ("input_ids", words),
        ("input_mask", words),
        ("masked_lm_ids", places),
        ("masked_lm_positions", places),
        ("masked_lm_weights", places),
        ("next_sentence_labels", ()),
        ("segment_ids", words),
    )
    started = time.monotonic()
    compiled = steps.lower(layout).compile()
    memory = compiled.memory_analysis()
    held = (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.generated_code_size_in_bytes
    )
    return Compiled(compiled.cost_analysis()["flops"], held, time.monotonic() - started)


def prepare() -> None:
    """Make JAX use the CPU, and stop libtpu from querying a metadata server for the type of the TPU."""
    os.environ |= {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost"}
    from qarib_tasks.train import runtime

    runtime.choose_backend("jax")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--topology", nargs="+", default=["v5e:2x4", "v6e:2x4"])
    parser.add_argument("--batch", nargs="+", type=int, default=[64, 1024])
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--steps", type=int, default=2_000_000)
    parser.add_argument(
        "--share", type=float, default=SHARE_OF_PEAK, help="of the peak (default %(default)s)"
    )
    parser.add_argument("--small", action="store_true", help="a small model, compiled in seconds")
    arguments = parser.parse_args()
    base = TrainingShape(
        model=SMALL if arguments.small else ModelConfig(),
        vocab_size=1_000 if arguments.small else 64_000,
        batch=0,
        length=LENGTH,
        predictions=PREDICTIONS,
    )
    print(f"{base.parameters / 1e6:.1f} million parameters, {arguments.precision}, length {LENGTH}")
    bad = False
    for topology in arguments.topology:
        for batch in arguments.batch:
            shape = replace(base, batch=batch)
            generation, _, grid = topology.partition(":")
            chips = math.prod(int(side) for side in grid.split("x"))
            result = compile_step(topology, shape, arguments.precision)
            chip = CHIPS[generation]
            fits = result.bytes <= chip.hbm_bytes
            bad = bad or not fits
            cores = chips * chip.cores_per_chip if chip.counted_in_cores else chips
            guess = estimate(shape, arguments.steps, f"{generation}-{cores}", arguments.share)
            print(
                f"{topology}, batch {batch:,}: compiled in {result.seconds:.0f} s; "
                f"per chip: {result.flops:.3g} FLOPs ({shape.flops / chips:.3g} by arithmetic), "
                f"{result.bytes / 1e9:.2f} of {chip.hbm_bytes / 1e9:.1f} GB, "
                f"{'fits' if fits else 'DOES NOT FIT'}; at {arguments.share:.0%} of peak "
                f"{guess.steps_per_second:.1f} steps/s, {guess.hours:.1f} h for {arguments.steps:,} steps, "
                f"${guess.on_demand_price:,.0f} on demand, ${guess.spot_price:,.0f} spot",
                flush=True,
            )
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
