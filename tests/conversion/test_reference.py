"""The conversions that google-research/bert itself made, matched by both of ours.

`empty-lines-*` and `repeated-entries-*` have vocabularies with such lines; their examples were made by the
reference's code in `bert-tensorflow` 1.0.1.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qarib_tasks.config.conversion import ConvertConfig
from qarib_tasks.config.loading import from_dict
from tests.support.oracle_pretraining_data import Wordpieces, create_instances, read_documents, read_vocab

FOLDER = Path(__file__).parents[1] / "data" / "pretraining_data"
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "reference_conversion.py"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, BENCHMARK, *map(str, arguments)], capture_output=True, text=True)


def test_all_ten_are_equal() -> None:
    result = run(*sorted(FOLDER.glob("*.json")))
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == NAMES
    assert len(lines) == 10
    assert all(line.endswith(" 0 different") for line in lines)


def test_a_difference_is_found(tmp_path: Path) -> None:
    for name in ("hostile.txt", "vocab.txt", "hostile-qarib.json"):
        shutil.copy(FOLDER / name, tmp_path)
    with np.load(FOLDER / "hostile-qarib.npz") as reference:
        arrays = {name: reference[name] for name in reference.files}
    arrays["segment_ids"][3, 5] ^= 1
    np.savez(tmp_path / "hostile-qarib.npz", **arrays)
    result = run(tmp_path / "hostile-qarib.json")
    assert result.returncode == 1
    assert "1 different" in result.stdout


@pytest.mark.parametrize("name", NAMES)
def test_oracle_is_the_reference(name: str) -> None:
    settings = json.loads((FOLDER / f"{name}.json").read_text())
    count, text, vocab_name = (settings.pop(key) for key in ("examples", "input", "vocab"))
    config = from_dict(ConvertConfig, settings)
    vocab = read_vocab(FOLDER / vocab_name)
    wordpieces = Wordpieces(vocab, do_lower_case=config.do_lower_case)
    documents = read_documents((FOLDER / text).read_bytes().decode(), wordpieces)
    examples = create_instances(documents, vocab, config, config.random_seed)
    assert len(examples) == count
    with np.load(FOLDER / f"{name}.npz") as file:
        reference = {key: file[key].tolist() for key in file.files}
    for number, example in enumerate(examples):
        length, masks = reference["length"][number], reference["masked_lm_count"][number]
        assert example.tokens == reference["input_ids"][number][:length]
        assert example.segment_ids == reference["segment_ids"][number][:length]
        assert example.positions == reference["masked_lm_positions"][number][:masks]
        assert example.labels == reference["masked_lm_ids"][number][:masks]
        assert example.is_random_next == reference["next_sentence_labels"][number]
