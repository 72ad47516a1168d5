"""YAML that would crash the compiled loader, or take all memory, is refused before it is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from qarib_tasks.config.loading import load_yaml
from qarib_tasks.config.yaml_text import MOST_LEVELS, MOST_VALUES, read_yaml, require_small
from qarib_tasks.errors import ConfigError

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000, "? " * 100_000, BOMB])
def test_what_grows_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises((ValueError, yaml.YAMLError), match=r"more than|block"):
        read_yaml(text)
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"c\.yaml.*: not valid YAML: "):
        load_yaml(tmp_path / "c.yaml")


def test_the_limits() -> None:
    deep = "[" * MOST_LEVELS + "]" * MOST_LEVELS
    assert read_yaml(deep) == eval(deep)
    with pytest.raises(ValueError, match=f"more than {MOST_LEVELS} levels"):
        read_yaml(f"[{deep}]")
    many = ["x"] * 999
    text = yaml.safe_dump({"one": many, "others": [many] * 998}, default_flow_style=True)
    assert "*id001" in text
    assert read_yaml(text) == {"one": many, "others": [many] * 998}
    with pytest.raises(ValueError, match=f"more than {MOST_VALUES:,} values"):
        read_yaml(text.replace("others: [", "others: [*id001, *id001, "))
    with pytest.raises(ValueError, match="aliases"):
        require_small(text, aliases=False)
