"""Where the nodes of a lineage graph are drawn: a column for each kind, a group of rows for each dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qarib_tasks.views.lineage.graph import MADE_IN, MOST_LINKS, STATES, Graph, Key, Node, graph_of
from qarib_tasks.views.model import Judged
from qarib_tasks.views.runs import RunRecord

COLUMNS = ("source", "dataset", "model", "promoted")
# The view of a run that shows a node.
VIEWS = {"source": "corpus", "dataset": "shards", "model": "model", "promoted": "model"}


def lineage_view(
    records: Sequence[RunRecord], judged: Mapping[str, Mapping[str, Judged]], more: bool = False
) -> dict[str, Any]:
    """The nodes with their places, and the edges, by the numbers of their nodes.

    Args:
        records: the runs, the newest first.
        judged: see `graph_of`.
        more: whether there are older runs.
    """
    graph = graph_of(records, judged)
    rows = rows_of(graph)
    keys = sorted(graph.nodes, key=lambda key: (rows[key], COLUMNS.index(key[0])))
    numbers = {key: number for number, key in enumerate(keys)}
    edges = sorted([numbers[source], numbers[target], name] for (source, target), name in graph.edges.items())
    return {
        "nodes": [_node(graph, key, rows[key]) for key in keys],
        "edges": edges,
        "columns": COLUMNS,
        "runs": len(records),
        "more": more,
        "cut": graph.cut,
    }


def rows_of(graph: Graph) -> dict[Key, int]:
    """The row of each node.

    A group has a dataset, its models, and the sources that no earlier group has; the dataset of the newest
    run is in the first group. A model of an unknown dataset is in the group of the model that started from
    it.
    """
    made_of: dict[Key, Key] = {}  # a node, and the first node that was made from it
    dataset_of: dict[Key, Key] = {}
    for (source, target), relation in graph.edges.items():
        made_of.setdefault(source, target)
        if relation == "trained on":
            dataset_of[target] = source

    def group(key: Key) -> Key:
        seen: set[Key] = set()
        while key[0] != "dataset" and key not in seen:
            seen.add(key)
            key = dataset_of.get(key) or made_of.get(key) or key
        return key

    groups: dict[Key, dict[str, list[Key]]] = {}
    for key in graph.nodes:
        if key[0] != "promoted":
            groups.setdefault(group(key), {}).setdefault(key[0], []).append(key)
    rows: dict[Key, int] = {}
    first = 0
    for members in groups.values():
        for keys in members.values():
            rows |= {key: first + number for number, key in enumerate(keys)}
        first += max(map(len, members.values()))
    rows |= {target: rows[source] for (source, target), name in graph.edges.items() if name == "is"}
    return rows


def _node(graph: Graph, key: Key, row: int) -> dict[str, Any]:
    node = graph.nodes[key]
    runs = node.runs
    if node.kind == "promoted":
        runs = [run for (model, to) in graph.edges if to == key for run in graph.nodes[model].runs]
    best = min(runs, key=lambda run: _order(graph, node, run), default=None)
    return {
        "kind": node.kind,
        "name": node.name,
        "detail": node.detail,
        "state": node.state,
        "column": COLUMNS.index(node.kind),
        "row": row,
        "view": VIEWS[node.kind],
        "run": _link(best) if best else None,
        "runs": [_link(run) for run in runs[:MOST_LINKS]],
        "more_runs": max(0, len(runs) - MOST_LINKS),
    }


def _order(graph: Graph, node: Node, run: RunRecord) -> int:
    """The run that made the node is the one to show, or else the newest of those that made the most of it."""
    if node.kind not in MADE_IN:
        return 0
    only_trains = node.kind == "dataset" and run.values.get("first_step") == "train"
    return 2 * list(STATES).index(graph.state(node.kind, run)) + only_trains


def _link(run: RunRecord) -> dict[str, str]:
    return {"dag_id": run.dag_id, "run_id": run.run_id, "state": run.state}
