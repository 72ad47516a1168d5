"""What was made from what, by the records of runs and of promoted models."""

from __future__ import annotations

from typing import Any

import pytest

from qarib_tasks.views.lineage import graph as lineage
from qarib_tasks.views.lineage.graph import Graph, Key, graph_of, place_of
from qarib_tasks.views.model import Judged
from qarib_tasks.views.runs import RunRecord
from tests.views.test_way import steps

D1, D2, M1, M2 = "demo-00000000d1", "demo-00000000d2", "demo-00000000e1", "demo-00000000e2"


def run(dataset: str, model: str, *, run_id: str = "a", state: str = "success", **more: Any) -> RunRecord:
    states = more.pop("steps", steps("success"))
    first_step = more.pop("first_step", "collect")
    config = {"workspace": "/ws", "preset": "demo", **more}
    values = {"config": config, "dataset_id": dataset, "model_id": model, "first_step": first_step}
    return RunRecord(dag_id="qarib_pretrain", run_id=run_id, state=state, values=values, steps=states)


def names(graph: Graph) -> set[tuple[str, str, str]]:
    def name(key: Key) -> str:
        return graph.nodes[key].name

    return {(name(source), relation, name(target)) for (source, target), relation in graph.edges.items()}


def sources(*found: str) -> dict[str, Any]:
    return {"sources": [{"name": name, "path": f"/data/{name}"} for name in found]}


def test_a_run_and_the_one_that_continues_it() -> None:
    bucket = {"bucket": "qarib", "prefix": "p/"}
    first = run(D1, M1, collect=sources("tweets"), upload=bucket)
    start = {"start_from": f"gs://qarib/p/models/{M1}/bert_model/checkpoint-20"}
    later = run(D2, M2, collect=sources("tweets", "news"), upload=bucket, extends=D1, train=start)
    found = graph_of([later, first], {})
    assert names(found) == {
        ("tweets", "read", D1), ("tweets", "read", D2), ("news", "read", D2), (D1, "extends", D2),
        (D1, "trained on", M1), (D2, "trained on", M2), (M1, "started from", M2),
    }  # fmt: skip
    assert len(found.nodes) == 6
    # The same model, by its folder in the workspace.
    start = {"start_from": f"/ws/models/{M1}"}
    found = graph_of([run(D2, M2, upload=bucket, train=start), first], {})
    assert (M1, "started from", M2) in names(found)
    assert len([key for key in found.nodes if key[0] == "model"]) == 2


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/data/arabert/", "arabert"),
        (f"gs://others/models/{M1}", M1),
        ("/models/x/bert_model.ckpt", "bert_model.ckpt"),
    ],
)
def test_weights_from_elsewhere_are_no_model_of_this_place(address: str, name: str) -> None:
    found = graph_of([run(D2, M2, train={"start_from": address}), run(D1, M1)], {})
    models = [node for key, node in found.nodes.items() if key[0] == "model"]
    assert [node.name for node in models] == [M2, name, M1]
    assert (name, "started from", M2) in names(found)
    assert models[1].state == ("of no run shown" if name == M1 else "weights")


def test_the_same_name_in_another_place_is_another_model() -> None:
    here, there = run(D1, M1), run(D1, M1, workspace="/other")
    assert len(graph_of([here, there], {}).nodes) == 4
    assert [place_of(here), place_of(there)] == ["/ws/", "/other/"]


def test_what_is_known_of_models_without_a_run() -> None:
    """The promoted model, and what a model of a run was made from, also at a distance."""
    judged = {
        M1: {"model_id": M1, "state": "promoted", "dataset_id": D1, "trained_from": "/data/weights"},
        "demo-00000000e9": {"state": "candidate", "dataset_id": D1},
        M2: {"state": "candidate", "trained_from": f"/ws/models/{M1}", "evaluation": {"masked_lm_loss": 2}},
    }
    found = graph_of([run(D2, M2)], {"/ws/": {"demo": Judged(judged, M1)}})
    assert names(found) == {
        (D2, "trained on", M2), (M1, "started from", M2), (D1, "trained on", M1),
        ("weights", "started from", M1), (M1, "is", "demo"),
    }  # fmt: skip
    states = {node.name: node.state for node in found.nodes.values()}
    assert states == {
        D2: "made", M2: "candidate", M1: "promoted", D1: "of no run shown", "weights": "weights", "demo": ""
    }  # fmt: skip
    assert found.nodes["model", "/ws/", M2].detail == "loss 2.000"
    # One that the record names and does not describe is not promoted.
    assert not any(key[0] == "promoted" for key in graph_of([], {"/ws/": {"demo": Judged({}, M1)}}).nodes)


NOT_REACHED: dict[str, dict[str, int]] = {
    task: {"upstream_failed": 1}
    for task in ("evaluate", "export", "promote", "finetunings", "finetune", "finetuning_table")
}
STATES = {
    "done": (run(D1, M1), "made", "made"),
    "training failed": (
        run(D1, M1, state="failed", steps=steps("success", train={"failed": 1}, **NOT_REACHED)),
        *("made", "not made"),
    ),
    "collecting failed": (
        run(D1, M1, state="failed", steps=steps("upstream_failed", collect={"failed": 1})),
        *("not made", "not made"),
    ),
    "begun": (
        run(D1, M1, state="running", steps=steps("none", preflight={"success": 1})),
        *("in progress", "in progress"),
    ),
    "only training": (
        run(D1, M1, first_step="train", steps=steps("success", split={"skipped": 1})),
        *("made", "made"),
    ),
}


@pytest.mark.parametrize(("record", "dataset", "model"), STATES.values(), ids=STATES)
def test_what_became_of_it(record: RunRecord, dataset: str, model: str) -> None:
    found = graph_of([record], {})
    assert [node.state for node in found.nodes.values()] == [dataset, model]
    # A run that has made it decides.
    both = graph_of([record, run(D1, M1, run_id="b")], {})
    assert {node.state for node in both.nodes.values()} == {"made"}


def test_sizes_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [f"s{number:03d}" for number in range(100)]
    found = graph_of([run(D1, M1, collect=sources(*many), run_id="x" * 300)], {})
    shown = [node.name for key, node in found.nodes.items() if key[0] == "source"]
    assert shown == [*many[:20], "80 more sources"]
    assert not found.cut
    monkeypatch.setattr(lineage, "MOST_NODES", 10)
    found = graph_of([run(D1, M1, collect=sources(*many)), run(D2, M2, extends=D1)], {})
    assert (len(found.nodes), found.cut) == (10, True)
    found = graph_of([run(D1, M1, train={"start_from": "/w/" + "x" * 5000})], {})
    assert max(len(node.name) for node in found.nodes.values()) == 200


def test_a_record_with_anything_in_it() -> None:
    judged: dict[str, Any] = {
        M1: {"trained_from": [1], "dataset_id": {"a": 1}, "evaluation": [], "total_steps": "x"},
        "../..": {"state": 3},
    }
    strange = run(D1, M1, extends=[], collect={"sources": [1, {"name": 2}]}, train={"start_from": 3})
    found = graph_of([strange], {"/ws/": {"demo": Judged(judged, M1)}})
    assert names(found) == {(D1, "trained on", M1), (M1, "is", "demo"), ("", "read", D1)}
    # A circle of models ends.
    circle = {M1: {"trained_from": f"/ws/models/{M2}"}, M2: {"trained_from": f"/ws/models/{M1}"}}
    found = graph_of([run(D1, M1)], {"/ws/": {"demo": Judged(circle, None)}})
    assert {(M1, "started from", M2), (M2, "started from", M1)} <= names(found)
