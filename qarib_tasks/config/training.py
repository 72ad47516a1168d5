"""The settings of steps 5 and 6, training and evaluation; `config.py` joins them with those of the others."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from qarib_tasks.config.corpus import STRICT


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainConfig:
    """Step 5: the flags of google-research/bert's run_pretraining.py."""

    start_from: Annotated[
        str,
        Field(
            title="Start from",
            description="Weights to train further, by path or gs:// address: one of our model folders or "
            "checkpoints, a TF 1 BERT checkpoint, or a Hugging Face folder. Empty: from the beginning.",
        ),
    ] = ""
    train_batch_size: Annotated[
        int, Field(ge=1, title="Batch size", description="Examples a step, over all cores.")
    ] = 64
    learning_rate: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            title="Learning rate",
            description="At the end of the warm-up; it then falls linearly to 0.",
        ),
    ] = 8e-6
    train_steps: Annotated[int, Field(ge=1, title="Training steps")] = 2_000_000
    save_checkpoints_steps: Annotated[int, Field(ge=1, title="Steps between checkpoints")] = 100_000
    keep_checkpoint_max: Annotated[int, Field(ge=1, title="Checkpoints kept")] = 20
    recovery_minutes: Annotated[
        float,
        Field(
            ge=0,
            title="Minutes between recovery checkpoints",
            description="What a lost machine loses at most. One is kept beside the others; 0 for none.",
        ),
    ] = 10
    num_warmup_steps: Annotated[int, Field(ge=0, title="Warm-up steps")] = 10
    num_tpu_cores: Annotated[
        int,
        Field(
            ge=1,
            title="TPU cores",
            description="As published; the batch is divided over all devices that are there.",
        ),
    ] = 8
    shuffle_window: Annotated[
        int, Field(ge=1, title="Shuffle window", description="Examples shuffled together while reading.")
    ] = 65_536
    max_corrupt_records: Annotated[
        int,
        Field(
            ge=0,
            title="Corrupt records",
            description="Corrupt records passed over before the training stops; 0 stops at the first.",
        ),
    ] = 0
    next_sentence: Annotated[bool, Field(title="Next sentence prediction")] = True
    backend: Annotated[
        Literal["auto", "tensorflow", "jax"],
        Field(title="Backend", description="auto is jax where there is a TPU, tensorflow elsewhere."),
    ] = "auto"
    precision: Annotated[
        Literal["float32", "bfloat16"],
        Field(
            title="Precision",
            description="bfloat16 is mixed: matrix products in bfloat16, weights and the rest in float32. "
            "For TPUs; most CPUs are slower with it.",
        ),
    ] = "float32"
    xla: Annotated[
        bool,
        Field(
            title="XLA",
            description="Compile the training step: seconds at the start, then faster and with less memory. "
            "The backend jax always does.",
        ),
    ] = True

    steps_per_call: Annotated[
        int,
        Field(
            ge=1,
            le=100,
            title="Steps a call",
            description="Steps that the device runs in one go. It spares a fast device the wait for the "
            "machine's processor. Logged steps and checkpoints should be multiples of it.",
        ),
    ] = 1

    def __post_init__(self) -> None:
        if self.num_warmup_steps >= self.train_steps:
            raise ValueError(
                f"num_warmup_steps {self.num_warmup_steps} leaves nothing of train_steps {self.train_steps}"
            )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EvaluateConfig:
    """Step 6: how much of the held-out part an evaluation reads."""

    eval_batch_size: Annotated[int, Field(ge=1, title="Evaluation batch size")] = 64
    max_eval_steps: Annotated[
        int, Field(ge=1, title="Evaluation steps", description="Most batches an evaluation reads.")
    ] = 100
    fill_mask_sentences: Annotated[
        tuple[str, ...],
        Field(
            max_length=20,
            title="Sentences to fill",
            description="Each with one [MASK]; every evaluation shows the words that the model puts there.",
        ),
    ] = (
        "شو عندكم يا [MASK]",
        "قام [MASK] بزيارة المدينة",
        "السلام عليكم ورحمة [MASK] وبركاته",
        "لكل شخص الحق في [MASK]",
        "عاصمة مصر هي [MASK]",
    )

    def __post_init__(self) -> None:
        for sentence in self.fill_mask_sentences:
            if sentence.count("[MASK]") != 1:
                raise ValueError(f"fill_mask_sentences: there must be one [MASK] in {sentence!r}")
