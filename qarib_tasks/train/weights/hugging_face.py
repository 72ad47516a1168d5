"""Conversion of variables between their TF 1 names and those of transformers' BertForPreTraining."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from qarib_tasks import __version__
from qarib_tasks.config.loading import to_dict
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.storage.files import require_file
from qarib_tasks.storage.model_files import MOST_BYTES, SHARDS_INDEX, shards_of
from qarib_tasks.storage.regular_files import read_regular
from qarib_tasks.train.data.vocabulary import Vocabulary
from qarib_tasks.train.weights.downloads import refuse_text
from qarib_tasks.train.weights.pytorch import read_pytorch

RENAMED = {
    "cls/predictions/output_bias": "cls.predictions.bias",
    "cls/seq_relationship/output_weights": "cls.seq_relationship.weight",
    "cls/seq_relationship/output_bias": "cls.seq_relationship.bias",
}
NAMED_BACK = {theirs: ours for ours, theirs in RENAMED.items()}
# Tensors that older versions write: copies of other tensors, and a constant.
DECODER = "cls.predictions.decoder.weight"
COPIES = {DECODER, "cls.predictions.decoder.bias", "bert.embeddings.position_ids"}
# In a model without heads, names begin with these.
BARE = ("embeddings.", "encoder.", "pooler.")
DENSE = re.compile(r"(query|key|value|dense)\.weight$")


def hugging_face_config(job: TrainingJob, vocabulary: Vocabulary) -> dict[str, Any]:
    """Return the `config.json` of transformers' BertConfig."""
    return to_dict(job.model) | {
        "architectures": ["BertForPreTraining" if job.train.next_sentence else "BertForMaskedLM"],
        "model_type": "bert",
        # In transformers, "gelu" is the exact GELU; BERT uses the tanh approximation.
        "hidden_act": "gelu_pytorch_tanh",
        "layer_norm_eps": 1e-12,
        "position_embedding_type": "absolute",
        "vocab_size": len(vocabulary),
        "pad_token_id": vocabulary.id("[PAD]"),
        "tie_word_embeddings": True,
        "dtype": "float32",
        "made_by": f"qarib {__version__}",
    }


def hugging_face_name(name: str) -> str:
    """Return the name in transformers' BertForPreTraining of a variable of the reference's checkpoints."""
    if name in RENAMED:
        return RENAMED[name]
    name = re.sub(r"/layer_(\d+)/", r"/layer.\1.", name)
    name = re.sub(r"/(kernel|gamma)$", "/weight", name)
    name = re.sub(r"/beta$", "/bias", name)
    name = re.sub(r"(_embeddings)$", r"\1.weight", name)
    return name.replace("/", ".")


def tensorflow1_name(name: str) -> str:
    """Invert `hugging_face_name`; accepts the names of older versions (`LayerNorm.gamma`) too."""
    if name in NAMED_BACK:
        return NAMED_BACK[name]
    name = re.sub(r"LayerNorm\.weight$", "LayerNorm.gamma", name)
    name = re.sub(r"LayerNorm\.bias$", "LayerNorm.beta", name)
    name = DENSE.sub(r"\1.kernel", name)
    name = re.sub(r"(_embeddings)\.weight$", r"\1", name)
    name = re.sub(r"\.layer\.(\d+)\.", r".layer_\1.", name)
    return name.replace(".", "/")


def hugging_face_value(name: str, value: np.ndarray) -> np.ndarray:
    """Convert a value in either direction: torch stores a dense layer's weights as [outputs, inputs].

    Args:
        name: the TF 1 name.
        value: the value in the layout of TF 1 or of torch.

    Returns:
        the value in the other layout.
    """
    return np.ascontiguousarray(value.T if name.endswith("/kernel") else value)


def read_hugging_face(path: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a `model.safetensors` or `pytorch_model.bin` as float32 arrays, by TF 1 names.

    Args:
        path: the file, or the index (`model.safetensors.index.json`) of the shards that it was split into.

    Raises:
        CorruptError: the file cannot be read.
        InputError: the output layer is not tied to the embeddings.
    """
    tensors = _read_shards(path) if path.name.endswith(SHARDS_INDEX) else _read_file(path)
    theirs = {_with_prefix(key): value for key, value in tensors.items()}
    embeddings = theirs.get("bert.embeddings.word_embeddings.weight")
    if DECODER in theirs and embeddings is not None and not np.array_equal(theirs[DECODER], embeddings):
        raise InputError(f"{DECODER} differs from the word embeddings; in a BERT they are tied", where=path)
    result = {}
    for key, value in theirs.items():
        if key not in COPIES:
            name = tensorflow1_name(key)
            result[name] = hugging_face_value(name, value.astype(np.float32))
    return result


def variable_name(key: str) -> str:
    """Return the TF 1 name of a tensor in a file."""
    return tensorflow1_name(_with_prefix(key))


def _with_prefix(key: str) -> str:
    return f"bert.{key}" if key.startswith(BARE) else key


def _read_file(path: Path) -> dict[str, np.ndarray]:
    require_file(path)
    refuse_text(path)
    return read_pytorch(path) if path.suffix == ".bin" else _read_safetensors(path)


def _read_shards(index: Path) -> dict[str, np.ndarray]:
    names = shards_of(read_regular(index, MOST_BYTES), index)
    tensors: dict[str, np.ndarray] = {}
    for name in sorted(set(names.values())):
        shard = _read_file(index.with_name(name))
        if lacking := sorted(key for key, file in names.items() if file == name and key not in shard):
            raise CorruptError(f"does not have {lacking[0]}", where=index.with_name(name))
        tensors |= shard
    return tensors


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    import ml_dtypes  # noqa: F401 (NumPy then knows bfloat16)
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise CorruptError(f"cannot be read: {error}", where=path) from None
