"""Where the lineage is drawn, and where its nodes lead."""

from __future__ import annotations

import random

from qarib_tasks.views.lineage.drawing import lineage_view, rows_of
from qarib_tasks.views.lineage.graph import graph_of
from qarib_tasks.views.model import Judged
from tests.views.lineage.test_graph import D1, D2, M1, M2, run, sources


def test_a_column_for_each_kind_and_rows_for_each_dataset() -> None:
    third = "demo-00000000e3"
    records = [
        run(D2, M2, collect=sources("news"), extends=D1, train={"start_from": "/data/weights"}, run_id="new"),
        run(D1, third, first_step="train", collect=sources("a", "b", "c"), run_id="again"),
        run(D1, M1, collect=sources("a", "b", "c"), run_id="old"),
    ]
    view = lineage_view(records, {"/ws/": {"demo": Judged({M1: {}}, M1)}})
    places = {node["name"]: (node["column"], node["row"]) for node in view["nodes"]}
    assert places == {
        "news": (0, 0), D2: (1, 0), M2: (2, 0), "weights": (2, 1),
        "a": (0, 2), D1: (1, 2), third: (2, 2), "b": (0, 3), M1: (2, 3), "demo": (3, 3), "c": (0, 4),
    }  # fmt: skip
    assert len(set(places.values())) == len(places)
    assert [(node["row"], node["column"]) for node in view["nodes"]] == sorted(
        (node["row"], node["column"]) for node in view["nodes"]
    )
    links = {node["name"]: (node["view"], (node["run"] or {}).get("run_id")) for node in view["nodes"]}
    # The run that made the dataset, not the newer one that only trained on it.
    assert links[D1] == ("shards", "old")
    assert links["a"] == ("corpus", "again")
    assert links["demo"] == ("model", "old")
    assert links["weights"] == ("model", None)
    assert [link["run_id"] for node in view["nodes"] if node["name"] == D1 for link in node["runs"]] == [
        "again",
        "old",
    ]


def test_models_that_started_from_each_other_without_a_dataset() -> None:
    circle = {M1: {"trained_from": f"/ws/models/{M2}"}, M2: {"trained_from": f"/ws/models/{M1}"}}
    rows = rows_of(graph_of([], {"/ws/": {"demo": Judged(circle, M1)}}))
    assert sorted(rows.values()) == [0, 0, 1]


def test_no_two_nodes_are_in_one_place_and_all_is_the_same_again() -> None:
    chance = random.Random(7)
    ids = [f"demo-{number:010x}" for number in range(60)]
    records = []
    for number in range(200):
        found = sources(*(f"s{chance.randrange(20)}" for _ in range(chance.randrange(4))))
        start = {"start_from": f"/ws/models/{chance.choice(ids)}"} if number % 3 else {}
        records.append(
            run(
                chance.choice(ids), chance.choice(ids), collect=found, extends=chance.choice(ids), train=start
            )
        )
    view = lineage_view(records, {})
    places = [(node["column"], node["row"]) for node in view["nodes"]]
    assert len(places) > 100
    assert len(set(places)) == len(places)
    assert view == lineage_view(records, {})
