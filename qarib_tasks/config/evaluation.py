"""Settings of the evaluations and of labelled tasks, which show what a model is good for."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.config.identity import neither
from qarib_tasks.config.loading import STRICT, Settings
from qarib_tasks.config.reading import (
    Compression,
    Delimiter,
    Encoding,
    EncodingErrors,
    Escape,
    Format,
    Header,
    Member,
    MostBytes,
    MostExpansion,
    MostMembers,
    MostRows,
    Quoting,
    SkipAtMost,
    UndecodableShare,
    check_reading,
)

# Settings that an evaluation depends on, in addition to the model and the held-out examples.
MEASURED_WITH = ("eval_batch_size", "max_eval_steps")
MEASURE = neither("measures the model without changing it")
# The number of a column needs no quotes.
TEXT_OF_NUMBER = BeforeValidator(lambda value: str(value) if type(value) is int else value)
_READING = (
    *("format", "compression", "encoding", "encoding_errors", "undecodable_share", "delimiter", "quoting"),
    *("escape", "header", "member", "skip_at_most", "most_expansion", "most_bytes", "most_members"),
    "most_rows",
)
# Tasks that the corpus gives. The pattern of a name excludes the @, so no task of a user has such a name.
SOURCE, EMOJI = "source@corpus", "emoji@corpus"
FREE_TASKS = (SOURCE, EMOJI)
Metric = Literal["macro_f1", "accuracy", "f1_pn"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TaskConfig(Settings):
    """One labelled task: where its texts and labels are, and how a model is scored on it."""

    name: Annotated[str, Field(pattern=r"^[\w-][\w.-]*$", max_length=60, title="Name"), MEASURE]
    train: Annotated[
        str,
        Field(
            min_length=1,
            title="Training texts",
            description="Path of a file or folder, or glob; gs://bucket/…, the same; http:// or https:// "
            "address.",
        ),
        MEASURE,
    ]
    test: Annotated[
        str,
        Field(
            title="Test texts",
            description="The same, for the texts that a model is scored on. Empty: a share of the training "
            "texts.",
        ),
        MEASURE,
    ] = ""
    test_share: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            title="Test share",
            description="Share of the training texts to hold out as test texts, selected by a hash of the "
            "text, if there are no test texts of their own.",
        ),
        MEASURE,
    ] = 0.2
    text: Annotated[
        str,
        Field(
            min_length=1,
            title="Text field",
            description="JSON field, column, or number of a column that holds the text.",
        ),
        TEXT_OF_NUMBER,
        MEASURE,
    ] = "text"
    label: Annotated[
        str,
        Field(
            min_length=1,
            title="Label field",
            description="JSON field, column, or number of a column that holds the label.",
        ),
        TEXT_OF_NUMBER,
        MEASURE,
    ] = "label"
    metric: Annotated[
        Metric,
        Field(
            title="Metric",
            description="macro_f1: mean of the F1 scores of all labels. f1_pn: mean of the F1 scores of the "
            "positive and the negative label.",
        ),
        MEASURE,
    ] = "macro_f1"
    positive: Annotated[
        str, Field(title="Positive label", description="For the metric f1_pn."), TEXT_OF_NUMBER, MEASURE
    ] = ""
    negative: Annotated[
        str, Field(title="Negative label", description="For the metric f1_pn."), TEXT_OF_NUMBER, MEASURE
    ] = ""
    limit: Annotated[
        int,
        Field(
            ge=0,
            title="Limit",
            description="Maximum number of training texts and of test texts, selected by a hash of the text. "
            "0: no limit.",
        ),
        MEASURE,
    ] = 0
    format: Annotated[Format, MEASURE] = "auto"
    compression: Annotated[Compression, MEASURE] = "auto"
    encoding: Annotated[Encoding, MEASURE] = "auto"
    encoding_errors: Annotated[EncodingErrors, MEASURE] = "strict"
    undecodable_share: Annotated[UndecodableShare, MEASURE] = 0.0001
    delimiter: Annotated[Delimiter, MEASURE] = "auto"
    quoting: Annotated[Quoting, MEASURE] = "auto"
    escape: Annotated[Escape, MEASURE] = ""
    header: Annotated[Header, MEASURE] = True
    member: Annotated[Member, MEASURE] = ""
    skip_at_most: Annotated[SkipAtMost, MEASURE] = 0
    most_expansion: Annotated[MostExpansion, MEASURE] = 200
    most_bytes: Annotated[MostBytes, MEASURE] = 1 << 40
    most_members: Annotated[MostMembers, MEASURE] = 1_000_000
    most_rows: Annotated[MostRows, MEASURE] = 10_000_000_000

    def __post_init__(self) -> None:
        check_reading(self)
        named = bool(self.positive), bool(self.negative)
        if named != (self.metric == "f1_pn",) * 2:
            raise ValueError("set both `positive` and `negative` for the metric f1_pn, and only for it")
        if self.positive and self.positive.casefold().split() == self.negative.casefold().split():
            raise ValueError("positive and negative are the same label")
        if self.text == self.label:
            raise ValueError("text and label are the same field")

    def source(self, path: str) -> LabelledSource:
        """Return one of the task's two addresses as a source of labelled texts."""
        settings: dict[str, Any] = {name: getattr(self, name) for name in _READING}
        return LabelledSource(
            name=self.name, path=path, field=self.text, document="group", group=self.label, **settings
        )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LabelledSource(SourceConfig):
    """A source that is read as records of a text and a label, its grouping field."""

    takes_empty: ClassVar[bool] = True
    text_setting: ClassVar[str] = "text"
    group_setting: ClassVar[str] = "label"
    without_fields: ClassVar[tuple[str, str]] = (
        "labelled texts must be records with fields",
        "Use JSON Lines, CSV, TSV, Parquet or Arrow, or correct `format`",
    )


