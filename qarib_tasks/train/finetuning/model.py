"""The model that a fine-tuning starts from: weights, shape, and tokenizer, of ours or from elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from qarib_tasks.config.loading import fields_of, from_dict
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.config.training.model import ModelConfig
from qarib_tasks.errors import ConfigError, CorruptError, InputError
from qarib_tasks.layout import (
    BERT_CONFIG,
    EXPORT,
    HUGGING_FACE_CONFIG,
    HUGGING_FACE_WEIGHTS,
    SETTINGS,
    TOKENIZER,
    TOKENIZER_CONFIG,
    VOCAB,
    ModelLayout,
)
from qarib_tasks.storage.files import checksums
from qarib_tasks.storage.model_files import Pretrained, find, read_json
from qarib_tasks.storage.recognition import is_ours, is_training_job
from qarib_tasks.storage.records.settings import read_settings
from qarib_tasks.train.data.shards import open_address
from qarib_tasks.train.weights.pretrained import GELUS, check_finite, check_shapes, read
from qarib_tasks.vocabulary.file import ids_of, read_entries
from qarib_tasks.vocabulary.tokenizer_files import make_tokenizer

log = logging.getLogger(__name__)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
EMBEDDINGS = "bert/embeddings/word_embeddings"
POOLER = "bert/pooler/dense/kernel"
LAYER_NORM_EPSILON = 1e-12  # of every BERT; see `bert.normalization`


@dataclass(frozen=True)
class OwnModel:
    """A model folder of this project on this machine."""

    layout: ModelLayout
    job: TrainingJob


@dataclass(frozen=True)
class StartingModel:
    """Attributes:
    address: as the user gave it.
    digest: of its contents.
    weights: float32 arrays by TF 1 name.
    vocab_size: the number of word embeddings.
    tokenizer: a `tokenizers.Tokenizer`.
    length: its longest input in wordpieces.
    """

    address: str
    digest: str
    config: ModelConfig
    weights: Mapping[str, np.ndarray]
    vocab_size: int
    tokenizer: Any
    length: int


def own_model(address: str) -> OwnModel | None:
    """Return the model folder of ours at an address, which can also be its `export/` or its checkpoints.

    None for an address of anything else.

    Raises:
        ConfigError: its settings cannot be read.
    """
    folder = Path(address)
    if address.startswith("gs://") or not folder.is_dir():
        return None
    for root in (folder, folder.resolve().parent):
        path = root / SETTINGS
        if is_ours(path, is_training_job):
            # The folder can have been moved since.
            job = replace(from_dict(TrainingJob, read_settings(path), path), output=str(root))
            layout = ModelLayout(root, job)
            parts = (root, layout.export, layout.bert_model)
            return OwnModel(layout, job) if folder.resolve() in [p.resolve() for p in parts] else None
    return None


def find_model(address: str, own: OwnModel | None = None) -> Pretrained:
    """Find the model at a path or gs:// address. Of a model folder of ours, the export counts if it exists.

    Raises:
        InputError: there is no model.
    """
    is_root = own is not None and Path(address).resolve() == own.layout.root.resolve()
    if own and is_root and (own.layout.export / HUGGING_FACE_WEIGHTS).is_file():
        return find(str(own.layout.export))
    return find(address)


def read_model(address: str, found: Pretrained, cache: Path, own: OwnModel | None = None) -> StartingModel:
    """Read a model that was found.

    Args:
        cache: folder for files of a bucket.

    Raises:
        InputError: there is no vocabulary beside the model.
        ConfigError: it is not a BERT that this project can train.
        CorruptError: a file cannot be read, or does not fit the others.
    """
    folder = found.stage(cache)
    weights, settings = read(found, folder)
    where = _settings_file(found)
    config = _shape(settings, where)
    if EMBEDDINGS not in weights:
        raise ConfigError(
            "has no BERT word embeddings",
            where=f"{found.folder}/{found.stem}",
            do="Give a BERT with WordPiece; other architectures are not supported",
        )
    rows = weights[EMBEDDINGS].shape[0]
    shapes = _shapes(config, rows)
    check_shapes(found.folder, weights, shapes, f"Correct {where}, or download it again")
    check_finite(found, folder, weights, shapes)
    if POOLER not in weights:
        log.warning("%s has no pooler: each fine-tuning starts with a new one", address)
    job = own.job if own else _job_of(found)
    tokenizer = _tokenizer(found, folder, settings, job, cache)
    if tokenizer.get_vocab_size() > rows:
        raise CorruptError(
            f"the vocabulary has {tokenizer.get_vocab_size():,} entries, the model {rows:,} word embeddings",
            where=found.folder,
            do="Use the vocabulary that the model was trained with",
        )
    length = config.max_position_embeddings
    if job:  # Positions that no training example reached were never trained.
        length = min(length, job.max_seq_length)
    log.info("%s: %s, %d layers, hidden size %d", address, found.stem, *_size(config))
    return StartingModel(address, found.digest, config, weights, rows, tokenizer, length)


def _size(config: ModelConfig) -> tuple[int, int]:
    return config.num_hidden_layers, config.hidden_size


def _settings_file(found: Pretrained) -> str:
    name = next((name for name in (HUGGING_FACE_CONFIG, BERT_CONFIG) if name in found.files), found.stem)
    return f"{found.folder}/{name}"


def _shape(settings: Mapping[str, Any], where: str) -> ModelConfig:
    """Return the model's shape from the settings beside its weights.

    Raises:
        InputError: there are none. ConfigError: they are of a model that is not supported.
    """
    if not settings:
        raise InputError(
            f"no {HUGGING_FACE_CONFIG} or {BERT_CONFIG} beside the weights", where=where, do="Add the file"
        )
    kind = settings.get("model_type", "bert")
    position = settings.get("position_embedding_type", "absolute")
    activation = settings.get("hidden_act", "gelu")
    for what, value, known in (
        ("model type", kind, ("bert",)),
        ("position embeddings", position, ("absolute",)),
        ("activation", activation, GELUS),
    ):
        if value not in known:
            raise ConfigError(f"unsupported {what} {value!r}", where=where, do=f"Use a model with {known[0]}")
    epsilon = settings.get("layer_norm_eps", LAYER_NORM_EPSILON)
    if epsilon != LAYER_NORM_EPSILON:
        log.warning("%s: layer_norm_eps %s is not supported, %s is used", where, epsilon, LAYER_NORM_EPSILON)
    names = [name for name in fields_of(ModelConfig) if name in settings]
    return from_dict(ModelConfig, {name: settings[name] for name in names} | {"hidden_act": "gelu"}, where)


def _shapes(config: ModelConfig, rows: int) -> dict[str, tuple[int, ...]]:
    from qarib_tasks.train.model.bert import PretrainingBert
    from qarib_tasks.train.model.classifier import ENCODER

    variables = PretrainingBert(config, rows).named_variables()
    return {name: tuple(v.shape) for name, v in variables.items() if name.startswith(ENCODER)}


def _job_of(found: Pretrained) -> TrainingJob | None:
    """Return the job that made one of our checkpoints or exports, if it is still in the model's folder."""
    path = Path(found.folder).parent / SETTINGS
    if found.folder.startswith("gs://") or not is_ours(path, is_training_job):
        return None
    return from_dict(TrainingJob, read_settings(path), path)


