"""What is relied on in each JSON record of ours, by which a damaged one is recognized.

A record can have other names too, which stay as they are. Earlier versions wrote fewer.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from qarib_tasks.storage.records.record import Count, Loss, Record, Score, Seconds, Share, Text


class _PlannedFile(Record):
    source: Text
    address: Text
    bytes: Count
    version: str
    sha256: str
    crc32c: str
    dataset: str


class Plan(Record):
    """`sources.json` of a dataset."""

    files: list[_PlannedFile]


TrainingState = Literal["training", "stopped", "finished"]


class Progress(Record):
    """`progress.json` of a training."""

    state: TrainingState
    step: Count
    train_steps: Count
    updated_at: str
    resumed: list[Count] = []
    evaluation: dict[str, Any] | None = None
    seconds: dict[str, Seconds] | None = None
    first: dict[str, float] | None = None


class _TaskScore(Record):
    name: str
    sha256: str
    metric: str
    value: Score
    low: Score
    high: Score
    tfidf: Score
    train_texts: Count
    test_texts: Count
    # Earlier versions did not write these.
    most_frequent: Score | None = None
    all_train_texts: Count = 0
    all_test_texts: Count = 0


class _Word(Record):
    word: str
    probability: float


class _Sentence(Record):
    text: str
    words: list[_Word]


class Evaluation(Record):
    """`evaluation-N.json` of a training."""

    step: Count
    loss: Loss
    masked_lm_loss: Loss
    masked_lm_accuracy: Share
    perplexity: Loss
    unigram_entropy: Loss
    unigram_accuracy: Share
    examples: Count
    predictions: Count
    next_sentence_loss: Loss = 0.0
    next_sentence_accuracy: Share = 0.0
    fill_mask: list[_Sentence]
    tasks: list[_TaskScore] = []


class HistoryLine(Record):
    """A line of `history.jsonl`."""

    step: Count
    loss: Loss
    masked_lm_loss: Loss = 0.0
    masked_lm_accuracy: Share = 0.0


class EndsOfHistory(HistoryLine):
    """The first and the last line, which the model card shows."""

    masked_lm_loss: Loss
    masked_lm_accuracy: Share


class _Strict(Record):
    model_config = ConfigDict(extra="forbid")


class _Position(_Strict):
    epoch: Count
    window: Count
    shard: Count
    record: Count
    offset: Count
    used: Count
    corrupt: Count
    lanes: list[tuple[Count, Count, Count]] = []


class _File(_Strict):
    name: str
    bytes: Count
    sha256: str
    crc32c: str


class CheckpointIndex(_Strict):
    """The index of a checkpoint: nothing in it is left to a default."""

    step: Count
    position: _Position
    others: list[_Position]
    model: dict[str, Any]
    figures: list[dict[str, float]]
    started_from: list[_File]
    updates_before: Count = 0
    recovery: bool
    stable: bool = False
    state: _File
    format: Count


class _Rate(_Strict):
    rate: Share
    development: Score
    loss: Loss | None


class FinetuningResult(Record):
    """`SEED.json` of a fine-tuning on a task."""

    task: str
    sha256: str
    seed: Count
    metric: str
    rate: Share
    rates: list[_Rate]
    value: Score
    low: Score
    high: Score
    predicted: list[Count]
    labels: list[str]
    confusion: list[list[Count]] = []
    test_texts: Count


class _SeedScore(Record):
    seed: Count
    rate: Share
    value: Score
    low: Score
    high: Score


class _FinetunedTask(Record):
    name: str
    metric: str
    sha256: str
    labels: list[str]
    mean: Score | None
    sd: Loss | None
    seeds: list[_SeedScore]
    missing: list[Count]
    most_frequent: Score
    tfidf: Score
    tfidf_low: Score
    tfidf_high: Score
    test_texts: Count


class FinetuningTable(Record):
    """`tasks.json` of a model's fine-tunings."""

    tasks: list[_FinetunedTask]


class _Outcome(_Rate):
    predicted: list[Count]


class RateOutcome(Record):
    """A working file of a fine-tuning: the result of one rate."""

    key: str
    outcome: _Outcome


class WorkerReport(Record):
    """`worker-N.json`: what a worker of a TPU reports."""

    state: Literal["running", "succeeded", "failed", "stopped", "preempted", "other_ended"]
    mark: str
    message: str


class _Loss(Record):
    masked_lm_loss: Loss


class _JudgedModel(_Strict):
    """As `registry.comparison.JudgedModel`."""

    model_id: str
    dataset_id: str
    address: str
    evaluation: _Loss
    heldout: str
    total_steps: Count
    trained_from: str = ""
    state: Literal["promoted", "candidate"] = "candidate"
    reason: str = ""
    judged_at: str = ""


class _Month(Record):
    state: Literal["running", "trained", "nothing new"]
    run: str = ""
    why: str = ""


class _PromotedOfPreset(Record):
    promoted: str | None = None
    judged: list[_JudgedModel] = []
    months: dict[str, _Month] = {}


class PromotedModels(Record):
    """`promoted.json`."""

    presets: dict[str, _PromotedOfPreset] = {}


class ProcessRecord(Record):
    """`NAME.process.json` of work on this machine, see `machines.local`; `pid` is 0 if it is not known."""

    model_config = ConfigDict(extra="forbid")
    pid: Annotated[int, Field(ge=0, lt=2**31)]
    started: Count
    log_start: Count
    exit_status: Annotated[int, Field(ge=-255, le=255)] | None = None
    reason: str | None = None
