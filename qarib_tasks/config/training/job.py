"""What the training process receives."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from qarib_tasks.config.conversion import ConvertConfig, Format
from qarib_tasks.config.evaluation import EvaluateConfig, StagedTask
from qarib_tasks.config.loading import STRICT, Settings, local
from qarib_tasks.config.training.model import ModelConfig
from qarib_tasks.config.training.recipe import TrainConfig
from qarib_tasks.config.upload import CHOSEN, UploadConfig, chosen_faults

_Folder = Annotated[str, AfterValidator(partial(local, bucket="publish_to"))]
_Chosen = Annotated[str, Field(pattern=CHOSEN)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainedOn(Settings):
    """A dataset that a model was trained on, for the model card; `warnings` are about its text."""

    dataset_id: str
    examples: int
    sources: tuple[str, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainingJob(Settings):
    """Everything that the training process needs. It knows no run, no DAG and no dataset.

    `training_data` and `heldout_data` are folders (local, or gs://) of `*.tfrecord` files. The job writes
    everything below `output` and, if `publish_to` is set, to the same names below that gs:// address.
    `start_from_digest` is the digest of `train.start_from` when the run was prepared; empty: not checked.
    `left_out` names files of `training_data` to skip, whether they exist or not. `earlier_data` are more
    folders to read; their file names differ. `steps_before` are the steps that `train.start_from` was trained
    for. `trained_on` and `license` go into the model card. `tasks` are below `output`.
    """

    training_data: str
    heldout_data: str
    vocab_file: str
    output: _Folder
    publish_to: str | None = None
    earlier_data: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    # The share of the training examples whose second part is random, where the dataset's manifest has it.
    random_next_share: float | None = None
    trained_on: tuple[TrainedOn, ...] = ()
    license: str = UploadConfig.license
    cache: _Folder | None = None
    start_from_digest: str = ""
    steps_before: int = 0
    tasks: tuple[StagedTask, ...] = ()
    data_format: Format = ConvertConfig.format  # of the training data; held-out data are in pairs
    random_seed: int = ConvertConfig.random_seed
    do_lower_case: bool = ConvertConfig.do_lower_case
    max_seq_length: int = ConvertConfig.max_seq_length
    max_predictions_per_seq: int = ConvertConfig.max_predictions_per_seq
    masked_lm_prob: float = ConvertConfig.masked_lm_prob
    bert_model: _Chosen = UploadConfig.bert_model
    bert_evals: _Chosen = UploadConfig.bert_evals
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    def __post_init__(self) -> None:
        names = {"bert_model": self.bert_model, "bert_evals": self.bert_evals}
        if faults := chosen_faults(names):
            raise ValueError("; ".join(faults))
