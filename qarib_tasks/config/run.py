"""The settings of a run: frozen dataclasses, validated when they are made.

The defaults are the numbers that QARiB's authors published; `presets.py` holds the named departures from
them. A field's title, help and limits stand here once: the trigger form in Airflow's UI, the command line
and the error messages all read them from here.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from qarib_tasks.config.conversion import ConvertConfig, SplitConfig
from qarib_tasks.config.corpus import CollectConfig
from qarib_tasks.config.identity import DATASET, Identity, neither
from qarib_tasks.config.loading import STRICT
from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.config.training import EvaluateConfig, ModelConfig, TrainConfig
from qarib_tasks.config.upload import UploadConfig
from qarib_tasks.config.vocabulary import VocabConfig


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RunConfig:
    """Everything that a run is asked to do. `preset` is a name only: the values are already resolved."""

    workspace: Annotated[
        str,
        Field(min_length=1, title="Workspace", description="Folder that the run works in."),
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
            pattern=r"^$|^[a-z0-9_]+-[0-9a-f]{10}$",
            title="Extends",
            description="Dataset that is trained on too. Of the sources only files that it lacks are "
            "collected; its vocabulary and the settings of its steps are kept.",
        ),
        DATASET,
    ] = ""
    promotion_margin: Annotated[
        float,
        Field(
            ge=0,
            title="Promotion margin",
            description="Nats that the masked-LM loss on the held-out part may be above that of the promoted "
            "model for a new one to take its place.",
        ),
        neither("judges the model without changing it"),
    ] = 0.02
    collect: CollectConfig = CollectConfig()
    vocab: VocabConfig = VocabConfig()
    split: SplitConfig = SplitConfig()
    convert: ConvertConfig = ConvertConfig()
    upload: UploadConfig = UploadConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    tpu: TpuConfig = TpuConfig()

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
                f"vocab.placeholders {self.vocab.placeholders} and 5 special tokens leave nothing of "
                f"vocab.vocab_size {self.vocab.vocab_size}"
            )
        names = [source.name for source in self.collect.sources]
        faults += [
            f"collect.sources: the name {n!r} is used twice" for n in sorted(set(names)) if names.count(n) > 1
        ]
        if faults:
            raise ValueError("; ".join(faults))
