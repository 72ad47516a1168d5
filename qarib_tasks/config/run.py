"""The settings of a run: frozen dataclasses, validated at construction.

The defaults are the numbers that QARiB's authors published; `presets.py` holds named sets of other values.
Each field states its title, help text and limits. The trigger form in the Airflow UI, the command line and
the error messages read them from the field.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs

from qarib_tasks.config.conversion import ConvertConfig, SplitConfig
from qarib_tasks.config.corpus import CollectConfig
from qarib_tasks.config.evaluation import EvaluateConfig
from qarib_tasks.config.identity import DATASET, Identity, neither
from qarib_tasks.config.loading import STRICT, Settings, local, to_dict
from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.config.training.model import ModelConfig
from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.config.training.usual import dropping_faults, packed_faults
from qarib_tasks.config.upload import UploadConfig
from qarib_tasks.config.vocabulary import VocabConfig
from qarib_tasks.layout import ID

MARGIN = "promotion_margin"
JUDGE = neither("judges the model without changing it")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PromotionConfig(Settings):
    """What a new model is compared by with the promoted model, which it replaces if it is not worse."""

    promote_by: Annotated[
        Literal["loss", "task", "both"],
        Field(
            title="Promote by",
            description="loss: the masked-LM loss on the held-out part. task: the probe of a task. both: a "
            "model must be worse in neither.",
        ),
        JUDGE,
    ] = "loss"
    promote_task: Annotated[
        str,
        Field(
            title="Task to promote by",
            description="Its name: a labelled task, or one that the corpus gives, such as source@corpus. "
            "Empty: the labelled task, if there is only one.",
        ),
        JUDGE,
    ] = ""
    promotion_margin: Annotated[
        float,
        Field(
            ge=0,
            title="Promotion margin",
            description="How far, in nats, the masked-LM loss of a new model on the held-out part may exceed "
            "that of the promoted model for the new model to replace it.",
        ),
        JUDGE,
    ] = 0.02
    task_margin: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            title="Margin of the task",
            description="How far the task's metric, from 0 to 1, of a new model may fall below that of the "
            "promoted model for the new model to replace it.",
        ),
        JUDGE,
    ] = 0.0
    below_baseline: Annotated[
        Literal["keep", "promote"],
        Field(
            title="Below the baseline",
            description="What to do with a model whose probe of the task to promote by is below TF-IDF. "
            "keep: do not promote it. promote: compare it with the promoted model all the same.",
        ),
        JUDGE,
    ] = "keep"
    approval: Annotated[
        Literal["never", "worse", "always"],
        Field(
            title="Approval",
            description="Whether a person must approve a promotion in Airflow. never: the figures decide. "
            "worse: a person is asked about a model that the figures would not promote. always: about every "
            "model.",
        ),
        JUDGE,
    ] = "never"
    approval_hours: Annotated[
        float,
        Field(
            gt=0,
            le=24 * 90,
            title="Hours to approve",
            description="Hours to wait for an answer; without one, the model stays a candidate.",
        ),
        JUDGE,
    ] = 72.0


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RunConfig(Settings):
    """All settings of a run. `preset` is only a name: its values are already resolved."""

    workspace: Annotated[
        str,
        Field(min_length=1, title="Workspace", description="Folder for the files of the run."),
        AfterValidator(partial(local, bucket="upload.bucket")),
        neither("changes where files are, not what is in them"),
    ]
    preset: Annotated[
        str,
        Field(pattern=r"^[a-z0-9_]+$", title="Preset"),
        Identity("dataset", "is the first part of both names"),
    ] = "custom"
    extends: Annotated[
        str,
        Field(
            pattern=f"^$|^{ID}$",
            title="Extends",
            description="Existing dataset to extend. Only source files that it does not contain are "
            "collected. "
            "Its vocabulary and the settings of its steps stay the same.",
        ),
        DATASET,
    ] = ""
    partition: Annotated[
        str,
        Field(
            pattern=r"^$|^[0-9]{4}-(0[1-9]|1[0-2])$",
            title="Partition",
            description="The month whose files the dataset is made from, such as 2026-10. The dataset's "
            "manifest names it.",
        ),
        neither("says which month the files are of, not what is in them"),
    ] = ""
    collect: CollectConfig = CollectConfig()
    vocab: VocabConfig = VocabConfig()
    split: SplitConfig = SplitConfig()
    convert: ConvertConfig = ConvertConfig()
    upload: UploadConfig = UploadConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    promotion: PromotionConfig = PromotionConfig()
    tpu: TpuConfig = TpuConfig()

    @model_validator(mode="before")
    @classmethod
    def _with_former_margin(cls, values: Any) -> Any:
        """Accept `promotion_margin` where earlier versions had it."""
        given = values.kwargs if isinstance(values, ArgsKwargs) else values
        if not isinstance(given, dict) or MARGIN not in given:
            return values
        rest = {key: value for key, value in given.items() if key != MARGIN}
        own = rest.get("promotion", {})
        own = to_dict(own) if isinstance(own, PromotionConfig) else own
        if not isinstance(own, dict):
            return values
        return {**rest, "promotion": {**own, MARGIN: given[MARGIN]}}

    def __post_init__(self) -> None:
        faults = []
        if self.convert.max_seq_length > self.model.max_position_embeddings:
            faults.append(
                f"convert.max_seq_length {self.convert.max_seq_length} is above "
                f"model.max_position_embeddings {self.model.max_position_embeddings}"
            )
        if self.convert.max_predictions_per_seq > self.convert.max_seq_length:
            faults.append(
                f"convert.max_predictions_per_seq {self.convert.max_predictions_per_seq} is above "
                f"convert.max_seq_length {self.convert.max_seq_length}"
            )
        if self.vocab.placeholders + 5 >= self.vocab.vocab_size:
            faults.append(
                f"vocab.vocab_size {self.vocab.vocab_size} has no room for words beside "
                f"vocab.placeholders {self.vocab.placeholders} and 5 special tokens"
            )
        faults += packed_faults(self.convert.format, self.train)
        faults += dropping_faults(self.train, self.model, self.convert)
        names = [source.name for source in self.collect.sources]
        faults += [f"collect.sources: duplicate name {n!r}" for n in sorted(set(names)) if names.count(n) > 1]
        if faults:
            raise ValueError("; ".join(faults))
