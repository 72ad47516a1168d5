"""Seed a corpus with test texts, count what is left out, and measure the search.

    python benchmarks/labelled/decontamination.py [CORPUS] [--tasks TASKS.yaml] [--seeds 50] [--others 5000]

CORPUS is a file with a text per line, which may be compressed; without it, synthetic tweets are made
(benchmarks/inputs/make_tweets.py). TASKS.yaml has labelled tasks, see `qarib collect --without-texts-of`;
without it, the test texts are synthetic tweets too. The seeds are test texts, in turn verbatim, with other
punctuation, with an @name before it, and with an address after it. Times are of the processor.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from inputs.make_tweets import Tweets

from qarib_tasks.cli.sources import texts_of_tasks
from qarib_tasks.config.corpus import CollectConfig, SourceConfig
from qarib_tasks.corpus.cleaning import Cleaner
from qarib_tasks.corpus.collect import collect
from qarib_tasks.corpus.reading.read import read
from qarib_tasks.labelled.decontamination import TaskTexts

WAYS = {
    "verbatim": lambda text: text,
    "other punctuation": lambda text: " ، ".join(text.split()) + " !!",
    "a name before it": lambda text: f"@fulan {text}",
    "an address after it": lambda text: f"{text} https://t.co/Ab1Cd",
}
MEASURED = 200_000  # documents


def synthetic(seed: int) -> list[str]:
    return list(filter(None, Tweets(seed).lines(MEASURED)))


def lines_of(path: Path) -> list[str]:
    source = SourceConfig(name="corpus", path=str(path), document="line")
    return list(
        dict.fromkeys(line for batch in read(source, path, str(path), Counter()) for line in batch if line)
    )


def seeded(texts: TaskTexts, others: list[str], seeds: list[str], folder: Path) -> None:
    """Collect a corpus with seeds, and print what is left out."""
    changed = {
        way(text): name for text, (name, way) in zip(seeds, [*WAYS.items()] * len(seeds), strict=False)
    }
    documents = [*others, *changed]
    random.Random(1).shuffle(documents)
    (folder / "seeded.txt").write_text("\n".join(documents) + "\n", encoding="utf-8")
    source = SourceConfig(name="seeded", path=str(folder / "seeded.txt"), document="line")
    config = CollectConfig(sources=(source,), cleaning=(), deduplicate=False)
    collect(config, folder / "data.txt", heldout=None, random_seed=34, without=texts)
    kept = set((folder / "data.txt").read_text(encoding="utf-8").strip("\n").split("\n\n"))
    lost = [text for text in others if not kept.issuperset(Cleaner(config).clean([text]))]
    print(f"{len(lost):,} of {len(others):,} other documents are left out", *lost, sep="\n  ")
    for name in WAYS:
        some = [text for text, way in changed.items() if way == name]
        left_out = sum(kept.isdisjoint(Cleaner(config).clean([text])) for text in some)
        print(f"{left_out} of {len(some)} seeds are left out: {name}")


def measured(texts: TaskTexts, documents: list[str], folder: Path) -> None:
    """Print the time that cleaning and the search take."""
    config = CollectConfig()
    started = time.process_time()
    cleaned = [
        text for text in Cleaner(config).clean([part for text in documents for part in (text, "")]) if text
    ]
    cleaning = time.process_time() - started
    path = folder / "measured.txt"
    path.write_text("\n\n".join(cleaned) + "\n", encoding="utf-8")
    started = time.process_time()
    search = texts.search(config)
    made = time.process_time() - started
    search.count(path)
    searching = time.process_time() - started - made
    number, size = len(cleaned), path.stat().st_size / 1e6
    print(
        f"{number:,} documents, {size:.1f} MB: cleaning {cleaning / number * 1e6:.1f} µs per document, "
        f"search {searching / number * 1e6:.1f} µs ({size / searching:.0f} MB/s); "
        f"{made:.2f} s to prepare the texts"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", nargs="?", type=Path)
    parser.add_argument("--tasks", type=Path)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--others", type=int, default=5000)
    options = parser.parse_args()
    documents = lines_of(options.corpus) if options.corpus else synthetic(1)
    texts = (
        texts_of_tasks(options.tasks) if options.tasks else TaskTexts({"made up": tuple(synthetic(2)[:3000])})
    )
    tested = list(dict.fromkeys(text for some in texts.tasks.values() for text in some))
    print(f"{len(tested):,} different test texts")
    chance = random.Random(34)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seeded(texts, chance.sample(documents, options.others), chance.sample(tested, options.seeds), folder)
        measured(texts, documents[:MEASURED], folder)


if __name__ == "__main__":
    main()
