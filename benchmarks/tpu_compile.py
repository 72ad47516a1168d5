"""Compile the training step for TPUs, ahead of time and without a TPU.

    python benchmarks/tpu_compile.py [--modern] [--divided] [--topology v5e:2x4 …] [--batch 64 …]

Needs jax and libtpu (requirements/tpu_compile.in), but no special machine. The step is the one that
`qarib train` runs on JAX with `train.precision: bfloat16`, with the published shape unless you use --small.
With --modern, it is that of packed rows: attention within a document, 30% of the wordpieces masked in the
step, no next sentence, no dropout, bias correction. With --modern or --divided, each is compiled with the
optimizer's state copied to every chip, and divided over them.

For each topology and batch, prints the floating-point operations and bytes of memory of one chip's program
according to the TPU's compiler, how much of these the optimizer's state is, the operations that the model
needs by arithmetic (`qarib_tasks.machines.chips`), and whether the program fits in the chip's memory; the
bytes that each chip sends to others in a step, from the text of the compiled program, beside those of the
formula of the estimates (`exchanged_bytes` in `qarib_tasks.machines.planning.estimate`); and, by arithmetic,
the steps per second, the hours and the price of --steps at --share of the chips' peak.
The compiler's `optimal_seconds` is not printed, because it is inaccurate. The exit status is 1 if a program
does not fit or does not compile.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import re
import sys
import time
from dataclasses import dataclass, replace

from qarib_tasks.config.conversion import masked_positions
from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.config.training.model import ModelConfig
from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.machines.chips import CHIPS, TrainingShape
from qarib_tasks.machines.planning.estimate import exchanged_bytes, step_time
from qarib_tasks.machines.planning.text import span

LENGTH, PREDICTIONS = 64, 10
MODERN_SHARE = 0.3  # of the wordpieces masked
SMALL = ModelConfig(
    num_hidden_layers=2,
    hidden_size=128,
    num_attention_heads=2,
    intermediate_size=512,
    max_position_embeddings=64,
)


@dataclass(frozen=True)
class Compiled:
    """One chip's program: operations, peak bytes of memory, those of the optimizer's state, and seconds.

    Attributes:
        sent: bytes that the chip sends to other chips.
    """

    flops: float
    bytes: int
    state: int
    seconds: float
    sent: float


# An operation that all devices do together, in the text of a program, with the shape of its result.
_COLLECTIVE = re.compile(r" = (\(.*?\)|\S+) (all-reduce|reduce-scatter|all-gather|all-to-all)\(")
_ARRAY = re.compile(r"\b(pred|[a-z]+)(\d*)\[([\d,]*)\]")


def sent_bytes(program: str, devices: int) -> float:
    """Return the bytes that a device sends in a program, as rings do all its operations over devices.

    Args:
        program: the compiler's text of one device's program.
    """
    ring, total = (devices - 1) / devices, 0.0
    computation, counted = "", set()
    for line in program.splitlines():
        if line.startswith(("%", "ENTRY")):
            computation = line.split(" ", 1)[0]
        found = _COLLECTIVE.search(line)
        if not found:
            continue
        # An operation that runs beside others is in the text of each of them.
        channel = re.search(r"channel_id=(\d+)", line)
        if "chain_id=" in line and channel:
            if channel[1] in counted:
                continue
            counted.add(channel[1])
        size = 0
        for kind, bits, sides in _ARRAY.findall(found[1]):
            width = 1 if kind == "pred" else int(bits) // 8
            size += width * math.prod(int(side) for side in sides.split(",") if side)
        times = {"all-reduce": 2 * ring, "reduce-scatter": devices - 1}.get(found[2], ring)
        # The TPU's form of a reduce-scatter, whose own part is taken from the result.
        if computation.startswith("%all-reduce-scatter"):
            times = ring
        total += times * size
    return total


def compile_step(topology: str, shape: TrainingShape, config: TrainConfig) -> Compiled:
    """Compile the training step for a topology such as "v5e:2x4"."""
    prepare()
    import numpy as np
    from jax.experimental import topologies

    from qarib_tasks.train.model.bert import PretrainingBert
    from qarib_tasks.train.model.positions.masking import Masking
    from qarib_tasks.train.model.steps_jax import JaxSteps

    modern = config.masking == "dynamic"
    model = PretrainingBert(
        shape.model, shape.vocab_size, next_sentence=config.next_sentence, precision=config.precision
    )
    masking = None
    if modern:
        counts = [masked_positions(real, config.masked_lm_prob, LENGTH) for real in range(LENGTH + 1)]
        entries = np.arange(shape.vocab_size, dtype=np.int32)
        masking = Masking(np.array(counts, np.int32), entries, mask=4, special=(2, 3))
    devices = topologies.get_topology_desc(topology, platform="tpu").devices
    steps = JaxSteps(model, config, seed=0, devices=devices, masking=masking)
    words, places = (shape.length,), (shape.predictions,)
    layout = (
        *((("documents", words),) if modern else ()),
        ("input_ids", words),
        ("input_mask", words),
        ("masked_lm_ids", places),
        ("masked_lm_positions", places),
        ("masked_lm_weights", places),
        ("next_sentence_labels", ()),
        *(() if modern else (("segment_ids", words),)),
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
    columns = sum(math.prod(sizes) for _, sizes in layout)
    weights = sum(math.prod(variable.shape) for variable in steps.variables.values())
    state = memory.argument_size_in_bytes - 4 * weights - 4 * columns * shape.batch // len(devices)
    seconds = time.monotonic() - started
    sent = sent_bytes(compiled.as_text(), len(devices))
    return Compiled(compiled.cost_analysis()["flops"], held, state, seconds, sent)


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
    parser.add_argument("--modern", action="store_true", help="packed rows, masks drawn in the step")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--steps", type=int, default=2_000_000)
    parser.add_argument(
        "--share", type=float, default=TpuConfig.share_of_peak, help="of the peak (default %(default)s)"
    )
    parser.add_argument("--divided", action="store_true", help="also with a divided optimizer")
    parser.add_argument("--small", action="store_true", help="a small model, compiled in seconds")
    arguments = parser.parse_args()
    base = TrainingShape(
        model=SMALL if arguments.small else ModelConfig(),
        vocab_size=1_000 if arguments.small else 64_000,
        batch=0,
        length=LENGTH,
        predictions=masked_positions(LENGTH, MODERN_SHARE, LENGTH) if arguments.modern else PREDICTIONS,
    )
    if arguments.modern:
        none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        base = replace(base, model=replace(base.model, **none))
    print(f"{base.parameters / 1e6:.1f} million parameters, {arguments.precision}, length {LENGTH}")
    bad = False
    ways = (False, True) if arguments.modern or arguments.divided else (False,)
    for topology in arguments.topology:
        for batch, divided in itertools.product(arguments.batch, ways):
            shape = replace(base, batch=batch, precision=arguments.precision, shard_optimizer=divided)
            config = TrainConfig(
                train_batch_size=batch, backend="jax", precision=arguments.precision, shard_optimizer=divided
            )
            if arguments.modern:
                config = replace(
                    config,
                    masking="dynamic",
                    masked_lm_prob=MODERN_SHARE,
                    next_sentence=False,
                    bias_correction=True,
                )
            generation, _, grid = topology.partition(":")
            chips = math.prod(int(side) for side in grid.split("x"))
            result = compile_step(topology, shape, config)
            chip = CHIPS[generation]
            fits = result.bytes <= chip.hbm_bytes
            bad = bad or not fits
            cores = chips * chip.cores_per_chip if chip.counted_in_cores else chips
            step = step_time(shape, f"{generation}-{cores}", arguments.share)
            hours = step.seconds.times(arguments.steps / 3600)
            formula = exchanged_bytes(shape, chips * chip.devices).high
            print(
                f"{topology}, batch {batch:,}{', divided optimizer' * divided}: "
                f"compiled in {result.seconds:.0f} s; "
                f"per chip: {result.flops:.3g} FLOPs ({shape.flops / chips:.3g} by arithmetic), "
                f"{result.bytes / 1e9:.2f} of {chip.hbm_bytes / 1e9:.1f} GB "
                f"({result.state / 1e6:,.1f} MB of it the optimizer's state), "
                f"{'fits' if fits else 'DOES NOT FIT'}; "
                f"sends {result.sent / 1e6:,.1f} MB per step ({formula / 1e6:,.1f} by arithmetic); "
                f"at {arguments.share:.0%} of peak "
                f"{1 / step.seconds.high:.1f} to {1 / step.seconds.low:.1f} steps/s, "
                f"{span(hours, '.1f')} h for {arguments.steps:,} steps, "
                f"${span(hours.times(chips * chip.on_demand), ',.0f')} on demand, "
                f"${span(hours.times(chips * chip.spot), ',.0f')} spot",
                flush=True,
            )
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
