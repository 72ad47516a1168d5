"""Small pre-training examples and labelled tasks for the tests of the trainer."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from qarib_tasks.config.evaluation import EvaluateConfig
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.config.training.model import ModelConfig
from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.labelled.staged import write_task
from qarib_tasks.labelled.task import LabelledPart, LabelledTask
from qarib_tasks.layout import ModelLayout
from qarib_tasks.storage.tfrecord import frame

LENGTH = 16
PREDICTIONS = 6  # places; at 15% of 16 only 2 are ever used
USED = 2
TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{number}" for number in range(59))]


def example(random: np.random.Generator) -> bytes:
    """A serialized example whose wordpieces follow one another by a rule that can be learnt."""
    length = int(random.integers(8, LENGTH + 1))
    ids = (5 + (random.integers(0, 59) + np.arange(length)) % 59).astype(int)
    ids[0], ids[-1] = 2, 3
    positions = np.sort(random.choice(np.arange(1, length - 1), USED, replace=False))
    labels = ids[positions].tolist()
    ids[positions] = 4
    half = length // 2

    def pad(values: list[int], size: int) -> list[int]:
        return values + [0] * (size - len(values))

    features = {
        "input_ids": pad(ids.tolist(), LENGTH),
        "input_mask": pad([1] * length, LENGTH),
        "segment_ids": pad([0] * half + [1] * (length - half), LENGTH),
        "masked_lm_positions": pad(positions.tolist(), PREDICTIONS),
        "masked_lm_ids": pad(labels, PREDICTIONS),
        "next_sentence_labels": [int(random.integers(0, 2))],
    }
    result = tf.train.Example()
    for name, values in features.items():
        result.features.feature[name].int64_list.value.extend(values)
    weights = [1.0] * USED + [0.0] * (PREDICTIONS - USED)
    result.features.feature["masked_lm_weights"].float_list.value.extend(weights)
    return bytes(result.SerializeToString())


def write_shard(path: Path, records: list[bytes], *, compressed: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = b"".join(frame(record) for record in records)
    path.write_bytes(gzip.compress(data, mtime=0) if compressed else data)


def make_job(folder: Path, *, examples: tuple[int, ...] = (90, 70, 50), **train: object) -> TrainingJob:
    """A job of a few seconds, its shards and its vocabulary written below `folder`."""
    random = np.random.default_rng(1)
    for number, count in enumerate(examples):
        shard = folder / "pretraining_data" / f"shard_{number:04}.tfrecord"
        write_shard(shard, [example(random) for _ in range(count)], compressed=number == 1)
    write_shard(folder / "heldout" / "shard_0000.tfrecord", [example(random) for _ in range(50)])
    (folder / "vocab.txt").write_text("".join(token + "\n" for token in TOKENS))
    settings: dict[str, object] = {
        "train_batch_size": 8,
        "learning_rate": 1e-3,
        "train_steps": 12,
        "num_warmup_steps": 2,
        "save_checkpoints_steps": 4,
        "shuffle_window": 64,
        "keep_checkpoint_max": 3,
        "xla": False,  # compiling takes longer than these few steps
    }
    return TrainingJob(
        training_data=str(folder / "pretraining_data"),
        heldout_data=str(folder / "heldout"),
        vocab_file=str(folder / "vocab.txt"),
        output=str(folder / "models" / "small"),
        max_seq_length=LENGTH,
        max_predictions_per_seq=PREDICTIONS,
        model=ModelConfig(
            num_hidden_layers=1,
            hidden_size=16,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=32,
        ),
        train=TrainConfig(**(settings | train)),  # type: ignore[arg-type]
        evaluate=EvaluateConfig(eval_batch_size=16, max_eval_steps=3),
    )


def words_task(name: str, *, train: int = 300, test: int = 200, seed: int = 3) -> LabelledTask:
    """Which half of twelve words has most of a text's words? A fifth of the answers are wrong."""
    random = np.random.default_rng(seed)

    def part(count: int) -> LabelledPart:
        texts, labels = [], []
        for _ in range(count):
            words = random.integers(0, 12, random.integers(1, 30))
            texts.append(" ".join(f"w{word}" for word in words))
            labels.append(int((words < 6).mean() < 0.5) if random.random() < 0.8 else random.integers(0, 2))
        return LabelledPart(tuple(texts), tuple(map(int, labels)))

    return LabelledTask(
        name=name, metric="macro_f1", labels=("first", "second"), train=part(train), test=part(test)
    )


def with_tasks(job: TrainingJob, *tasks: LabelledTask) -> TrainingJob:
    """Write the tasks into the model's folder; the job with them."""
    layout = ModelLayout(Path(job.output), job)
    return replace(job, tasks=tuple(write_task(task, layout.task(task.name)) for task in tasks))