def _tokenizer(
    found: Pretrained, folder: Path, settings: Mapping[str, Any], job: TrainingJob | None, cache: Path
) -> Any:
    """Return the model's tokenizer: `tokenizer.json`, as transformers uses it, or one from `vocab.txt`."""
    if found.kind != "checkpoint":
        if TOKENIZER in found.files:
            return _read_tokenizer(folder / TOKENIZER)
        if VOCAB in found.files:
            given = folder / TOKENIZER_CONFIG
            return _from_entries(folder / VOCAB, read_json(given) if given.is_file() else {})
        do = "Add the one that it was trained with"
        raise InputError(f"no {TOKENIZER} or {VOCAB} beside the weights", where=found.folder, do=do)
    candidates = [str(Path(found.folder).parent / EXPORT / VOCAB), job.vocab_file if job else ""]
    for address in filter(None, candidates):
        try:
            path = open_address(address, cache)
        except InputError:
            continue
        if checksums(path).sha256 == settings.get("vocabulary"):
            return _from_entries(path, {"do_lower_case": job.do_lower_case if job else True})
    raise InputError(
        "the vocabulary that this checkpoint was trained with was not found",
        where=found.folder,
        do="Give the model's folder, or its export",
    )


def _read_tokenizer(path: Path) -> Any:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception:  # The library has no class of its own for it.
        raise CorruptError("not a tokenizer of transformers", where=path, do="Download it again") from None
    kind = type(tokenizer.model).__name__
    if kind != "WordPiece":
        raise ConfigError(f"a tokenizer of the kind {kind}, not WordPiece", where=path, do="Use a BERT")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    _require_special([token for token in SPECIAL if tokenizer.token_to_id(token) is None], path)
    return tokenizer


def _from_entries(path: Path, settings: Mapping[str, Any]) -> Any:
    """Return a tokenizer with the entries of a `vocab.txt` and the settings of `tokenizer_config.json`."""
    from tokenizers.normalizers import BertNormalizer

    entries = read_entries(path)
    ids = ids_of(entries)
    _require_special([token for token in SPECIAL if token not in ids], path)
    lower = settings.get("do_lower_case") is not False
    tokenizer = make_tokenizer(entries, do_lower_case=lower)
    tokenizer.normalizer = BertNormalizer(
        lowercase=lower,
        strip_accents=settings.get("strip_accents"),
        handle_chinese_chars=settings.get("tokenize_chinese_chars") is not False,
    )
    return tokenizer


def _require_special(missing: list[str], path: Path) -> None:
    if missing:
        raise ConfigError(
            f"the vocabulary has no {', '.join(missing)}", where=path, do="Use the vocabulary of a BERT"
        )
