"""Write tweets.txt: lines that look like tweets, from the sentences of the other sample files.

    python sample/make_tweets.py            writes sample/tweets.txt

The words and their order are real, so that a model can learn from them. Hashtags, mentions, links, emoji,
repeated letters and similar are random with a fixed seed: each run writes the same bytes.
"""

from __future__ import annotations

import random
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
FROM = ("office.txt", "udhr.txt", "classical.txt")
THREADS = 500
DIACRITICS = re.compile("[\u064b-\u065f\u0670\u0640]")
WORDS = re.compile("[\u0621-\u064a]{2,}")
EMOJI = [
    "😂",
    "❤️",
    "😍",
    "🌹",
    "👍🏻",
    "🙏",
    "💔",
    "🎉",
    "🔥",
    "😭",
    "✨",
    "🇶🇦",
    "👨\u200d👩\u200d👧",
    "🤲",
    "☕",
]


def tweet(words: list[str], rng: random.Random) -> str:
    """Turn up to twenty words of running text into one tweet."""
    words = list(words)
    at = rng.randrange(len(words))
    if rng.random() < 0.25:
        words[at] = "#" + words[at]
    elif rng.random() < 0.15:
        # Repeat a long vowel for emphasis.
        words[at] = re.sub("([اوي])", lambda m: m[1] * rng.randrange(3, 7), words[at], count=1)
    if rng.random() < 0.3:
        words.insert(0, "@USER" if rng.random() < 0.7 else f"@user_{rng.randrange(1000)}")
    if rng.random() < 0.1:
        words.insert(0, "RT")
    if rng.random() < 0.2:
        words.append("https://t.co/" + "".join(rng.choices("abcdefghijkmnpqrstuvwxyzABCDEFGH23456789", k=10)))
    if rng.random() < 0.4:
        words.append(rng.choice(EMOJI) * rng.choice((1, 1, 2, 3)))
    if rng.random() < 0.3:
        words.append(rng.choice(["!!", "؟", "...", "هههههه", "🤔؟", "،،"]))
    return " ".join(words)


def main() -> None:
    rng = random.Random(34)
    text = "\n".join((HERE / name).read_text(encoding="utf-8") for name in FROM)
    lines = [WORDS.findall(DIACRITICS.sub("", line)) for line in text.splitlines()]
    lines = [words for words in lines if len(words) >= 4]
    threads = []
    for _ in range(THREADS):
        start = rng.randrange(len(lines) - 6)
        threads.append(
            "\n".join(tweet(words[:20], rng) for words in lines[start : start + rng.randrange(3, 7)])
        )
    (HERE / "tweets.txt").write_text("\n\n".join(threads) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
