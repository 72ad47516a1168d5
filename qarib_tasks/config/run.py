"""The settings of a run: frozen dataclasses, validated when they are made.

The defaults are the numbers that QARiB's authors published; `presets.py` holds the named departures from
them. A field's title, help and limits stand here once: the trigger form in Airflow's UI, the command line
and the error messages all read them from here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

import yaml
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from qarib_tasks.config.corpus import STRICT as _STRICT
from qarib_tasks.config.corpus import CollectConfig as CollectConfig
from qarib_tasks.config.corpus import SourceConfig as SourceConfig
from qarib_tasks.config.corpus import VocabConfig as VocabConfig
from qarib_tasks.config.tpu import TpuConfig as TpuConfig
from qarib_tasks.config.training import EvaluateConfig as EvaluateConfig
from qarib_tasks.config.training import TrainConfig as TrainConfig
from qarib_tasks.config.upload import UploadConfig as UploadConfig
from qarib_tasks.errors import ConfigError, InputError

T = TypeVar("T")
# The compiled one, where PyYAML has it: each task of a shard reads its run's settings.
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class SplitConfig:
    """Step 2: `data.txt` to `shards/shard_0000` …, as GNU `split -a 4 -l N -d`."""

    shard_lines: Annotated[int, Field(ge=1, title="Lines a shard")] = 512_000


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ConvertConfig:
    """Step 3: a shard to TFRecords, the flags of google-research/bert's create_pretraining_data.py."""

    max_seq_length: Annotated[
        int,
        Field(
            ge=8,
            le=4096,
            title="Sequence length",
            description="Wordpieces an example, [CLS] and [SEP] included.",
        ),
    ] = 64
    max_predictions_per_seq: Annotated[
        int,
        Field(
            ge=1,
            title="Predictions a sequence",
            description="Most wordpieces of an example that may be masked.",
        ),
    ] = 20
    masked_lm_prob: Annotated[
        float, Field(gt=0, lt=1, title="Masked share", description="Share of the wordpieces that are masked.")
    ] = 0.15
    random_seed: Annotated[
        int,
        Field(
            ge=0,
            title="Random seed",
            description="The one seed of the run: masking, shuffles, held-out choice, initial weights.",
        ),
    ] = 34
    dupe_factor: Annotated[
        int,
        Field(
            ge=1,
            le=100,
            title="Duplicates",
            description="Times the text is used, each time masked differently.",
        ),
    ] = 5
    short_seq_prob: Annotated[
        float,
        Field(
            ge=0, le=1, title="Short sequences", description="Share of the examples made shorter on purpose."
        ),
    ] = 0.1
    do_lower_case: Annotated[
        bool,
        Field(
            title="Lower case", description="Lower-case Latin letters and strip diacritics and hamzas (NFD)."
        ),
    ] = True
    do_whole_word_mask: Annotated[
        bool, Field(title="Mask whole words", description="Mask all wordpieces of a word together.")
    ] = False
    random_seed_per_shard: Annotated[
        bool,
        Field(
            title="A seed a shard",
            description="Derive each shard's seed from the random seed and the shard's name. "
            "Without it all shards draw the same random numbers, as published.",
        ),
    ] = False
    compression: Annotated[
        Literal["none", "gzip"],
        Field(title="Compression", description="Of the TFRecord files; gzip makes them 3.5 times smaller."),
    ] = "none"


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class ModelConfig:
    """The shape of the BERT; with the vocabulary's size it is `bert_config.json`."""

    num_hidden_layers: Annotated[int, Field(ge=1, title="Layers")] = 12
    hidden_size: Annotated[int, Field(ge=1, title="Hidden size")] = 768
    num_attention_heads: Annotated[int, Field(ge=1, title="Attention heads")] = 12
    intermediate_size: Annotated[int, Field(ge=1, title="Intermediate size")] = 3072
    max_position_embeddings: Annotated[
        int, Field(ge=8, title="Positions", description="Longest sequence the model can ever read.")
    ] = 512
    type_vocab_size: Annotated[int, Field(ge=2, title="Segment types")] = 2
    hidden_act: Annotated[Literal["gelu"], Field(title="Activation")] = "gelu"
    hidden_dropout_prob: Annotated[float, Field(ge=0, lt=1, title="Hidden dropout")] = 0.1
    attention_probs_dropout_prob: Annotated[float, Field(ge=0, lt=1, title="Attention dropout")] = 0.1
    initializer_range: Annotated[float, Field(gt=0, title="Initializer range")] = 0.02

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of "
                f"num_attention_heads {self.num_attention_heads}"
            )


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class RunConfig:
    """Everything that a run is asked to do. `preset` is a name only: the values are already resolved."""

    workspace: Annotated[
        str, Field(min_length=1, title="Workspace", description="Folder that the run works in.")
    ]
    preset: Annotated[str, Field(pattern=r"^[a-z0-9_]+$", title="Preset")] = "custom"
    extends: Annotated[
        str,
        Field(
            pattern=r"^$|^[a-z0-9_]+-[0-9a-f]{10}$",
            title="Extends",
            description="Dataset that is trained on too. Of the sources only files that it lacks are "
            "collected; its vocabulary and the settings of its steps are kept.",
        ),
    ] = ""
    promotion_margin: Annotated[
        float,
        Field(
            ge=0,
            title="Promotion margin",
            description="Nats that the masked-LM loss on the held-out part may be above that of the promoted "
            "model for a new one to take its place.",
        ),
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


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class TrainedOn:
    """A dataset of a training, for the model card: its name, its training examples and its sources' names."""

    dataset_id: str
    examples: int
    sources: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class TrainingJob:
    """What the training process is given, complete: it knows of no run, no DAG and no dataset.

    `training_data` and `heldout_data` are folders (local, or gs://) of `*.tfrecord` files; everything the
    job makes goes below `output` and, where `publish_to` is set, to the same names below that gs:// address.
    `start_from_digest` is what `train.start_from` held when the run was prepared; empty: anything. `left_out`
    names files of `training_data` that are not read, whether they are there or not. `earlier_data` are
    folders that are read besides, with other names in them. `steps_before` are those behind
    `train.start_from`. `trained_on` and `license` are told in the model card.
    """

    training_data: str
    heldout_data: str
    vocab_file: str
    output: str
    publish_to: str | None = None
    earlier_data: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    # The share of the training examples whose second part is random, where the dataset's manifest has it.
    random_next_share: float | None = None
    trained_on: tuple[TrainedOn, ...] = ()
    license: str = "other"
    cache: str | None = None
    start_from_digest: str = ""
    steps_before: int = 0
    random_seed: int = 34
    do_lower_case: bool = True
    max_seq_length: int = 64
    max_predictions_per_seq: int = 20
    masked_lm_prob: float = 0.15
    bert_model: str = "bert_model/"
    bert_evals: str = "bert_evals/"
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()


@cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    return TypeAdapter(cls)


def from_dict(cls: type[T], values: Mapping[str, Any], where: object = None) -> T:
    """Make a config dataclass of plain values.

    Raises:
        ConfigError: with every fault at once, each with the setting's full name.
    """
    try:
        adapter: TypeAdapter[T] = _adapter(cast(Hashable, cls))
        return adapter.validate_python(dict(values))
    except ValidationError as error:
        raise ConfigError(_faults(error), where=where, do="Correct the settings named") from None


def _faults(error: ValidationError) -> str:
    lines = []
    for fault in error.errors():
        name = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
            message = "unknown setting"
        elif fault["type"] in {"missing", "missing_argument"}:
            message = "is missing"
        elif fault["type"] != "value_error":
            message = f"{message} (it is {fault['input']!r})"
        lines.append(f"{name}: {message}" if name else message)
    return "; ".join(lines)


def to_dict(config: Any) -> dict[str, Any]:
    """The plain values of a config dataclass, as JSON and YAML hold them."""
    values: dict[str, Any] = _adapter(cast(Hashable, type(config))).dump_python(config, mode="json")
    return values


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        InputError: the file is missing. ConfigError: it is not YAML, or not a mapping.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=YAML_LOADER)
    except FileNotFoundError:
        raise InputError("no such file", where=path) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"not valid YAML: {' '.join(str(error).split())}", where=path) from None
    if not isinstance(values, dict):
        raise ConfigError("must hold settings as `name: value` lines", where=path)
    return values


def dump_yaml(config: Any) -> str:
    """The YAML text of a config dataclass; `from_dict(type(config), yaml)` gives it back."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)


def fields_of(cls: type) -> dict[str, dataclasses.Field[Any]]:
    """The dataclass fields of a config class by name."""
    return {f.name: f for f in dataclasses.fields(cls)}
