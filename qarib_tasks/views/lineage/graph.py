"""Sources, datasets, models, and promoted models, and which was made from which.

The records of runs say what each run asked for, and the record of promoted models what became of the models.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Literal

from qarib_tasks.counting import counted
from qarib_tasks.layout import ID, MODELS
from qarib_tasks.views.model import Judged
from qarib_tasks.views.runs import RunRecord
from qarib_tasks.views.shapes import identifier, number, text
from qarib_tasks.views.way import ENDED, way

Kind = Literal["source", "dataset", "model", "promoted"]
Relation = Literal["read", "extends", "trained on", "started from", "is"]
MOST_SOURCES = 20  # of a dataset; one more stands for the others
MOST_NODES = 1000
MOST_CHARACTERS = 200  # of a name or an address
MOST_LINKS = 20  # runs of a node
# The part of a run that makes a node, and what is said of each of its states, the best one first.
MADE_IN: Mapping[str, str] = {"dataset": "shards", "model": "model"}
STATES = {
    "done": "made",
    "running": "in progress",
    "waiting": "in progress",
    "failed": "failed",
    "not reached": "not made",
    "skipped": "not made",
}
_MODEL = re.compile(rf"(.*/)?{MODELS}/({ID})(?:/.*)?", re.DOTALL)
Key = tuple[str, str, str]  # kind, place, and name


@dataclass
class Node:
    """One thing that was made, or that something was made from.

    Attributes:
        name: for people. detail: the address of a source or of weights, or a model's figures.
        state: what became of it; empty for sources.
        runs: those that made it or asked for it, the newest first.
    """

    kind: Kind
    name: str
    detail: str = ""
    state: str = ""
    runs: list[RunRecord] = field(default_factory=list)


@dataclass
class Graph:
    """Nodes by key, and (from, to, relation): what was made is at `to`."""

    nodes: dict[Key, Node] = field(default_factory=dict)
    edges: dict[tuple[Key, Key], Relation] = field(default_factory=dict)
    cut: bool = False
    _into: dict[Key, set[Relation]] = field(default_factory=dict)
    _made: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)

    def node(self, key: Key, name: str = "") -> Node | None:
        """The node with this key, a new one if there is none; None if there are too many."""
        if key not in self.nodes:
            if len(self.nodes) >= MOST_NODES:
                self.cut = True
                return None
            kind: Kind = key[0]  # type: ignore[assignment]
            self.nodes[key] = Node(kind, _short(name or key[2]))
        return self.nodes[key]

    def connect(self, source: Key, target: Key, relation: Relation) -> None:
        if source != target and source in self.nodes and target in self.nodes:
            self.edges.setdefault((source, target), relation)
            self._into.setdefault(target, set()).add(relation)

    def into(self, key: Key) -> set[Relation]:
        """The relations of a node to what it was made from."""
        return self._into.get(key, set())

    def state(self, kind: str, run: RunRecord) -> str:
        """What a run made of its dataset or its model: a key of `STATES`."""
        key = run.dag_id, run.run_id
        if key not in self._made:
            self._made[key] = _made(run)
        return self._made[key][kind]


def graph_of(records: Sequence[RunRecord], judged: Mapping[str, Mapping[str, Judged]]) -> Graph:
    """The graph of runs.

    Args:
        records: the runs, the newest first.
        judged: by `place_of` a run and its preset, what is known of its models.
    """
    graph = Graph()
    for record in records:
        _add_run(graph, record)
    for place, presets in judged.items():
        for preset, found in presets.items():
            _add_judged(graph, place, preset, found)
    for (kind, _, _), node in graph.nodes.items():
        if kind in MADE_IN and not node.state:
            states = {graph.state(kind, run) for run in node.runs}
            node.state = next((name for state, name in STATES.items() if state in states), "of no run shown")
    return graph


def place_of(record: RunRecord) -> str:
    """Where a run's dataset and model are: the same name means the same thing there."""
    return record.address or f"{record.workspace or ''}/"


