"""Measure the conversion of a shard, each time in a new process, from its start to its end.

    python benchmarks/convert.py [INPUT VOCAB]

Without arguments, the benchmark first makes a shard of 512,000 synthetic tweets
(benchmarks/inputs/make_tweets.py) and a vocabulary of 64,000 of its words. INPUT can be compressed as .xz.
The flags are the published ones.

The plain-Python version is the oracle of the tests (tests/support/oracle_pretraining_data.py). It runs on the
shard's first lines and writes no records; its rate is lines per second, like that of the fast version.
"""

from __future__ import annotations

import argparse
import collections
import json
import lzma
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

from inputs.make_tweets import Tweets

from qarib_tasks.config.conversion import ConvertConfig
from qarib_tasks.storage.manifest import manifest_of
from qarib_tasks.vocabulary.file import SPECIAL_TOKENS, ids_of, load_vocab
from tests.support.oracle_pretraining_data import Wordpieces, create_instances, load_tables, read_documents

SHARD_LINES = 512_000
PLAIN_LINES = 10_000


def make_vocab(shard: Path, path: Path, size: int = 64_000) -> None:
    """Write the most frequent words and word ends of the shard's beginning, and all its characters."""
    tables = load_tables(do_lower_case=True)
    with shard.open(encoding="utf-8") as file:
        lines = [line for line, _ in zip(file, range(30_000), strict=False)]
    words = collections.Counter(word for line in lines for word in tables.split(line))
    ends = collections.Counter({f"##{word[-n:]}": count for word, count in words.items() for n in (2, 3)})
    characters = dict.fromkeys(char for word in words for char in word)
    entries = dict.fromkeys([*SPECIAL_TOKENS, *characters, *(f"##{char}" for char in characters)])
    entries |= dict.fromkeys(end for end, _ in ends.most_common(size // 8))
    entries |= dict.fromkeys(word for word, _ in words.most_common(size))
    path.write_text("\n".join(list(entries)[:size]) + "\n", encoding="utf-8")


def convert(shard: Path, vocab: Path, out: Path, cores: int) -> tuple[float, float, float]:
    """Run `qarib convert` on `cores` cores; return seconds, CPU seconds and peak resident MB."""
    allowed = sorted(os.sched_getaffinity(0))[:cores]
    command = [sys.executable, "-m", "qarib_tasks.cli", "convert", shard, "-o", out, "--vocab", vocab]
    command += ["--threads", str(cores)]
    # With PYTHONDONTWRITEBYTECODE, every process would compile all of Python's modules again.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = str(ROOT)
    started = time.perf_counter()
    process = os.fork()
    if process == 0:
        os.sched_setaffinity(0, allowed)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        os.execve(sys.executable, [str(part) for part in command], environment)
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"failed: {' '.join(map(str, command))}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000


def plain(shard: Path, vocab: Path) -> float:
    """Return the lines per second of the plain-Python version."""
    config = ConvertConfig()
    with shard.open("rb") as file:
        text = b"".join(line for line, _ in zip(file, range(PLAIN_LINES), strict=False)).decode(
            errors="replace"
        )
    entries = load_vocab(vocab)
    ids = ids_of(entries)
    wordpieces = Wordpieces(ids, do_lower_case=config.do_lower_case)
    started = time.perf_counter()
    create_instances(read_documents(text, wordpieces), ids, config, config.random_seed)
    return text.count("\n") / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", type=Path, nargs="?")
    parser.add_argument("vocab", type=Path, nargs="?")
    arguments = parser.parse_args()
    if arguments.input and not arguments.vocab:
        parser.error("VOCAB is missing")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shard, vocab = arguments.input, arguments.vocab
        if shard is None:
            shard, vocab = folder / "shard_0000", folder / "vocab.txt"
            print(f"making {SHARD_LINES:,} synthetic tweets", flush=True)
            with shard.open("w", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in Tweets(1).lines(SHARD_LINES))
            make_vocab(shard, vocab)
        elif shard.suffix == ".xz":
            with lzma.open(shard) as reader, (folder / shard.stem).open("wb") as writer:
                shutil.copyfileobj(reader, writer, 1 << 20)
            shard = folder / shard.stem
        (folder / "small").write_text("a b\nc d\n", encoding="utf-8")
        seconds, _, _ = convert(folder / "small", vocab, folder / "small.tfrecord", 1)
        print(f"warm-up (compiles unless cached): {seconds:.1f} s", flush=True)
        fast = 0.0
        for cores in (1, 2):
            out = folder / f"{cores}.tfrecord"
            seconds, cpu, memory = convert(shard, vocab, out, cores)
            statistics = json.loads(manifest_of(out).read_text())["statistics"]
            rate = statistics["lines"] / seconds
            fast = fast or rate
            print(
                f"{cores} core{'s' * (cores > 1)}: {seconds:.2f} s, {rate:,.0f} lines/s, "
                f"{statistics['examples'] / seconds:,.0f} examples/s, "
                f"{out.stat().st_size / seconds / 1e6:,.0f} MB/s written, "
                f"peak {memory:,.0f} MB resident, {cpu:.2f} CPU seconds",
                flush=True,
            )
            out.unlink()
        rate = plain(shard, vocab)
        print(
            f"plain Python, 1 core: {rate:,.0f} lines/s; the fast version is {fast / rate:,.0f} times as fast"
        )


if __name__ == "__main__":
    main()
