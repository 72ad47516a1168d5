"""Write any number of synthetic Arabic tweets, the same for the same seed.

    python benchmarks/inputs/make_tweets.py 512000 -o tweets.txt

Words are made from roots and patterns, so that no text is copied: root letters are put into common noun
and verb patterns with prefixes and suffixes, and drawn with Zipf-like frequencies. Tweets have mentions,
hashtags, links, emoji, digits, Latin words, diacritics, tatweel, and letters repeated for emphasis. A
document has 6 to 14 tweets. An empty line, which counts as a line, separates documents. A line has about 150
bytes. The text is good for measuring speed and size, but not what a model learns.
"""

from __future__ import annotations

import argparse
import itertools
import random
from collections.abc import Iterator
from pathlib import Path

LETTERS = "بتثجحخدذرزسشصضطظعغفقكلمنهوي"
PATTERNS = [
    "123",
    "1ا23",
    "12ا3",
    "م12و3",
    "ت1ا23",
    "ا12ا3",
    "م1ا23",
    "است123",
    "ي123",
    "ت123",
    "12ي3",
    "1و3",
]
PREFIXES = ["", "", "", "ال", "ال", "و", "وال", "ب", "بال", "لل", "ف", "س"]
SUFFIXES = ["", "", "", "", "ة", "ها", "هم", "ون", "ين", "ات", "ي", "نا", "ه"]
PARTICLES = (
    *("من", "في", "على", "الى", "ان", "لا", "ما", "هذا", "هذه", "التي", "الذي", "كل", "مع", "عن", "قد", "لم"),
    *("هو", "هي", "يا", "او", "ثم", "بعد", "قبل", "أن", "إلى", "إن", "أو"),
)
LATIN = ("the", "and", "love", "good", "video", "new", "live", "music", "game", "win", "like", "retweet")
EMOJI = ["😂", "😍", "❤️", "🔥", "👍🏻", "🇸🇦", "😭", "🙏", "✨", "👨‍👩‍👧", "🤣", "🥺"]
MARKS = "\u064b\u064c\u064d\u064e\u064f\u0650\u0651\u0652"
BASE62 = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
WORDS = 400_000


def vocabulary(dice: random.Random, size: int) -> list[str]:
    """Return different invented words, the most frequent first."""
    words = dict.fromkeys(PARTICLES)
    while len(words) < size:
        root = dice.choices(LETTERS, k=3)
        stem = "".join(root[int(c) - 1] if c.isdigit() else c for c in dice.choice(PATTERNS))
        words[dice.choice(PREFIXES) + stem + dice.choice(SUFFIXES)] = None
    return list(words)


class Tweets:
    """Draws tweets, and documents of tweets."""

    def __init__(self, seed: int, words: int = WORDS) -> None:
        self.dice = random.Random(seed)
        self.words = vocabulary(self.dice, words)
        self.tags = self.words[:20_000]
        # Zipf's law with Mandelbrot's shift.
        self.weights = list(itertools.accumulate(1 / (rank + 2.7) for rank in range(words)))

    def tweet(self) -> str:
        dice = self.dice
        tokens = dice.choices(self.words, cum_weights=self.weights, k=dice.randint(2, 20))
        tokens = [self._decorated(token) if dice.random() < 0.06 else token for token in tokens]
        for chance, make in (
            (0.25, lambda: "@USER"),
            (0.2, lambda: "#" + "_".join(dice.choices(self.tags, k=dice.randint(1, 3)))),
            (0.15, lambda: "https://t.co/" + "".join(dice.choices(BASE62, k=10))),
            (0.3, lambda: "".join(dice.choices(EMOJI, k=dice.randint(1, 4)))),
            (0.12, lambda: dice.choice(["", "", "٪", "%"]).join([self._number(), ""])),
            (0.1, lambda: " ".join(dice.choices(LATIN, k=dice.randint(1, 3)))),
        ):
            if dice.random() < chance:
                tokens.insert(dice.randint(0, len(tokens)), make())
        return " ".join(tokens) + dice.choice(["", "", "", ".", "!", "؟", " ..", "،"])

    def _number(self) -> str:
        number = str(self.dice.randint(0, 10 ** self.dice.randint(1, 6)))
        arabic = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
        return number.translate(arabic) if self.dice.random() < 0.5 else number

    def _decorated(self, word: str) -> str:
        place = self.dice.randint(1, len(word))
        kind = self.dice.randrange(3)
        if kind == 0:
            return "".join(c + self.dice.choice(MARKS) for c in word)
        if kind == 1:
            return word[:place] + "ـ" * self.dice.randint(1, 4) + word[place:]
        return word + word[-1] * self.dice.randint(2, 5)

    def lines(self, count: int) -> Iterator[str]:
        """Yield `count` lines, including the empty lines between documents."""
        left = 0
        for number in range(count):
            if left == 0 and number:
                left = self.dice.randint(6, 14)
                yield ""
                continue
            left = max(left - 1, 0) if number else self.dice.randint(6, 14) - 1
            yield self.tweet()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("lines", type=int)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with arguments.output.open("w", encoding="utf-8", newline="\n") as file:
        for line in Tweets(arguments.seed).lines(arguments.lines):
            file.write(line + "\n")


if __name__ == "__main__":
    main()
