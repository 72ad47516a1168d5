"""Convert the input of a reference, and compare the examples one by one.

    python benchmarks/reference_conversion.py NAME.json…
    python benchmarks/reference_conversion.py --digest NAME.json

Each JSON file has the names of the input and the vocabulary, every flag, and the number of examples.

Without `--digest`, input and vocabulary are beside the JSON file, and NAME.npz has the examples that
google-research/bert's create_pretraining_data.py wrote. With `--digest`, they are below the parent of the
JSON file's folder (a corpus can be compressed as .xz), and the JSON file has a digest: SHA-256 of the
examples in order, each with its seven features as little-endian 32-bit integers.

The exit status is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from qarib_tasks.config.conversion import ConvertConfig
from qarib_tasks.config.loading import from_dict
from qarib_tasks.conversion.convert import convert_shard
from qarib_tasks.conversion.example_reader import Array, Shape, read_rows

NOT_SETTINGS = ("input", "vocab", "examples", "sha256", "digest")


def examples_of(settings: dict[str, Any], source: Path, vocab: Path, folder: Path) -> Iterator[Array]:
    """Convert, read the examples back, and yield them as rows like `read_rows`."""
    values = {name: value for name, value in settings.items() if name not in NOT_SETTINGS}
    config = from_dict(ConvertConfig, values)
    out = folder / "out.tfrecord"
    convert_shard(source, vocab, out, config)
    yield from read_rows(out, Shape(config.max_seq_length, config.max_predictions_per_seq))


def expected_rows(settings: dict[str, Any], reference: Any) -> Array:
    """Return the reference's examples as rows."""

    def ones(counts: Any, width: int) -> Any:
        return np.arange(width) < counts[:, None]

    return np.concatenate(
        [
            reference["input_ids"],
            ones(reference["length"], settings["max_seq_length"]),
            reference["segment_ids"],
            reference["masked_lm_positions"],
            reference["masked_lm_ids"],
            ones(reference["masked_lm_count"], settings["max_predictions_per_seq"]),
            reference["next_sentence_labels"][:, None],
        ],
        axis=1,
        dtype=np.int32,
        casting="unsafe",
    )


def compare(path: Path, folder: Path) -> bool:
    settings = json.loads(path.read_text(encoding="utf-8"))
    rows = examples_of(settings, path.parent / settings["input"], path.parent / settings["vocab"], folder)
    made = np.concatenate(list(rows))
    with np.load(path.with_suffix(".npz")) as reference:
        expected = expected_rows(settings, reference)
    both = min(len(made), len(expected))
    different = int((made[:both] != expected[:both]).any(axis=1).sum()) + abs(len(made) - len(expected))
    print(f"{path.stem}: {len(expected)} examples, {different} different", flush=True)
    return different == 0


def compare_digest(path: Path, folder: Path) -> bool:
    settings = json.loads(path.read_text(encoding="utf-8"))
    root = path.resolve().parent.parent
    source = root / settings["input"]
    if not source.exists():
        packed, source = source.with_name(source.name + ".xz"), folder / source.name
        with lzma.open(packed) as reader, source.open("wb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
    digest, count = hashlib.sha256(), 0
    for rows in examples_of(settings, source, root / settings["vocab"], folder):
        digest.update(rows.astype("<i4").tobytes())
        count += len(rows)
    equal = digest.hexdigest() == settings["sha256"] and count == settings["examples"]
    print(f"{path.stem}: {count} examples, the digest {'equals' if equal else 'DIFFERS'}", flush=True)
    return equal


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("json", type=Path, nargs="+")
    parser.add_argument("--digest", action="store_true", help="compare the digest of all examples of a shard")
    arguments = parser.parse_args()
    same = True
    for path in arguments.json:
        with tempfile.TemporaryDirectory() as folder:
            same &= (compare_digest if arguments.digest else compare)(path, Path(folder))
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
