"""The view *New run*: its fields, and what it answers to what is typed.

Covers plugins/qarib_airflow/page/new_run.py, plugins/qarib_airflow/page/planned.py.
"""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest
from qarib_airflow.forms.pretrain import build_params, field_names
from qarib_airflow.page import new_run

from qarib_tasks.config.corpus import SourceConfig
from qarib_tasks.config.loading import fields_of
from qarib_tasks.config.presets import PRESETS, SAMPLE
from qarib_tasks.errors import ConfigError, QaribError

TWEETS = str(SAMPLE / "tweets.txt")


@pytest.fixture(autouse=True)
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, airflow_database: Path) -> None:
    monkeypatch.setenv("QARIB_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("QARIB_BUCKET", "a-bucket")


def faults(values: dict[str, Any], **more: Any) -> dict[str, str]:
    return {one["field"]: one["what"] for one in new_run.check(values, **more)["faults"]}


def test_the_form_has_every_field_of_the_trigger_form() -> None:
    fields = {field["name"]: field for field in new_run.form()["fields"]}
    assert fields.keys() == build_params().keys()
    assert [name for name in fields][: len(new_run.ESSENTIALS)] == list(new_run.ESSENTIALS)
    for name in field_names():
        assert fields[name]["title"]
        assert fields[name]["presets"].keys() == PRESETS.keys()
    kinds = {name: field["kind"] for name, field in fields.items()}
    some = (
        "preset",
        "sources",
        "train_steps",
        "learning_rate",
        "max_cost",
        "zones",
        "xla",
        "bucket",
        "tasks",
    )
    wanted = ["choice", "rows", "number", "number", "number", "list", "switch", "text", "rows"]
    assert [kinds[name] for name in some] == wanted
    assert fields["preset"]["choices"] == list(PRESETS)
    assert fields["train_steps"]["presets"]["demo"] == "800"
    source = fields["sources"]["fields"]
    assert [field["name"] for field in source] == list(fields_of(SourceConfig))
    assert [field["name"] for field in source if field["required"]] == ["name", "path"]


def test_numbers_and_sources_arrive_as_meant() -> None:
    answer = new_run.check(
        {
            "preset": "demo",
            "train_steps": "2,000,000",
            "learning_rate": "8e-6",
            "num_warmup_steps": "1e4",
            "initializer_range": ".02",
            "xla": "false",
            "zones": ["us-west4-a"],
            "sources": [{"path": TWEETS, "document": "line", "limit": "1,000"}, {"path": TWEETS}],
            "vocab_size": "",
        }
    )
    assert answer["faults"] == []
    assert answer["conf"] == {
        "preset": "demo",
        "train_steps": 2_000_000,
        "learning_rate": 8e-6,
        "num_warmup_steps": 10_000,
        "initializer_range": 0.02,
        "xla": "false",
        "zones": ["us-west4-a"],
        "sources": [
            {"name": "tweets", "path": TWEETS, "document": "line", "limit": 1000},
            {"name": "tweets-2", "path": TWEETS},
        ],
    }
    assert answer["values"].keys() == field_names().keys()
    assert (answer["values"]["train_steps"], answer["values"]["vocab_size"]) == ("2,000,000", "3,000")
    for name, value in answer["conf"].items():
        build_params()[name].resolve(value)  # Airflow accepts it.


@pytest.mark.parametrize(
    ("values", "field", "what"),
    [
        ({"train_steps": "-5"}, "train_steps", "greater than or equal to 1"),
        ({"train_steps": "2.000"}, "train_steps", "'2.000' is not a number that can be read in one way"),
        ({"learning_rate": "8,5"}, "learning_rate", "is not a number"),
        ({"vocab_size": "many"}, "vocab_size", "is not a number"),
        ({"masked_lm_prob": "1.5"}, "masked_lm_prob", "less than 1"),
        ({"train_masked_lm_prob": "1.5"}, "train_masked_lm_prob", "less than 1"),
        ({"preset": "arabert"}, "preset", "unknown preset"),
        ({"workspace": "/somewhere"}, "workspace", "no workspace of this deployment"),
        ({"first_step": "train"}, "first_step", "needs an existing dataset"),
        ({"sources": [{"path": TWEETS}, {"path": "/etc/passwd"}]}, "sources.1.path", "may not be read"),
        ({"sources": [{"path": "gs://u:p@b/x"}]}, "sources.0.path", "has a password"),
        ({"sources": [{"name": "a b", "path": TWEETS}]}, "sources.0.name", "pattern"),
        ({"sources": [{"name": "a"}]}, "sources.0.path", "missing"),
        ({"sources": [{"path": TWEETS, "limit": "many"}]}, "sources.0.limit", "is not a number"),
        ({"sources": [{"path": TWEETS, "kind": "x"}]}, "sources.0.kind", "unknown setting"),
        ({"sources": ["x"]}, "sources.0", "is missing"),
        ({"tasks": [{"train": "/etc/passwd"}]}, "tasks.0.train", "may not be read"),
        ({"num_warmup_steps": "1e6"}, "num_warmup_steps", "num_warmup_steps"),
        # Several settings together: beside the one that is typed.
        ({"max_seq_length": "512", "max_position_embeddings": "64"}, "max_seq_length", "is above"),
        ({"max_position_embeddings": "12"}, "max_position_embeddings", "is above"),
        ({"token_dropping": "8e-6"}, "token_dropping", "keep fewer"),
        ({"provisioning": "reserved"}, "provisioning", "reservation"),
        ({"sources": [{"path": TWEETS, "encoding": "x"}]}, "sources.0.encoding", "unknown encoding"),
        # What only the preflight refused.
        ({"machine": "cloud_tpu", "train_batch_size": "100"}, "train_batch_size", "cannot be divided over 8"),
        ({"machine": "cloud_tpu", "accelerator_type": "v9-8"}, "accelerator_type", "unknown accelerator"),
        ({"machine": "cloud_tpu", "accelerator_type": "v6e-0"}, "accelerator_type", "unknown accelerator"),
        ({"machine": "cloud_tpu", "running_hours": ".001"}, "running_hours", "is above running_hours"),
        ({"machine": "cloud_tpu", "max_cost": ".001"}, "max_cost", "is above max_cost"),
        ({"preset": "qarib"}, "sources", "no source of text is set"),
        ({"promote_by": "task", "promote_task": "x"}, "promote_task", "which the run does not have"),
        # Numbers that no library takes.
        ({"train_steps": "1e19"}, "train_steps", "is too large (got 10000000000000000000)"),
        ({"train_steps": "9" * 5_000}, "train_steps", "is not a number"),
        ({"shard_lines": 10**400}, "shard_lines", "is too large (got 0x"),
        ({"machine": "cloud_tpu", "chip_hour_price": 1e308}, "", "no estimate"),
        ({"nonsense": "1"}, "nonsense", "unknown setting"),
        ({"max_cost": ["1"]}, "max_cost", ""),
        ({"vocab_size": {"a": 1}}, "vocab_size", ""),
        ({"zones": "x"}, "zones", ""),
    ],
)
def test_what_is_wrong_is_said_of_its_field(values: dict[str, Any], field: str, what: str) -> None:
    found = faults({"preset": "demo", **values})
    assert [name for name in found if name == field or name.startswith(f"{field}.")], found
    assert what in " ".join(found.values())
    assert new_run.check({"preset": "demo", **values})["conf"] == {}


def test_a_bucket_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert faults({"preset": "demo"}) == {}
    monkeypatch.delenv("QARIB_BUCKET")
    assert "no bucket to publish to" in faults({"preset": "demo"})["bucket"]


def test_a_fault_is_short_and_soon_found() -> None:
    values = {"sources": ["x"] * 1_000, "tasks": ["x"] * 1_000, "zones": ["x"] * 1_000}
    started = time.process_time()
    found = new_run.check({"preset": "x" * 100_000, **values})["faults"]
    found += new_run.check({"preset": "demo", **values, "bucket": "x" * 100_000})["faults"]
    assert time.process_time() - started < 3
    assert len(found) > 1_000
    assert max(len(one["what"]) for one in found) < 600


def test_a_deadline_as_people_write_it() -> None:
    base = {"preset": "demo", "machine": "cloud_tpu"}
    answers = [new_run.check(base, within=within) for within in ("1,000", " ١٢ ", "")]
    assert all(answer["faults"] == [] for answer in answers)
    marks = [[mark for row in answer["plan"]["rows"] for mark in row["marks"]] for answer in answers]
    assert ["cheapest in time" in one for one in marks] == [True, True, False]
    for within in ("-5", "soon", "0", "2,5", -1):
        answer = new_run.check(base, within=within)
        assert [one["field"] for one in answer["faults"]] == ["within"]
        assert answer["faults"][0]["what"].startswith("Hours it may take: ")


def test_a_run_is_filled_in_again() -> None:
    """What the form cannot show is named, not left out in silence."""
    conf = {
        "preset": None,
        "sources": "/data/a.txt\n/data/b.txt",
        "tasks": "a: b: c",
        "train_steps": "2,000",
        "xla": "false",
        "of_an_old_version": 7,
        "zones": [],
    }
    values, lost = new_run.values_of(conf)
    assert values == {
        "sources": [{"name": "a", "path": "/data/a.txt"}, {"name": "b", "path": "/data/b.txt"}],
        "train_steps": "2,000",
        "xla": "false",
    }
    assert lost == ["tasks", "of_an_old_version"]


def test_one_column_and_several() -> None:
    """One column is the text that the config has; a list of one would name another dataset."""
    (field,) = [one for one in new_run.form()["fields"] if one["name"] == "sources"]
    kinds = {one["name"]: one["kind"] for one in field["fields"]}
    assert (kinds["field"], kinds["header"], kinds["limit"], kinds["document"]) == (
        "list",
        "switch",
        "number",
        "choice",
    )
    sources = [
        {"path": TWEETS, "field": ["a"]},
        {"path": TWEETS, "field": ["a", "b"]},
        {"path": TWEETS, "field": []},
    ]
    conf = new_run.check({"preset": "demo", "sources": sources})["conf"]
    assert [one.get("field") for one in conf["sources"]] == ["a", ["a", "b"], None]


def test_all_faults_are_said_at_once() -> None:
    found = faults({"preset": "demo", "train_steps": "x", "vocab_size": "10", "workspace": "/somewhere"})
    assert {"train_steps", "vocab_size"} <= found.keys()


def test_the_plan_follows_what_is_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QARIB_BUCKET", "a-bucket")
    base: dict[str, Any] = {"sources": [{"path": TWEETS}], "max_cost": "1"}
    answer = new_run.check(base, text=60e9, within=12)
    assert ([one["field"] for one in answer["faults"]], answer["preset"]) == (["max_cost"], "qarib")
    plan = answer["plan"]
    assert plan["above_budget"]
    assert plan["advice"][0].startswith("This reads ")
    marks = {mark: row for row in plan["rows"] for mark in row["marks"]}
    assert marks["as asked"]["batch"] == plan["asked"]["batch"] == 64
    assert marks["cheapest"]["prices"]["spot"][1] <= marks["as asked"]["prices"]["spot"][1]
    larger = new_run.check({**base, "train_batch_size": "1,024", "train_steps": "125,000"})["plan"]
    assert larger["asked"]["cost"][1] < plan["asked"]["cost"][1]
    assert not any(line.startswith("This reads") for line in larger["advice"])
    assert new_run.check({**base, "machine": "local"})["plan"] is None
    assert "v9" in new_run.check({**base, "accelerator_type": "v9-8"})["plan"]["trouble"]


def test_an_empty_machine_is_the_deployment_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo alone would train on the worker."""

    def machine() -> Any:
        return next(one for one in new_run.form()["fields"] if one["name"] == "machine")["presets"]["demo"]

    assert machine() == "local"
    monkeypatch.setenv("QARIB_TPU", "machine: cloud_tpu")
    assert machine() == "cloud_tpu"
    answer = new_run.check({"preset": "demo", "bucket": "a-bucket"})
    assert (answer["values"]["machine"], answer["plan"]["emulated"]) == ("cloud_tpu", False)
    monkeypatch.setenv("CLOUD_TPU_EMULATOR_HOST", "token@localhost:9470")
    assert new_run.check({"preset": "demo", "bucket": "a-bucket"})["plan"]["emulated"]
    monkeypatch.setenv("QARIB_TPU", "[")
    assert machine() == "local"


def test_a_prefix_of_another_is_refused_at_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QARIB_BUCKET", "a-bucket")
    monkeypatch.setenv("QARIB_ALLOWED_PREFIXES", "gs://a-bucket/mine/")
    base: dict[str, Any] = {"preset": "demo", "sources": [{"path": TWEETS}]}
    assert faults(base | {"prefix": "mine/"}) == {}
    assert faults(base | {"bucket": "other-bucket"}).keys() == {"bucket"}
    assert faults(base | {"bucket": "other-bucket", "prefix": "theirs/"}).keys() == {"prefix"}


def test_nothing_is_read_for_an_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """50 sources, local and remote, of which none exists: only the settings are judged."""
    monkeypatch.setenv("QARIB_ALLOWED_SOURCES", f"gs://a-bucket/,https://host.invalid/,{tmp_path}")
    addresses = [f"gs://a-bucket/{n}.txt" for n in range(20)] + [
        f"https://host.invalid/{n}" for n in range(20)
    ]
    addresses += [str(tmp_path / f"{n}/**/*.txt") for n in range(10)]
    answer = new_run.check({"preset": "demo", "sources": [{"path": address} for address in addresses]})
    assert answer["faults"] == []
    assert len(answer["conf"]["sources"]) == 50


def test_a_preview_shows_the_first_documents_and_the_size() -> None:
    values = {"preset": "demo", "sources": [{"path": "/etc/passwd"}, {"path": TWEETS, "document": "line"}]}
    made = new_run.preview_of(values, 1)
    assert "tweets" in made["title"]
    assert made["bytes"] == Path(TWEETS).stat().st_size
    assert made["lines"]
    with pytest.raises(QaribError, match="may not be read"):
        new_run.preview_of(values, 0)
    with pytest.raises(QaribError, match="no such source"):
        new_run.preview_of(values, 7)
    with pytest.raises(QaribError, match="no such file"):
        new_run.preview_of({"sources": [{"path": str(SAMPLE / "nothing.txt")}]}, 0)
    # The slots are free again.
    for _ in range(5):
        assert new_run.preview_of(values, 1)["lines"]


def test_a_source_above_the_deployment_s_limits_is_refused_at_its_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base: dict[str, Any] = {"preset": "demo"}
    row = {"path": TWEETS, "document": "line"}
    high = {**row, "most_expansion": "5000"}
    assert faults(base | {"sources": [row]}) == {}
    assert faults(base | {"sources": [row, high]}).keys() == {"sources.1"}
    with pytest.raises(ConfigError, match="`most_expansion` is 5,000, and this deployment allows 1,000"):
        new_run.preview_of(base | {"sources": [high]}, 0)
    monkeypatch.setenv("QARIB_LIMITS", "most_expansion: 5000")
    assert faults(base | {"sources": [row, high]}) == {}


def test_previews_have_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"preset": "demo", "sources": [{"path": TWEETS, "document": "line"}]}
    monkeypatch.setenv("QARIB_LIMITS", "{preview_lines: 10, previews_at_once: 3}")
    made = new_run.preview_of(values, 0)
    assert any(" of a sample" in line for line in made["lines"])
    places = new_run._places(3)
    taken = [places.acquire(blocking=False) for _ in range(4)]
    assert taken == [True, True, True, False]
    with pytest.raises(ConfigError, match="too many previews"):
        new_run.preview_of(values, 0)
    places.release(3)
    monkeypatch.setenv("QARIB_LIMITS", "{preview_seconds: 0.2, previews_at_once: 3}")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        monkeypatch.setenv("QARIB_ALLOWED_SOURCES", address)
        with pytest.raises(ConfigError, match="no preview within"):
            new_run.preview_of({"preset": "demo", "sources": [{"path": f"{address}a.txt"}]}, 0)


def test_a_help_is_text() -> None:
    """Airflow's own form shows it as Markdown."""
    preset = next(field for field in new_run.form()["fields"] if field["name"] == "preset")
    assert "\nqarib: the recipe" in preset["help"]
    assert not [field["name"] for field in new_run.form()["fields"] if "**" in field["help"]]