def _add_run(graph: Graph, record: RunRecord) -> None:
    place, config = place_of(record), record.config
    dataset, model = record.values.get("dataset_id"), record.values.get("model_id")
    dataset_key, model_key = ("dataset", place, str(dataset)), ("model", place, str(model))
    if dataset and (node := graph.node(dataset_key)):
        node.runs.append(record)
        _add_sources(graph, record, dataset_key)
        if identifier(extended := str(config.get("extends"))):
            graph.node(("dataset", place, extended))
            graph.connect(("dataset", place, extended), dataset_key, "extends")
    if model and (node := graph.node(model_key)):
        node.runs.append(record)
        graph.connect(dataset_key, model_key, "trained on")
        if start := (config.get("train") or {}).get("start_from"):
            _start(graph, start, model_key, (place, f"{record.workspace or ''}/"))


def _add_sources(graph: Graph, record: RunRecord, dataset: Key) -> None:
    sources = (record.config.get("collect") or {}).get("sources") or ()
    for source in sources[:MOST_SOURCES]:
        name, path = str(source.get("name") or ""), str(source.get("path") or "")
        key = ("source", path, name)
        if node := graph.node(key, name):
            node.detail = _short(path)
            _add_record(node, record)
            graph.connect(key, dataset, "read")
    if (others := len(sources) - MOST_SOURCES) > 0:
        key = ("source", "", f"{dataset[1]}{dataset[2]}")
        if node := graph.node(key, counted(others, "more source")):
            _add_record(node, record)
            graph.connect(key, dataset, "read")


def _add_record(node: Node, record: RunRecord) -> None:
    if len(node.runs) < MOST_LINKS:
        node.runs.append(record)


def _start(graph: Graph, address: str, model: Key, places: Sequence[str]) -> Key:
    """Connect a model with what it started from: a model of ours, or weights from elsewhere.

    Args:
        places: of the model. A model in its workspace has the same name in its bucket.
    """
    found = _MODEL.fullmatch(address)
    if found is None:
        key: Key = ("model", "", address)
        if node := graph.node(key, PurePath(address.rstrip("/")).name):
            node.detail, node.state = _short(address), "weights"
    else:
        root = found[1] or ""
        key = ("model", model[1] if root in places else root, found[2])
        graph.node(key)
    graph.connect(key, model, "started from")
    return key


def _add_judged(graph: Graph, place: str, preset: str, judged: Judged) -> None:
    """Add the promoted model, and what is known of it, of the models of runs, and of those before them."""
    if judged.promoted and judged.promoted in judged.models:
        model, key = ("model", place, judged.promoted), ("promoted", place, preset)
        graph.node(model)
        if node := graph.node(key):
            node.detail = _short(place)
            graph.connect(model, key, "is")
    known = [name for name in judged.models if ("model", place, name) in graph.nodes]
    while known:
        entry, own = judged.models[name := known.pop()], ("model", place, name)
        node = graph.nodes[own]
        node.detail, node.state = _figures(entry), _judgement(name, entry, judged)
        relations = graph.into(own)
        if identifier(dataset := str(entry.get("dataset_id"))) and "trained on" not in relations:
            graph.node(("dataset", place, dataset))
            graph.connect(("dataset", place, dataset), own, "trained on")
        if (start := entry.get("trained_from")) and text(start) and "started from" not in relations:
            before = len(graph.nodes)
            found = _start(graph, start, own, (place,))
            if len(graph.nodes) > before and found[1] == place and found[2] in judged.models:
                known.append(found[2])


def _judgement(model_id: str, entry: Mapping[str, Any], judged: Judged) -> str:
    if model_id == judged.promoted:
        return "promoted"
    return "promoted before" if entry.get("state") == "promoted" else "candidate"


def _figures(entry: Mapping[str, Any]) -> str:
    evaluation, steps = entry.get("evaluation"), entry.get("total_steps")
    loss = evaluation.get("masked_lm_loss") if isinstance(evaluation, Mapping) else None
    found = [f"{steps:,.0f} steps"] if number(steps) else []
    return ", ".join([*found, *([f"loss {loss:.3f}"] if number(loss) else [])])


def _made(run: RunRecord) -> dict[str, str]:
    """What a run made of its dataset and its model: keys of `STATES`, by kind."""
    states = {part["name"]: str(part["state"]) for part in way(run.steps, (), run.state)}
    ended = run.state in ENDED
    made = {kind: states[part] for kind, part in MADE_IN.items()}
    made = {kind: "waiting" if state == "skipped" and not ended else state for kind, state in made.items()}
    return made | ({"dataset": "done"} if run.values.get("first_step") == "train" else {})


def _short(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"
