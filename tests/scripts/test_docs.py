"""The documentation as a site: it builds without a broken link, and names everything that exists."""

from __future__ import annotations

import dataclasses
import re
from html import unescape
from pathlib import Path

import docs_pages
import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

from qarib_tasks.cli.main import cli
from qarib_tasks.config.run import RunConfig
from qarib_tasks.storage.manifest import Manifest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build(load_config(str(REPOSITORY / "mkdocs.yml"), strict=True, site_dir=str(folder)))
    return folder


def text_of(page: Path) -> str:
    return unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


def test_every_page_is_built(site: Path) -> None:
    pages = {
        path.relative_to(REPOSITORY / "docs").with_suffix(".html")
        for path in (REPOSITORY / "docs").rglob("*.md")
    }
    assert {site / page for page in (*pages, "settings.html", "commands.html")} <= set(site.rglob("*.html"))


def test_each_broken_link_is_a_warning_and_fails_the_build(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    links = ["training.md#good", "nowhere.md", "training.md#no-such-heading", "/absolute"]
    (docs / "training.md").write_text("## Good\n\n" + "".join(f"[a link]({link})\n" for link in links))
    (docs / "forgotten.md").write_text("# In no navigation\n")
    config = load_config(
        str(REPOSITORY / "mkdocs.yml"),
        strict=True,
        docs_dir=str(docs),
        site_dir=str(tmp_path / "site"),
        nav=[{"Training": "training.md"}],
        hooks=[],
        extra_css=[],
    )
    with pytest.raises(Abort, match="4 warnings"):
        build(config)


def test_a_page_loads_nothing_from_elsewhere(site: Path) -> None:
    loads = re.compile(
        r"<(?:script|img|link(?! rel=\"(?:next|prev|canonical)\"))\b[^>]*(?:src|href)=\"(https?:)?//[^\"]*"
    )
    for page in site.rglob("*.html"):
        assert not loads.search(page.read_text(encoding="utf-8")), page


def test_every_setting_has_its_row(site: Path) -> None:
    page = (site / "settings.html").read_text(encoding="utf-8")
    names = [
        f"{section}.{name}".lstrip(".")
        for section, cls in docs_pages.sections(RunConfig)
        for name in (field.name for field in dataclasses.fields(cls))
        if section or name in ("workspace", "preset", "extends")
    ]
    assert len(names) > 80
    assert [name for name in names if f'id="{name}"' not in page] == []
    rows = dict(re.findall(r'<tr>\n<td><span id="([^"]+)">(.*?)</tr>', page, re.DOTALL))
    assert "another model" in rows["train.learning_rate"]
    assert "another dataset" in rows["convert.max_seq_length"]
    assert "the same model" in rows["train.keep_checkpoint_max"]


def test_every_command_has_its_options(site: Path) -> None:
    page = text_of(site / "commands.html")
    commands = list(docs_pages.commands(cli))
    assert {path[1] for path, _ in commands} == set(cli.commands)
    missing = [
        (path, option)
        for path, command in commands
        for option in [
            " ".join(path),
            *(opt for p in command.params for opt in p.opts if opt.startswith("--")),
        ]
        if option not in page
    ]
    assert missing == []


def test_the_reference_names_every_key_of_a_manifest() -> None:
    text = (REPOSITORY / "docs" / "reference.md").read_text(encoding="utf-8")
    keys = [field.name for field in dataclasses.fields(Manifest)]
    assert [key for key in keys if f"| `{key}` |" not in text] == []


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        *sorted(f"docs/{page.name}" for page in (REPOSITORY / "docs").glob("*.md")),
    ],
)
def test_each_path_that_a_page_names_exists(page: str) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    roots = "qarib_tasks|plugins|tests|dags|scripts|docs|deploy|benchmarks|requirements|sample"
    paths = set(re.findall(rf"(?<![\w/:.])((?:{roots})/[\w./-]*\w/?)", text))
    assert sorted(path for path in paths if not (REPOSITORY / path).exists() and "NAME" not in path) == []


def test_each_test_that_the_recipe_names_exists() -> None:
    text = (REPOSITORY / "docs" / "published-recipe.md").read_text(encoding="utf-8")
    selections = re.findall(r'((?:tests/[\w/]+\.py )+)-k ("[^"]+"|\w+)', text)
    assert len(selections) > 8
    for files, words in selections:
        names = "".join(
            name
            for file in files.split()
            for name in re.findall(r"def (test_\w+)", (REPOSITORY / file).read_text(encoding="utf-8"))
        )
        assert all(word in names for word in words.strip('"').split(" or ")), (files, words)
