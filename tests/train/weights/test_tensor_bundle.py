"""TF 1 checkpoints without TensorFlow: what TensorFlow writes and reads is the oracle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from qarib_tasks.train.weights.tensor_bundle import write_tensor_bundle

ENDS = (".data-00000-of-00001", ".index")


def write(prefix: Path, arrays: dict[str, np.ndarray]) -> None:
    write_tensor_bundle(*(Path(f"{prefix}{end}") for end in ENDS), arrays)


def of_bert(layers: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    shapes = {"bert/embeddings/word_embeddings": (300, 8), "cls/seq_relationship/output_bias": (2,)}
    for layer in range(layers):
        for part in (
            "attention/self/query",
            "attention/output/dense",
            "intermediate/dense",
            "output/LayerNorm",
        ):
            shapes[f"bert/encoder/layer_{layer}/{part}/kernel"] = (8, 16)
            shapes[f"bert/encoder/layer_{layer}/{part}/bias"] = (16,)
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


CASES = {
    "a scalar": {"global_step": np.asarray(1_000_000, np.int64)},
    "none": {},
    "empty": {"a": np.zeros((0, 3), np.float32), "b": np.ones((1,), np.float32)},
    "other names": {"é": np.ones(2, np.float32), "\xff": np.ones((1, 1, 200), np.float32)},
    "transposed": {"a": np.arange(6, dtype=np.float32).reshape(2, 3).T},
    "bert": of_bert(12),
}


@pytest.mark.parametrize("name", CASES)
def test_the_bytes_are_tensorflow_s(name: str, tmp_path: Path) -> None:
    arrays = CASES[name]
    write(tmp_path / "ours", arrays)
    names = sorted(arrays, key=str.encode)
    if names:
        tf.raw_ops.SaveV2(
            prefix=f"{tmp_path}/theirs",
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=[tf.constant(arrays[name]) for name in names],
        )
        for end in ENDS:
            assert (tmp_path / f"ours{end}").read_bytes() == (tmp_path / f"theirs{end}").read_bytes()
    reader = tf.train.load_checkpoint(f"{tmp_path}/ours")
    assert {name: list(array.shape) for name, array in arrays.items()} == reader.get_variable_to_shape_map()
    for each, array in arrays.items():
        np.testing.assert_array_equal(reader.get_tensor(each), array)


def test_an_index_above_the_size_of_tensorflow_s_blocks_is_read(tmp_path: Path) -> None:
    """TensorFlow divides it into blocks of 256 KiB; ours has one."""
    arrays = {f"{number:05}/{'x' * 100}": np.full(1, number, np.float32) for number in range(4_000)}
    write(tmp_path / "ours", arrays)
    assert (tmp_path / "ours.index").stat().st_size > 1 << 18
    reader = tf.train.load_checkpoint(f"{tmp_path}/ours")
    assert reader.get_variable_to_shape_map().keys() == arrays.keys()
    for number in (0, 17, 3_999):
        assert reader.get_tensor(f"{number:05}/{'x' * 100}") == [number]


def test_an_export_does_not_import_tensorflow(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, numpy; from qarib_tasks.train.results import export; "
        "export.tensorflow1.write_checkpoint(pathlib.Path(sys.argv[1]), {'a': numpy.ones(1, 'float32')}); "
        "sys.exit(sum(name in sys.modules for name in ('tensorflow', 'keras')))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert tf.train.load_checkpoint(f"{tmp_path}/bert_model.ckpt").get_tensor("a") == [1]


def test_other_types_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="float64"):
        write(tmp_path / "ours", {"a": np.ones(1)})
