"""`qarib run` from the text to the model, as a person sees it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from qarib_tasks.config.presets import SAMPLE

pytestmark = pytest.mark.slow
SETTINGS = """
preset: demo
workspace: work
collect:
  sources:
    - {{name: muwatta, path: {sample}/muwatta.txt}}
    - {{name: tweets, path: {sample}/tweets.txt}}
vocab: {{vocab_size: 800}}
split: {{shard_lines: 4000}}
convert: {{dupe_factor: 1}}
model: {{num_hidden_layers: 1, hidden_size: 32, num_attention_heads: 2, intermediate_size: 64}}
train: {{train_batch_size: 16, train_steps: 4, num_warmup_steps: 1, save_checkpoints_steps: 4}}
evaluate: {{eval_batch_size: 16, max_eval_steps: 2}}
"""
ROWS = (
    *("dataset", "model", "export", "Training steps", "Masked-LM, first step", "Masked-LM, last steps"),
    *("Held-out part, first", "Held-out part, last", "Word frequencies alone", "Task source@corpus"),
    *(f"[MASK] {number}" for number in range(1, 6)),
    "corpus: ",
)


def test_a_run_tells_each_thing_once_and_in_words(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(SETTINGS.format(sample=SAMPLE), encoding="utf-8")
    command = [sys.executable, "-m", "qarib_tasks.cli", "run", "--config", "run.yaml"]
    printed = []
    for _ in range(2):  # The second run finds all steps done.
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        lines, told = ended.stdout.splitlines(), ended.stderr.splitlines()
        printed.append(lines)
        for line, start in zip(lines, ROWS, strict=True):
            assert line.startswith(start)
        assert not [line for line in lines if re.search("[{}]", line)]
        assert [line for line in told if not re.match(r"\d\d:\d\d:\d\d (?!\d\d:\d\d:\d\d )", line)] == []
        assert [line for line in told if re.search("cuda|oneDNN|absl", line, re.IGNORECASE)] == []
        counted = Counter([*lines, *(line[9:] for line in told)])
        assert [line for line, count in counted.items() if count > 1] == []
    assert printed[0] == printed[1]
