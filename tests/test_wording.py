"""Strings, docstrings and pages use the field's words: none of the habits that read as translated."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CODE = ("qarib_tasks", "plugins", "dags", "scripts", "benchmarks", "deploy")
_UNITS = "second|minute|hour|step|line|shard|word|page|task|epoch|run|row"
HABITS = {
    "anew": r"\banew\b",
    "mend": r"\bmend(s|ed|ing)?\b",
    "heed": r"\bheed(s|ed)?\b",
    "told": r"\btold\b",
    "nobody": r"\b(whoever|nobody|somebody)\b",
    "that is there": r"\bthat (is|are|was|were) there\b",
    "behind": r"\bbehind\b",
    "whole": r"\b(is|are|be|not|was|were) whole\b",
    "go on": r"\b(go|goes|went|gone|going) on\b",
    "so-manieth": r"so-manie",
    "ended well": r"\bended well\b",
    "come": r"\b(come|comes|came)\b",
    "look": r"\b(look|looks|looked) (at|after|what)\b",
    "a X": rf"\b(seconds|wordpieces|lines|steps|runs|requests|examples|tokens) an? ({_UNITS})\b",
}
# The word, and the file that needs it.
ALLOWED: set[tuple[str, str]] = set()


def texts() -> Iterator[tuple[Path, int, str]]:
    """Every string and docstring of the code, and every line of a page, with its place."""
    for folder in CODE:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield path, node.lineno, node.value
        for kind in ("*.js", "*.html", "*.sh", "*.yaml"):
            for path in sorted((ROOT / folder).rglob(kind)):
                if "uplot" not in path.parts:
                    yield from lines(path)
    # Decisions are history: an ADR keeps the words of its day.
    pages = [path for path in (ROOT / "docs").rglob("*.md") if path.parent.name != "adr"]
    for path in [*sorted(pages), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        yield from lines(path)


def lines(path: Path) -> Iterator[tuple[Path, int, str]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        yield path, number, line


TEXTS = list(texts())


@pytest.mark.parametrize("habit", HABITS)
def test_no_text_has_the_habit(habit: str) -> None:
    pattern = re.compile(HABITS[habit], re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match[0]}"
        for path, number, text in TEXTS
        if (match := pattern.search(text)) and (habit, path.name) not in ALLOWED
    ]
    assert not found, "\n".join(found)


def test_the_list_of_exceptions_is_short_and_used() -> None:
    assert len(ALLOWED) <= 10
    names = {path.name for path, _, _ in TEXTS}
    assert {name for _, name in ALLOWED} <= names
