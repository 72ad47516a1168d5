"""A finished run: what Airflow's API says of it, and its files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import demo

from qarib_tasks.config.loading import to_dict
from tests.support.browser.site import Site
from tests.support.made_up_run import emulator_bucket


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def times(one: Mapping[str, Any]) -> list[float]:
    """Start and end of a run or a task, in seconds since 1970."""
    return [datetime.fromisoformat(one[key]).timestamp() for key in ("start_date", "end_date")]


@dataclass(frozen=True)
class Finished:
    """A finished run: what Airflow says of it, and its files.

    Attributes:
        run, tasks: as Airflow's API describes them.
        config: the settings that `preflight` resolved.
        runs: the number of all runs that are shown.
        dataset, model: their folders in the workspace.
        export: the sizes of the objects of the exported model by their names, where it was published.
    """

    run: Mapping[str, Any]
    tasks: Sequence[Mapping[str, Any]]
    config: Mapping[str, Any]
    runs: int
    dataset: Path
    model: Path
    export: Mapping[str, int]

    @classmethod
    def of(cls, site: Site) -> Finished:
        run = demo.read_run(site.stack, site.run_id)
        bucket = emulator_bucket(site.stack.emulator, site.stack.bucket)
        blobs = list(bucket.list_blobs(prefix=run.model.name))
        listed = {blob.name.removeprefix(run.model.name): blob.size for blob in blobs}
        known = (demo.DAG, "qarib_retrain")
        return cls(
            site.stack.run(demo.DAG, site.run_id),
            site.stack.task_instances(demo.DAG, site.run_id),
            to_dict(run.config),
            sum(site.stack.api("GET", f"dags/{dag}/dagRuns")["total_entries"] for dag in known),
            run.dataset.root,
            run.model.root,
            {name: size for name, size in listed.items() if name.startswith("export/")},
        )

    @property
    def corpus(self) -> Any:
        return read(self.dataset / "data.txt.manifest.json")

    @property
    def shards(self) -> dict[str, Any]:
        """The statistics of each shard by its name, the held-out part last."""
        folders = {"": self.dataset, "heldout/": self.dataset / "heldout"}
        return {
            f"{part}{path.name.partition('.')[0]}": read(path)["statistics"] | {"bytes": _size(path)}
            for part, folder in folders.items()
            for path in sorted((folder / "pretraining_data").glob("*.manifest.json"))
        }

    @property
    def evaluations(self) -> list[Any]:
        found = map(read, (self.model / "bert_evals").glob("evaluation-*.json"))
        return sorted(found, key=lambda one: int(one["step"]))

    @property
    def history(self) -> list[Any]:
        lines = (self.model / "bert_model/history.jsonl").read_text(encoding="utf-8").splitlines()
        return list(map(json.loads, lines))

    @property
    def progress(self) -> Any:
        return read(self.model / "progress.json")


def _size(manifest: Path) -> int:
    return manifest.with_name(manifest.name.removesuffix(".manifest.json")).stat().st_size


def text_of(path: Path) -> tuple[int, int, int, list[int]]:
    """Bytes without those between documents, lines, words, and the lines of each document of a text."""
    documents = path.read_text(encoding="utf-8").removesuffix("\n").split("\n\n")
    lines = [document.split("\n") for document in documents]
    kept = [line for document in lines for line in document]
    bytes_ = sum(len(line.encode()) + 1 for line in kept)
    return bytes_, len(kept), sum(len(line.split()) for line in kept), [len(document) for document in lines]


def histogram(values: Iterable[int]) -> dict[str, int]:
    """Numbers by the page's bins."""
    edges = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024]
    bins = pairwise(edges)
    names = [str(low) if low + 1 == high else f"{low}-{high - 1}" for low, high in bins]
    found: dict[str, int] = {}
    for value in values:
        name = next((name for name, high in zip(names, edges[1:], strict=True) if value < high), "1024+")
        found[name] = found.get(name, 0) + 1
    return found
