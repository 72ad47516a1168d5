"""Measure the peak memory of collecting texts of different sizes, with exact deduplication.

    python benchmarks/compare/collect_memory.py INPUT [--gigabytes 1 4]

The text of each size repeats INPUT with a different number in every line, and contains every fifth line
twice. Every line is a document, which is the worst case for the memory of the deduplication.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from vocabulary import timed


def make(source: Path, out: Path, size: int) -> None:
    """Write about `size` bytes of varied lines of `source` to `out`."""
    lines = [line.rstrip("\n") for line in source.open(encoding="utf-8") if line != "\n"]
    written = number = 0
    with out.open("wb") as file:
        while written < size:
            varied = [f"{line} {number + i}\n" for i, line in enumerate(lines)]
            number += len(lines)
            block = "".join([*varied, *varied[::5]]).encode()
            written += file.write(block)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", type=Path)
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[1, 4])
    arguments = parser.parse_args()
    for gigabytes in arguments.gigabytes:
        with tempfile.TemporaryDirectory() as name:
            text, out = Path(name) / "text.txt", Path(name) / "out" / "data.txt"
            make(arguments.input, text, int(gigabytes * 1e9))
            command = [
                sys.executable,
                "-m",
                "qarib_tasks.cli",
                "collect",
                text,
                "-o",
                out,
                "--document",
                "line",
            ]
            wall, cpu, peak = timed(*command)
            size = text.stat().st_size
            print(
                f"{size / 1e9:.2f} GB: peak {peak:.0f} MB, {wall:.0f} s, "
                f"{size / 1e6 / cpu:.1f} MB/s per core",
                flush=True,
            )


if __name__ == "__main__":
    main()
