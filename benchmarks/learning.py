"""Check that a model learns: train a small one on real text, and compare it with word frequencies.

    python benchmarks/learning.py                    # on the sample corpus
    python benchmarks/learning.py CORPUS_FOLDER      # every text in it except tweets*

The benchmark runs the complete pipeline, from the text to the exported model. Texts whose name begins with
"tweets" are excluded: their words are random, and no model can guess a random word.

It checks two figures, on held-out documents:

1. The masked-LM accuracy of `qarib evaluate` must be at least twice the share of the most frequent wordpiece,
   which is the accuracy of always guessing that wordpiece.
2. In each of 100 sentences, one whole word that is a single wordpiece is masked. Words are drawn by their
   frequency, but each at most once. The masked word must be among the model's first five guesses at least
   five times as often as among the five most frequent words of the training text.

The exit status is 1 if either check fails. A second call reuses the trained model.
"""

from __future__ import annotations

import argparse
import collections
import logging
import random
import sys
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
SENTENCES = 100
FIRST = 5
ACCURACY_FACTOR = 2.0
WORD_FACTOR = 5.0
SHORTEST, LONGEST = 8, 60  # wordpieces of a sentence with a masked word, including [CLS] and [SEP]
COUNTED_LINES = 10  # every tenth line is enough to find the most frequent words
SHOWN = 10
MORE = 10  # times as many guesses are requested, because punctuation does not count as a word


def settings(corpus: Path, workspace: Path, steps: int) -> dict[str, object]:
    files = [
        path
        for path in sorted(corpus.iterdir())
        if not path.name.startswith("tweets") and path.name.endswith((".txt", ".txt.xz", ".txt.gz"))
    ]
    return {
        "preset": "demo",
        "workspace": str(workspace),
        "collect": {
            "heldout_share": 0.02,
            "sources": [{"name": path.name.split(".")[0], "path": str(path)} for path in files],
        },
        "vocab": {"vocab_size": 8_000},
        "split": {"shard_lines": 50_000},
        "convert": {"dupe_factor": 2},
        "model": {
            "num_hidden_layers": 3,
            "hidden_size": 192,
            "num_attention_heads": 3,
            "intermediate_size": 768,
        },
        "train": {
            "train_batch_size": 32,
            "learning_rate": 7e-4,
            "train_steps": steps,
            "num_warmup_steps": steps // 10,
            "save_checkpoints_steps": max(1, steps // 4),
            "next_sentence": False,
            "xla": True,
        },
        "evaluate": {"max_eval_steps": 40},
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", nargs="?", type=Path, default=REPOSITORY / "sample")
    parser.add_argument("--workspace", type=Path, default=REPOSITORY / "build" / "learning")
    parser.add_argument("--steps", type=int, default=2_500)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    from qarib_tasks.train import runtime

    runtime.choose_backend("tensorflow")
    from qarib_tasks import pipeline
    from qarib_tasks.config import presets
    from qarib_tasks.runs.prepare import prepare
    from qarib_tasks.runs.training_job import training_job
    from qarib_tasks.train.loop import train
    from qarib_tasks.train.results.export import export

    run = prepare(presets.resolve(settings(arguments.corpus, arguments.workspace, arguments.steps)))
    pipeline.make_dataset(run)
    job = training_job(run)
    wall, cpu = time.monotonic(), time.process_time()
    train(job)
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    print(f"trained {arguments.steps:,} steps in {wall / 60:.1f} minutes, {cpu / 60:.1f} of CPU")
    evaluation = export(job).statistics["evaluation"]
    accuracy, unigram = evaluation["masked_lm_accuracy"], evaluation["unigram_accuracy"]
    loss, entropy = evaluation["masked_lm_loss"], evaluation["unigram_entropy"]
    print(f"masked-LM loss {loss:.4f}, with word frequencies alone at least {entropy:.4f}")
    enough = verdict("masked-LM accuracy", accuracy, "most frequent wordpiece", unigram, ACCURACY_FACTOR)
    hits, frequent = guess_words(run.dataset.data, run.dataset.heldout_data, run.model.export)
    what = f"right word among the first {FIRST}"
    enough &= verdict(what, hits, f"{FIRST} most frequent words", frequent, WORD_FACTOR)
    return 0 if enough else 1


def verdict(what: str, value: float, baseline: str, base: float, factor: float) -> bool:
    enough = value >= factor * base
    print(
        f"{what}: {value:.4f}, {baseline}: {base:.4f}; required is {factor:g} times as much: "
        f"{'ok' if enough else 'FAILED'}"
    )
    return enough


def guess_words(training: Path, heldout: Path, model: Path) -> tuple[float, float]:
    """Return the shares of held-out sentences whose masked word the model and the frequent words guess."""
    from qarib_tasks.train.results.fill_mask import FillMask
    from qarib_tasks.train.results.masked_sentences import MASK

    fill = FillMask(model)
    some = training.read_text(encoding="utf-8").splitlines()[::COUNTED_LINES]
    counts = collections.Counter(
        word
        for encoding in fill.sentences.tokenizer.encode_batch(some)
        for word, _, _ in whole_words(encoding)
    )
    frequent = [word for word, _ in counts.most_common(FIRST)]
    chance = random.Random(1)
    lines = heldout.read_text(encoding="utf-8").splitlines()
    chance.shuffle(lines)
    asked: dict[str, str] = {}
    for line in lines:
        encoding = fill.sentences.tokenizer.encode(line)
        found = [one for one in whole_words(encoding) if one[0] not in asked]
        if len(asked) < SENTENCES and found and SHORTEST <= len(encoding.ids) <= LONGEST:
            word, start, end = chance.choice(found)
            asked[word] = f"{line[:start]}{MASK}{line[end:]}"
    guesses = [
        [guess.word for guess in answers if guess.word.isalpha()][:FIRST]
        for (answers,) in fill(list(asked.values()), MORE * FIRST)
    ]
    hits = [word in first for word, first in zip(asked, guesses, strict=True)]
    print(f"the {FIRST} most frequent words: {' '.join(frequent)}; some of the {len(asked)} sentences:")
    for (word, sentence), first in list(zip(asked.items(), guesses, strict=True))[:SHOWN]:
        print(f"  {'+' if word in first else '-'} {sentence}\n    {word}: {' '.join(first)}")
    return sum(hits) / len(asked), sum(word in frequent for word in asked) / len(asked)


def whole_words(encoding: Any) -> list[tuple[str, int, int]]:
    """Return the words of a `tokenizers.Encoding` that are one wordpiece, with their places in the text."""
    tokens = [*encoding.tokens, ""]
    return [
        (token, *place)
        for token, after, place in zip(tokens, tokens[1:], encoding.offsets, strict=False)
        if token.isalpha() and not after.startswith("##")
    ]


if __name__ == "__main__":
    sys.exit(main())
