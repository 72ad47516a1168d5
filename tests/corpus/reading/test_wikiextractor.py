"""Articles of Wikipedia: each a document, no tag in the text."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.corpus.reading.read import read
from qarib_tasks.errors import InputError
from tests.support.collecting import lines_of

TEXT = """<doc id="7" url="https://ar.wikipedia.org/wiki?curid=7" title="ماء">
ماء

الماء مادة شفافة.

وهو <b>سائل</b>.

</doc>
<doc id="10" url="https://ar.wikipedia.org/wiki?curid=10" title="زيتون">
زيتون

الزيتون شجرة.
</doc>
"""


def documents(path: Path, **settings: object) -> list[str]:
    source = SourceConfig(name="s", path=str(path), **settings)  # type: ignore[arg-type]
    lines = [line for batch in read(source, path, str(path), Counter()) for line in batch]
    return [text.strip() for text in "\n".join(lines).split("\n\n") if text.strip()]


@pytest.mark.parametrize("name", ["wiki_00", "wiki.txt"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_each_article_is_a_document(tmp_path: Path, name: str, end: str) -> None:
    path = tmp_path / name
    path.write_bytes(TEXT.replace("\n", end).encode())
    expected = ["ماء\nالماء مادة شفافة.\nوهو <b>سائل</b>.", "زيتون\nالزيتون شجرة."]
    assert documents(path) == expected
    assert documents(path, format="wikiextractor") == expected
    assert documents(path, document="file") == ["\n".join(expected)]
    assert documents(path, document="line") == "\n".join(expected).split("\n")


def test_an_article_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text('<doc id="1" title="t">نص</doc>\n<doc id="2" title="t">\nنص</doc>', encoding="utf-8")
    assert documents(path) == ["نص", "نص"]


def test_a_file_cut_short_or_with_other_text(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text(TEXT[: TEXT.rindex("</doc>")], encoding="utf-8")
    with pytest.raises(InputError, match="the last article has no end"):
        lines_of(path)
    path.write_text(TEXT + "نص\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"a:14: the text is in no <doc"):
        lines_of(path)
