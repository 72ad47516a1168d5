"""Compare this checkout with an earlier commit: converting, collecting, the DAG files' import, and the page.

    python benchmarks/compare/former_commit.py [--commit 3ef437a] [--turns 5] [--lines 100000]
        [--text FILE …] [--copies 4] [--only collect]

Both versions run in turns, each time in a new process, on the same files. The benchmark prints
the median CPU and wall seconds of each version, and the median of the ratios, pair by pair. It also compares
the outputs, and the texts that the rules make which are the same in both versions.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from convert import make_vocab
from inputs.make_tweets import Tweets

PARTS = ("convert", "collect", "import", "page")
VIEWS = ("runs", "shards", "corpus", "training", "model")
# These did not change since the commit.
SAME_RULES = "html_entities,lookalikes,emoji,minimum_length,maximum_length,arabic_share"
TIMES = 40  # answers in a turn: the garbage collector takes long, and rarely
IMPORT = "import qarib_backfill_shards, qarib_clean_up, qarib_pretrain, qarib_reap_tpus, qarib_retrain"


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--commit", default="3ef437a")
    arguments.add_argument("--turns", type=int, default=5)
    arguments.add_argument("--lines", type=int, default=100_000)
    arguments.add_argument("--text", type=Path, nargs="*", help="texts to collect; default: synthetic tweets")
    arguments.add_argument("--copies", type=int, default=1, help="of each text, with numbered lines")
    arguments.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        former = folder / "former"
        former.mkdir()
        archive = subprocess.run(
            ["git", "archive", options.commit], cwd=ROOT, check=True, capture_output=True
        ).stdout
        subprocess.run(["tar", "-x", "-C", former], input=archive, check=True)
        shard, vocab = folder / "shard_0000", folder / "vocab.txt"
        with shard.open("w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in Tweets(1).lines(options.lines))
        make_vocab(shard, vocab)
        print(f"{options.commit} and this checkout, {options.turns} turns, and one that does not count")
        versions = {"former": former, "now": ROOT}

        outputs: dict[str, Path] = {}

        def measured(version: str, *arguments: object) -> tuple[float, float]:
            """Run a command that writes to a new file, so that it finds nothing that is already done."""
            outputs[version] = Path(tempfile.mkdtemp(dir=folder)) / "output"
            return run(versions[version], ["-m", "qarib_tasks.cli", *arguments, "-o", outputs[version]])

        def convert(version: str) -> tuple[float, float]:
            return measured(version, "convert", shard, "--vocab", vocab, "--threads", 1)

        if "convert" in options.only:
            compare(f"convert {options.lines:,} lines", convert, options.turns)
            same(outputs, "the TFRecords")
        for given in (options.text or [shard]) if "collect" in options.only else ():
            text = copied(given, options.copies, folder)
            collect = ["collect", text, "--document", "line"]

            def measured_collect(version: str, collect: list[object] = collect) -> tuple[float, float]:
                return measured(version, *collect)

            compare(f"collect {given.name}, {text.stat().st_size:,} bytes", measured_collect, options.turns)
            same_lines(outputs, "the default rules")
            for version in versions:
                measured(version, *collect, "--clean", SAME_RULES, "--no-deduplicate")
            same_lines(outputs, "rules that have not changed")
        if "import" in options.only:
            compare("import the DAG files", lambda v: run(versions[v], ["-c", IMPORT]), options.turns)
        if "page" in options.only:
            compare_pages(versions, options.turns)


def compare_pages(versions: Mapping[str, Path], turns: int) -> None:
    """Measure the CPU time of the page's views, with one server of each version that answer in turns."""
    with ExitStack() as stack:
        servers = {version: stack.enter_context(page(root)) for version, root in versions.items()}

        def answers(version: str, view: str) -> dict[str, float]:
            server = servers[version]
            assert server.stdin
            assert server.stdout
            print(view, TIMES, file=server.stdin, flush=True)
            found: dict[str, float] = json.loads(server.stdout.readline())
            return found

        for view in VIEWS:
            found: dict[str, list[float]] = {version: [] for version in versions}
            for turn in range(turns + 1):
                for version in ("former", "now") if turn % 2 else ("now", "former"):
                    seconds = answers(version, view)["seconds"] / TIMES
                    if turn:
                        found[version].append(seconds)
            former, now = (1000 * statistics.median(found[version]) for version in ("former", "now"))
            print(f"{view:9} former {former:6.1f} ms  now {now:6.1f} ms CPU  ratio {now / former:.3f}")


@contextmanager
def page(root: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a version's page over a made-up run, see `page_of_version.py`."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = os.pathsep.join(str(root / folder) for folder in ("", "plugins"))
    script = str(ROOT / "benchmarks" / "compare" / "page_of_version.py")
    with subprocess.Popen(
        [sys.executable, script],
        cwd=root,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdout
        while server.stdout.readline() not in ("ready\n", ""):
            pass
        try:
            yield server
        finally:
            assert server.stdin
            server.stdin.close()


def copied(text: Path, copies: int, folder: Path) -> Path:
    """Write a text, which may be compressed with xz, so many times; return the file.

    From the second time on, each line has the number of the copy at its end, so that it is no duplicate.
    """
    data = text.read_bytes()
    if text.suffix == ".xz":
        data = lzma.decompress(data)
    path = folder / f"{text.name.removesuffix('.xz')}-{copies}"
    with path.open("wb") as file:
        for number in range(copies):
            file.write(data.replace(b"\n", b" %d\n" % number) if number else data)
    return path


def same(outputs: Mapping[str, Path], what: str) -> None:
    """Print whether both versions wrote the same bytes."""
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in outputs.values()}
    print(f"{what} {'are the same, byte for byte' if len(digests) == 1 else 'DIFFER'}")


def same_lines(outputs: Mapping[str, Path], rules: str) -> None:
    """Print how many lines differ between both versions' texts."""
    former, now = (Counter(outputs[version].read_bytes().splitlines()) for version in ("former", "now"))
    print(f"  with {rules}, {(now - former).total():,} of {now.total():,} lines differ")


def run(root: Path, arguments: list[object]) -> tuple[float, float]:
    """Run Python with a version's code; return CPU and wall seconds."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = os.pathsep.join(str(root / folder) for folder in ("", "plugins", "dags"))
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=root, env=environment, check=True, capture_output=True
    )
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def compare(what: str, measure: Callable[[str], tuple[float, float]], turns: int) -> None:
    """Measure both versions in turns and print their seconds and ratios."""
    figures: dict[str, list[tuple[float, float]]] = {"former": [], "now": []}
    for turn in range(turns + 1):
        for version in ("former", "now") if turn % 2 else ("now", "former"):
            seconds = measure(version)
            if turn:
                figures[version].append(seconds)
    print(what)
    for i, kind in enumerate(("CPU", "wall")):
        medians = {v: statistics.median(pair[i] for pair in pairs) for v, pairs in figures.items()}
        pairs = zip(figures["now"], figures["former"], strict=True)
        ratio = statistics.median(now[i] / former[i] for now, former in pairs)
        print(
            f"  {kind:4}  former {medians['former']:7.2f} s  now {medians['now']:7.2f} s  ratio {ratio:.3f}"
        )


if __name__ == "__main__":
    main()