@dataclass(frozen=True, kw_only=True, config=STRICT)
class StagedTask(Settings):
    """A task that was read and checked, as the training process gets it: `tasks/<name>.jsonl`.

    `sha256` is the file's checksum. `left_out` is the number of documents that contain a test text and were
    left out of the training text, `contaminated` that of those which are in it; None: not known.
    """

    name: str
    sha256: str
    left_out: int = 0
    contaminated: int | None = None


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EvaluateConfig(Settings):
    """Step 6: what an evaluation reads and shows."""

    eval_batch_size: Annotated[int, Field(ge=1, title="Evaluation batch size"), MEASURE] = 64
    max_eval_steps: Annotated[
        int,
        Field(ge=1, title="Evaluation steps", description="Maximum number of batches per evaluation."),
        MEASURE,
    ] = 100
    fill_mask_sentences: Annotated[
        tuple[str, ...],
        Field(
            max_length=20,
            title="Sentences to fill",
            description="Sentences with one [MASK] each. Every evaluation shows the words that the model "
            "predicts. At an open end, most models predict a full stop: write the sentence's own.",
        ),
        MEASURE,
    ] = (
        "شو عندكم يا [MASK]؟",
        "قام [MASK] بزيارة المدينة",
        "السلام عليكم ورحمة [MASK] وبركاته",
        "لكل شخص الحق في [MASK].",
        "عاصمة مصر هي [MASK].",
    )
    tasks: Annotated[
        tuple[TaskConfig, ...],
        Field(
            title="Labelled tasks",
            description="Files of texts with labels. Every evaluation scores the model on them.",
        ),
        MEASURE,
    ] = ()
    probe_seconds: Annotated[
        float,
        Field(
            gt=0,
            title="Seconds per evaluation for tasks",
            description="Time limit for all tasks together. If it is short, the model is scored on fewer "
            "texts, and the result says on how many.",
        ),
        MEASURE,
    ] = 60.0
    free_tasks: Annotated[
        bool,
        Field(
            title="Tasks from the corpus",
            description="Also score the model on tasks that the held-out part of the corpus gives without "
            "labels: which source a line is from, and which emoji was removed from it.",
        ),
        MEASURE,
    ] = True
    finetune: Annotated[
        bool,
        Field(
            title="Fine-tune on tasks",
            description="Fine-tune the finished model on each labelled task, if there are any. This takes "
            "much longer than the evaluations.",
        ),
        MEASURE,
    ] = True
    finetune_seeds: Annotated[
        int,
        Field(
            ge=1,
            le=100,
            title="Fine-tunings per task",
            description="Number of fine-tunings with different random seeds. The result is their mean.",
        ),
        MEASURE,
    ] = 5

    def __post_init__(self) -> None:
        names = [task.name for task in self.tasks]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"tasks: duplicate name {', '.join(map(repr, twice))}")
        for sentence in self.fill_mask_sentences:
            if sentence.count("[MASK]") != 1:
                raise ValueError(f"fill_mask_sentences: there must be one [MASK] in {sentence!r}")
