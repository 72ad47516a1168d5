"""Measure collecting, and both recipes of the vocabulary on the same lines, each in a separate process.

    python benchmarks/vocabulary.py [INPUT …] [--lines 1000000] [--size 64000]

INPUT is the input of `qarib collect`; without it, synthetic tweets are made first
(benchmarks/inputs/make_tweets.py). The published side does the same as prepare_vocab.py: its normalizer,
line by line, and SentencePieceTrainer with exactly its arguments. Ours is `qarib vocab`. Seconds are wall
time from a process's start to its end, including the start of Python and the libraries; the peak is the
largest resident set of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from inputs.make_tweets import Tweets

from qarib_tasks.vocabulary.published import published_arguments

EMOJI = "\U0001f300-\U0001f64f\U0001f680-\U0001f6ff\u2600-\u26ff\u2700-\u27bf"
APART = re.compile(f"[{EMOJI}]")
OTHER = re.compile(f"[^\\w{EMOJI}]+")
LOW_LINE = re.compile("[_]")


def published_normalizer(line: str) -> str:
    """Return the result of prepare_vocab.py's normalize_text for a line."""
    text = line.lower().encode("utf-8", "ignore").decode()
    text = APART.sub(r" \g<0> ", text)
    return LOW_LINE.sub(" ", OTHER.sub(" ", text))


def published(data: Path, folder: Path, pieces: int) -> None:
    """Run the published side; it is called in a separate process."""
    import sentencepiece

    text = folder / "data.txt.proc"
    started = time.perf_counter()
    with data.open(encoding="utf-8") as lines, text.open("w", encoding="utf-8") as out:
        for line in lines:
            out.write(published_normalizer(line.rstrip("\n")) + "\n")
    print(f"normalizer {time.perf_counter() - started:.1f} s", flush=True)
    arguments = published_arguments(text, folder / "tokenizer", pieces)
    given = {name: str(value).lower() if value is True else value for name, value in arguments.items()}
    sentencepiece.SentencePieceTrainer.Train(" ".join(f"--{name}={value}" for name, value in given.items()))


# In Linux, a new process inherits the peak of its parent: this small process is the parent.
STARTER = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
status = subprocess.run(sys.argv[1:], **quiet).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
cpu = used.ru_utime + used.ru_stime
print(json.dumps([status, time.perf_counter() - started, cpu, used.ru_maxrss / 1024]))
"""


def timed(*command: object) -> tuple[float, float, float]:
    """Run a command; return seconds, CPU seconds and peak resident MB."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    result = subprocess.run(
        [sys.executable, "-c", STARTER, *map(str, command)],
        env={**environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        check=True,
    )
    status, seconds, processor, peak = json.loads(result.stdout)
    if status:
        raise SystemExit(f"failed: {' '.join(map(str, command))}")
    return seconds, processor, peak


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", nargs="*", type=Path)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=64_000)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--published", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.published:
        data, folder, pieces = arguments.published
        published(Path(data), Path(folder), int(pieces))
        return
    qarib = [sys.executable, "-m", "qarib_tasks.cli"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = arguments.input
        if not inputs:
            inputs = [folder / "tweets.txt"]
            with inputs[0].open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(line + "\n" for line in Tweets(1).lines(arguments.lines * 8 // 7))
        size = sum(path.stat().st_size for path in inputs) / 1e6
        collected = folder / "collected.txt"
        wall, cpu, peak = timed(*qarib, "collect", *inputs, "-o", collected)
        figures = {
            "collect": {
                "MB": size,
                "seconds": wall,
                "cpu_seconds": cpu,
                "MB_a_core": size / cpu,
                "peak_MB": peak,
            }
        }
        print(
            f"collect      {size:.0f} MB in {wall:.1f} s, {cpu:.1f} CPU seconds: "
            f"{size / cpu:.1f} MB/s per core; peak {peak:.0f} MB",
            flush=True,
        )
        data = folder / "data.txt"
        with collected.open(encoding="utf-8") as file, data.open("w", encoding="utf-8") as out:
            lines = list(islice((line for line in file if line != "\n"), arguments.lines))
            out.writelines(lines)
        print(
            f"vocabulary   {len(lines):,} lines, {data.stat().st_size / 1e6:.0f} MB, "
            f"{arguments.size:,} entries",
            flush=True,
        )
        del lines
        for side, command in {
            "ours": [*qarib, "vocab", "-i", data, "-s", arguments.size, "-o", folder / "ours" / "vocab.txt"],
            "published": [sys.executable, __file__, "--published", data, folder, arguments.size - 256],
        }.items():
            wall, cpu, peak = timed(*command)
            figures[side] = {"seconds": wall, "cpu_seconds": cpu, "peak_MB": peak}
            print(f"{side:12} {wall:.1f} s, {cpu:.1f} CPU seconds, peak {peak:.0f} MB", flush=True)
        times = figures["published"]["seconds"] / figures["ours"]["seconds"]
        print(f"ours is {times:.1f} times as fast")
        if arguments.json:
            arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
