"""Settings of the training.

Mark each setting with `MODEL` or `neither(why)`, see `config/identity.py`. The form lists it automatically.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs

from qarib_tasks.config.conversion import ExampleShape, masked_positions
from qarib_tasks.config.identity import MODEL, Identity, neither
from qarib_tasks.config.loading import STRICT, Settings

log = logging.getLogger(__name__)
# Settings of earlier versions, and what holds instead.
REMOVED = {"num_tpu_cores": "the batch is divided over all devices"}
SAVING = neither("changes how often the training is saved, not what it computes")


@cache
def log_removed(name: str) -> None:
    """Log, once per process, that a setting of an earlier version is ignored."""
    log.info("train.%s is no longer a setting and is ignored: %s", name, REMOVED[name])


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainConfig(Settings):
    """Step 5: the flags of google-research/bert's run_pretraining.py."""

    start_from: Annotated[
        str,
        Field(
            title="Start from",
            description="Path or gs:// address of the initial weights: a model folder or checkpoint of this "
            "project, a TF 1 BERT checkpoint, or a Hugging Face folder. Empty: random weights.",
        ),
        Identity("model", "its contents count, not where it is"),
    ] = ""
    start_from_optimizer: Annotated[
        bool,
        Field(
            title="Start from the optimizer's state too",
            description="Take the optimizer's averages from the checkpoint of this project that Start from "
            "names. Continue a checkpoint that wsd marks as stable in this way, without a warm-up.",
        ),
        MODEL,
    ] = False
    train_batch_size: Annotated[
        int, Field(ge=1, title="Batch size", description="Examples per step, over all devices."), MODEL
    ] = 64
    learning_rate: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            title="Learning rate",
            description="Peak value, at the end of the warm-up. The schedule says how it then decays.",
        ),
        MODEL,
    ] = 8e-6
    train_steps: Annotated[int, Field(ge=1, title="Training steps"), MODEL] = 2_000_000
    save_checkpoints_steps: Annotated[
        int,
        Field(ge=1, title="Steps between checkpoints"),
        SAVING,
    ] = 100_000
    keep_checkpoint_max: Annotated[
        int, Field(ge=1, title="Checkpoints to keep"), neither("only removes old checkpoints")
    ] = 20
    recovery_minutes: Annotated[
        float,
        Field(
            ge=0,
            title="Minutes between recovery checkpoints",
            description="The most training time that a lost machine costs. The latest recovery checkpoint "
            "is kept "
            "in addition to the others. 0: none.",
        ),
        SAVING,
    ] = 10
    num_warmup_steps: Annotated[int, Field(ge=0, title="Warm-up steps"), MODEL] = 10
    warmup_share: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            title="Warm-up share",
            description="Share of the steps to warm up in, instead of a number of steps. 0: the number.",
        ),
        MODEL,
    ] = 0.0
    schedule: Annotated[
        Literal["linear", "cosine", "wsd"],
        Field(
            title="Schedule",
            description="The learning rate after the warm-up. linear: falls to 0. cosine: falls as half a "
            "wave. wsd: stays at its peak, then falls linearly in the last steps.",
        ),
        MODEL,
    ] = "linear"
    decay_share: Annotated[
        float,
        Field(gt=0, le=1, title="Decay share", description="Of wsd: share of the steps in which it falls."),
        MODEL,
    ] = 0.2
    decay_floor: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            title="Decay floor",
            description="Of cosine and wsd: the last learning rate, as a share of the peak.",
        ),
        MODEL,
    ] = 0.0
    bias_correction: Annotated[
        bool,
        Field(title="Bias correction", description="As in Adam. BERT's optimizer has none."),
        MODEL,
    ] = False
    beta_1: Annotated[float, Field(gt=0, lt=1, title="Adam's beta 1"), MODEL] = 0.9
    beta_2: Annotated[float, Field(gt=0, lt=1, title="Adam's beta 2"), MODEL] = 0.999
    epsilon: Annotated[float, Field(gt=0, title="Adam's epsilon"), MODEL] = 1e-6
    weight_decay: Annotated[float, Field(ge=0, title="Weight decay"), MODEL] = 0.01
    clip_norm: Annotated[
        float,
        Field(ge=0, title="Clip norm", description="Largest norm of all gradients together. 0: any."),
        MODEL,
    ] = 1.0
    shuffle_window: Annotated[
        int,
        Field(
            ge=1, title="Shuffle window", description="Number of examples to shuffle together while reading."
        ),
        MODEL,
    ] = 65_536
    interleave_shards: Annotated[
        int,
        Field(
            ge=1,
            le=64,
            title="Shards read in turn",
            description="Number of shards that are read at a time, one example of each in turn. With 1, the "
            "texts of a source, whose shards are neighbours, can make up all examples of a window.",
        ),
        MODEL,
    ] = 1
    max_corrupt_records: Annotated[
        int,
        Field(
            ge=0,
            title="Corrupt records allowed",
            description="Number of corrupt records to skip before training stops. 0: stop at the first.",
        ),
        neither("changes when the training stops, not what the intact records teach"),
    ] = 0
    next_sentence: Annotated[bool, Field(title="Next sentence prediction"), MODEL] = True
    masking: Annotated[
        Literal["static", "dynamic"],
        Field(
            title="Masking",
            description="static: the masks of the examples, the same ones in each epoch. dynamic: new masks "
            "in each step. Evaluations always use those of the examples.",
        ),
        MODEL,
    ] = "static"
    masked_lm_prob: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            title="Masked share of dynamic masking",
            description="Share of an example's wordpieces to predict.",
        ),
        MODEL,
    ] = 0.15
    mask_strategy: Annotated[
        Literal["bert", "all_mask"],
        Field(
            title="Strategy of dynamic masking",
            description="bert: [MASK] replaces 80% of the wordpieces to predict and a random one 10%; the "
            "rest stays. all_mask: [MASK] replaces all of them.",
        ),
        MODEL,
    ] = "bert"
    whole_words: Annotated[
        bool,
        Field(
            title="Whole words in dynamic masking",
            description="Predict all wordpieces of a word or none.",
        ),
        MODEL,
    ] = False
    token_dropping: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            title="Token dropping",
            description="Share of an example's positions that the middle layers leave out while training, "
            "those that are easiest to predict. 0: none.",
        ),
        MODEL,
    ] = 0.0
    backend: Annotated[
        Literal["auto", "tensorflow", "jax"],
        Field(title="Backend", description="auto: jax on a TPU, tensorflow elsewhere."),
        MODEL,
    ] = "auto"
    precision: Annotated[
        Literal["float32", "bfloat16", "auto"],
        Field(
            title="Precision",
            description="bfloat16 is mixed precision: matrix products in bfloat16, weights and everything "
            "else in float32. For TPUs; slower on most CPUs. auto: bfloat16 on a TPU, float32 elsewhere.",
        ),
        MODEL,
    ] = "float32"
    xla: Annotated[
        bool,
        Field(
            title="XLA",
            description="Compile the training step. This takes seconds at the start, then steps are faster "
            "and "
            "need less memory. The jax backend always compiles.",
        ),
        MODEL,
    ] = True

    shard_optimizer: Annotated[
        bool,
        Field(
            title="Shard the optimizer",
            description="Divide the optimizer's averages over all devices instead of copying them to each. "
            "Needs less memory and time per step. Only on the jax backend.",
        ),
        neither("changes where the optimizer computes, not what"),
    ] = False
    steps_per_call: Annotated[
        int,
        Field(
            ge=1,
            le=100,
            title="Steps per call",
            description="Number of steps that the device runs per call, so that a fast device does not wait "
            "for "
            "the host. Use a divisor of the logging and checkpoint intervals.",
        ),
        neither("changes how often the device waits, not what it computes"),
    ] = 1
    accumulation_steps: Annotated[
        int,
        Field(
            ge=1,
            title="Accumulation steps",
            description="Number of equal parts in which a batch is computed, one after the other, so that it "
            "needs less memory. The gradients are added: the update is that of the batch.",
        ),
        neither("changes the memory that a step needs, not what it computes"),
    ] = 1

    @model_validator(mode="before")
    @classmethod
    def _without_removed(cls, values: Any) -> Any:
        """Ignore settings of earlier versions, so that their files stay readable."""
        given = values.kwargs if isinstance(values, ArgsKwargs) else values
        if not isinstance(given, dict):
            return values
        removed = [name for name in REMOVED if name in given]
        for name in removed:
            log_removed(name)
        return {key: value for key, value in given.items() if key not in removed} if removed else values

    @property
    def warmup_steps(self) -> int:
        """The number of warm-up steps, whichever setting gives it."""
        if not self.warmup_share:
            return self.num_warmup_steps
        return min(round(self.warmup_share * self.train_steps), self.train_steps - 1)

    @property
    def decay_steps(self) -> int:
        """The number of last steps in which the rate of the schedule wsd falls."""
        steps = max(round(self.decay_share * self.train_steps), 1)
        # Both shares are rounded: together they can be one step too many.
        fits = self.warmup_share + self.decay_share <= 1 + 1e-9
        return min(steps, self.train_steps - self.warmup_steps) if self.warmup_share and fits else steps

    @property
    def stable_step(self) -> int | None:
        """The last step of wsd before its rate falls; None with another schedule."""
        return self.train_steps - self.decay_steps if self.schedule == "wsd" else None

    def __post_init__(self) -> None:
        if self.start_from_optimizer and not self.start_from:
            raise ValueError("start_from_optimizer needs start_from")
        if self.train_batch_size % self.accumulation_steps:
            raise ValueError(
                f"train_batch_size {self.train_batch_size} is not a multiple of accumulation_steps "
                f"{self.accumulation_steps}"
            )
        if self.warmup_share and self.num_warmup_steps != TrainConfig.num_warmup_steps:
            raise ValueError(
                f"give num_warmup_steps ({self.num_warmup_steps}) or warmup_share ({self.warmup_share:g}), "
                "not both"
            )
        if self.warmup_steps >= self.train_steps:
            raise ValueError(
                f"num_warmup_steps {self.num_warmup_steps} must be less than train_steps {self.train_steps}"
            )
        if self.schedule == "wsd" and self.warmup_steps + self.decay_steps > self.train_steps:
            raise ValueError(
                f"{self.warmup_steps} steps of warm-up and {self.decay_steps} of decay (decay_share "
                f"{self.decay_share:g}) are more than train_steps {self.train_steps}"
            )
        if self.schedule != "wsd" and self.decay_share != TrainConfig.decay_share:
            raise ValueError(f"decay_share {self.decay_share:g} needs the schedule wsd")
        if self.shard_optimizer and self.backend == "tensorflow":
            raise ValueError("shard_optimizer needs the backend jax")
        if self.schedule == "linear" and self.decay_floor:
            raise ValueError(
                f"decay_floor {self.decay_floor:g} needs the schedule cosine or wsd: linear falls to 0"
            )
        if self.masking == "static":
            for name in ("masked_lm_prob", "mask_strategy", "whole_words"):
                if getattr(self, name) != getattr(TrainConfig, name):
                    raise ValueError(f"{name} needs masking: dynamic")


def predictions_of(train: TrainConfig, examples: ExampleShape) -> int:
    """Return the number of predictions of a full example in training."""
    length = examples.max_seq_length
    if train.masking == "dynamic":
        return masked_positions(length, train.masked_lm_prob, length)
    return masked_positions(length, examples.masked_lm_prob, examples.max_predictions_per_seq)


def kept_positions(train: TrainConfig, length: int) -> int:
    """Return the number of an example's positions that the middle layers compute in training."""
    return length - int(train.token_dropping * length + 1e-9)  # 0.29 * 100 is below 29
