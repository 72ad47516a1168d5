"""Compare recipes: what each part of the modern one gains on the published one, at equal model FLOPs.

    python benchmarks/recipes.py [--minutes 15] [--seeds 3] [--data X] [--workspace X] [--results X] [--draw]

--data has corpus/tweets-real.txt.xz and corpus/classical.txt.xz, and tasks/arsarcasm-v2/train.csv, of which a
fifth is held out as test texts. Every recipe trains the same small model on them with one core. The budget is
the number of FLOPs, output layer included, that the published recipe does in --minutes on this machine; more
predictions or other examples make fewer steps of it.

"published" has the published rate and warm-up; the next row has the best of four rates by the first seed.
Then one part is added at a time. At eight points of each training, single held-out tweets are scored with the
same 15% of their wordpieces masked: the loss in nats per predicted wordpiece, and as bits per character; and
the labelled tasks are probed, see `qarib evaluate`.

Prints the means over the seeds with 95% intervals, each part's own gain, and how much of the FLOPs of the
published recipes the last row needs for their final loss. --draw also draws docs/images/recipes.png and .svg.
--results has a file per training that is complete. A second call reuses them, so that the trainings, each
--minutes and some more of a core, can be made in several calls.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import logging
import math
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qarib_tasks.config.training.job import TrainingJob
    from qarib_tasks.runs.run import Run

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY / "benchmarks")]

from inputs.single_texts import single_texts

LENGTH, BATCH, POINTS = 64, 32, 8
CALIBRATION = 40  # steps
TWEETS = 2_000  # held-out ones that are scored
TEXTS = 1_000  # of each part of a task
TASKS = ("sentiment", "sarcasm", "dialect")
RATES = (1e-4, 3e-4, 5e-4, 1e-3)
SHAPE = {"num_hidden_layers": 3, "hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
PUBLISHED: dict[str, dict[str, Any]] = {
    "convert": {"dupe_factor": 5, "max_seq_length": LENGTH},
    "model": SHAPE,
    "train": {"train_batch_size": BATCH, "num_warmup_steps": 10},
}
# Each is added to those before it.
PARTS: dict[str, dict[str, dict[str, Any]]] = {
    "masks drawn while training": {"convert": {"dupe_factor": 1}, "train": {"masking": "dynamic"}},
    "packed, no next sentence": {"convert": {"format": "packed"}, "train": {"next_sentence": False}},
    "30% masked": {"train": {"masked_lm_prob": 0.3}},
    # One part: BERT's optimizer does not stand this rate.
    "rate 1e-3 with bias correction, beta 2 of 0.98, warm-up 6%": {
        "train": {
            **{"bias_correction": True, "beta_2": 0.98, "learning_rate": 1e-3},
            **{"warmup_share": 0.06, "num_warmup_steps": None},
        }
    },
    "no dropout": {"model": NO_DROPOUT},
    "wsd": {"train": {"schedule": "wsd"}},
}


@dataclass(frozen=True)
class Recipe:
    """A row of the table: its name, and its settings by section."""

    name: str
    settings: Mapping[str, Mapping[str, Any]]

    @property
    def file(self) -> str:
        return "".join(char if char.isalnum() else "-" for char in self.name)


def with_part(recipe: Recipe, name: str) -> Recipe:
    sections = {section: dict(values) for section, values in recipe.settings.items()}
    for section, values in PARTS[name].items():
        sections[section] = sections.get(section, {}) | values
    return Recipe(f"+ {name}", sections)


def at_rate(rate: float, name: str = "") -> Recipe:
    train = PUBLISHED["train"] | {"learning_rate": rate}
    return Recipe(name or f"published, rate {rate:g}", PUBLISHED | {"train": train})


def rows(rate: float) -> list[Recipe]:
    """Return all rows, given the best rate of the published recipe."""
    found = [at_rate(8e-6, "published"), at_rate(rate)]
    for name in PARTS:
        found.append(with_part(found[-1], name))
    return found


def prepared(recipe: Recipe, data: Path, workspace: Path) -> Run:
    """Return a run with the recipe's dataset, which is made if it does not exist."""
    from qarib_tasks import pipeline
    from qarib_tasks.config import presets
    from qarib_tasks.runs.prepare import prepare

    labelled = str(data / "tasks" / "arsarcasm-v2" / "train.csv")
    tasks = [
        {"name": name, "train": labelled, "text": "tweet", "label": name, "limit": TEXTS} for name in TASKS
    ]
    sources = [
        {"name": "tweets", "path": str(data / "corpus" / "tweets-real.txt.xz"), "document": "line"},
        {"name": "classical", "path": str(data / "corpus" / "classical.txt.xz")},
    ]
    values = {
        "workspace": str(workspace),
        "collect": {"heldout_share": 0.03, "sources": sources},
        "vocab": {"vocab_size": 8_000},
        # A training reads shards one after another, and each shard has the texts of one source.
        "split": {"shard_lines": 1_000},
        "evaluate": {"max_eval_steps": 1, "tasks": tasks, "free_tasks": False, "probe_seconds": 60},
        **{section: dict(settings) for section, settings in recipe.settings.items()},
    }
    run = prepare(presets.resolve(values))
    pipeline.make_dataset(run)
    return run


def job_of(run: Run, output: Path, seed: int, flops: float) -> TrainingJob:
    """Return a training of the run's recipe with this budget, in a folder of its own."""
    from qarib_tasks.runs.training_job import training_job
    from qarib_tasks.train.assemble import shape_of
    from qarib_tasks.vocabulary.file import load_vocab

    job = training_job(run)
    steps = int(flops / shape_of(job, len(load_vocab(Path(job.vocab_file)))).flops)
    every = max(1, -(-steps // POINTS))
    train = replace(
        job.train, train_steps=steps, save_checkpoints_steps=every, keep_checkpoint_max=POINTS + 1
    )
    output.mkdir(parents=True, exist_ok=True)
    if not (output / "tasks").exists():
        (output / "tasks").symlink_to(run.model.root / "tasks")
    return replace(job, output=str(output), random_seed=seed, train=replace(train, recovery_minutes=0))


def trained(
    recipe: Recipe, seed: int, data: Path, workspace: Path, results: Path, flops: float
) -> list[dict[str, Any]]:
    """Train a recipe with a seed, and return its figures at each point. What is complete is read."""
    path = results / f"{recipe.file}-{seed}.json"
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]
    logging.basicConfig(level=logging.WARNING)
    from qarib_tasks.storage.files import write_text
    from qarib_tasks.train import runtime

    runtime.choose_backend("tensorflow")
    from qarib_tasks.train.assemble import shape_of
    from qarib_tasks.train.checkpoint import Checkpoints, Index
    from qarib_tasks.train.data.vocabulary import Vocabulary
    from qarib_tasks.train.loop import train
    from qarib_tasks.train.model.bert import build_model
    from qarib_tasks.train.model.steps import make_steps
    from qarib_tasks.train.output import Output

    run = prepared(recipe, data, workspace)
    job = job_of(run, workspace / "trainings" / f"{recipe.file}-{seed}", seed, flops)
    started = time.process_time()
    train(job)
    minutes = (time.process_time() - started) / 60
    batches, bits = single_texts(run.dataset, TWEETS, LENGTH)
    output = Output(job)
    vocabulary = Vocabulary.read(job, output)
    checkpoints = Checkpoints(output, job.train.keep_checkpoint_max)
    steps = make_steps(build_model(job, len(vocabulary)), job.train, seed)
    of_step = shape_of(job, len(vocabulary)).flops
    points = []
    for file in sorted(output.evaluations.glob("evaluation-*.json")):
        evaluation = json.loads(file.read_text(encoding="utf-8"))
        if step := evaluation["step"]:
            index = json.loads(checkpoints.index_path(f"checkpoint-{step}").read_text(encoding="utf-8"))
            steps.restore(checkpoints.load(Index.from_dict(index)))
            sums = [steps.evaluate(batch) for batch in batches]
            total = sum(float(each["masked_lm_loss_sum"]) for each in sums)
            loss = total / sum(float(each["predictions"]) for each in sums)
            points.append(
                {
                    "step": step,
                    "flops": step * of_step,
                    "loss": loss,
                    "bits": loss * bits,
                    "minutes": minutes,
                    **{task["name"]: task["value"] for task in evaluation["tasks"]},
                }
            )
    points.sort(key=lambda point: point["step"])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(points, indent=1) + "\n")
    return points


def calibrated(data: Path, workspace: Path, results: Path, minutes: float) -> float:
    """Return the FLOPs that the published recipe does in so many minutes of a core; measured once."""
    path = results / "budget.json"
    if not path.is_file():
        from qarib_tasks.storage.files import write_text
        from qarib_tasks.train import runtime

        runtime.choose_backend("tensorflow")
        from qarib_tasks.train.assemble import shape_of
        from qarib_tasks.train.data.batches import ExampleStream, Parser, Position
        from qarib_tasks.train.data.shards import Shards
        from qarib_tasks.train.data.vocabulary import Vocabulary
        from qarib_tasks.train.model.bert import build_model
        from qarib_tasks.train.model.steps import make_steps
        from qarib_tasks.train.output import Output

        run = prepared(at_rate(8e-6, "published"), data, workspace)
        job = job_of(run, workspace / "trainings" / "calibration", 1, 1e13)
        output = Output(job)
        entries = len(Vocabulary.read(job, output))
        steps, parse = make_steps(build_model(job, entries), job.train, 1), Parser(job, entries)
        stream = ExampleStream(Shards(job.training_data, output.cache), window=4_096, seed=1)
        batches = [parse(records) for records, _ in _first(stream.batches(Position(), BATCH), CALIBRATION)]
        float(steps.train(batches[0])["loss"])
        started = time.process_time()
        losses = [steps.train(batch)["loss"] for batch in batches[1:]]
        float(losses[-1])
        per_step = (time.process_time() - started) / len(losses)
        flops = minutes * 60 / per_step * shape_of(job, entries).flops
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps({"flops": flops, "seconds_per_step": per_step}) + "\n")
    return float(json.loads(path.read_text(encoding="utf-8"))["flops"])


def _first(some: Any, count: int) -> list[Any]:
    return [one for one, _ in zip(some, range(count), strict=False)]


def own_core(cores: Any) -> None:
    """Give this process a core of its own."""
    os.sched_setaffinity(0, {cores.get()})


class Trainings:
    """Trains on every core, one training on each."""

    def __init__(self, data: Path, workspace: Path, results: Path, minutes: float) -> None:
        self.data, self.workspace, self.results = data, workspace, results
        context = multiprocessing.get_context("spawn")
        cores = context.Manager().Queue()
        allowed = sorted(os.sched_getaffinity(0))
        for core in allowed:
            cores.put(core)
        self._pool = concurrent.futures.ProcessPoolExecutor(
            len(allowed), mp_context=context, initializer=own_core, initargs=(cores,)
        )
        self.flops = self._pool.submit(calibrated, data, workspace, results, minutes).result()

    def start(self, recipe: Recipe, seed: int) -> concurrent.futures.Future[list[dict[str, Any]]]:
        return self._pool.submit(trained, recipe, seed, self.data, self.workspace, self.results, self.flops)


def complete(results: Path, seeds: int) -> bool:
    """Return whether every training of a call is complete."""
    needed = [(recipe, seed) for recipe in rows(RATES[0]) for seed in range(1, seeds + 1)]
    needed += [(at_rate(rate), 1) for rate in RATES]
    return all((results / f"{recipe.file}-{seed}.json").is_file() for recipe, seed in needed)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared")
    parser.add_argument("--workspace", type=Path, default=REPOSITORY / "build" / "recipes")
    parser.add_argument("--minutes", type=float, default=15, help="of a core, for each training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=Path, help="by default in the workspace")
    parser.add_argument("--draw", action="store_true")
    options = parser.parse_args()
    data, workspace = options.data.resolve(), options.workspace.resolve()
    results = (options.results or workspace / "results").resolve()
    trainings = Trainings(data, workspace, results, options.minutes)
    if not complete(results, options.seeds):
        for recipe in rows(RATES[0]):  # Before two processes make the same dataset.
            prepared(recipe, data, workspace)
    tried = {rate: trainings.start(at_rate(rate), 1) for rate in RATES}
    losses = {rate: future.result()[-1]["loss"] for rate, future in tried.items()}
    best = min(losses, key=lambda rate: losses[rate])
    print("published, one seed: " + ", ".join(f"{rate:g}: {loss:.3f}" for rate, loss in losses.items()))
    table = rows(best)
    started: dict[str, list[concurrent.futures.Future[list[dict[str, Any]]]]]
    started = {recipe.name: [] for recipe in table}
    for seed in range(1, options.seeds + 1):  # All rows by one seed before the next.
        for recipe in table:
            started[recipe.name].append(trainings.start(recipe, seed))
    figures = {name: [future.result() for future in futures] for name, futures in started.items()}
    print_table(figures)
    if options.draw:
        draw(figures, REPOSITORY / "docs" / "images" / "recipes")
    return 0


def print_table(results: Mapping[str, Sequence[Sequence[Mapping[str, float]]]]) -> None:
    """Print Markdown, and how much of the published recipes' FLOPs the last row needs for their loss."""
    measures = ("loss", "bits", *TASKS)
    print(f"| recipe | steps | {' | '.join(measures)} | gain |")
    print("|---" * (len(measures) + 3) + "|")
    before = math.nan
    for name, seeds in results.items():
        last = [points[-1] for points in seeds]
        cells = [shown([one[measure] for one in last]) for measure in measures]
        loss = statistics.fmean(one["loss"] for one in last)
        gain = "" if math.isnan(before) else f"{before - loss:+.3f}"
        print(f"| {name} | {last[0]['step']:,} | {' | '.join(cells)} | {gain} |")
        before = loss
    final = curve(list(results.values())[-1])
    for name in list(results)[:2]:
        loss = curve(results[name])[-1][1]
        share = reached(final, loss) / final[-1][0]
        print(f"{list(results)[-1]} has the final loss of {name} ({loss:.3f}) after {share:.0%} of the FLOPs")


def shown(values: Sequence[float]) -> str:
    """Return the mean and the half of its 95% interval."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:.3f}"
    quantile = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}.get(len(values), 2.571)
    return f"{mean:.3f} ± {quantile * statistics.stdev(values) / math.sqrt(len(values)):.3f}"


def curve(seeds: Sequence[Sequence[Mapping[str, float]]]) -> list[tuple[float, float]]:
    """Return FLOPs and mean loss at each point."""
    return [
        (point[0]["flops"], statistics.fmean(one["loss"] for one in point))
        for point in zip(*seeds, strict=True)
    ]


def reached(points: Sequence[tuple[float, float]], loss: float) -> float:
    """Return the FLOPs at which a curve reaches a loss, between its points linearly; infinity if never."""
    before = (0.0, math.inf)
    for point in points:
        if point[1] <= loss:
            if math.isinf(before[1]):
                return point[0]
            share = (before[1] - loss) / (before[1] - point[1])
            return before[0] + share * (point[0] - before[0])
        before = point
    return math.inf


def draw(results: Mapping[str, Sequence[Sequence[Mapping[str, float]]]], stem: Path) -> None:
    """Draw loss and probes against FLOPs, as PNG and SVG."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    measures = {"loss": "loss on single tweets (nats)", **{task: f"{task}: macro-F1" for task in TASKS}}
    figure, axes = pyplot.subplots(1, len(measures), figsize=(5 * len(measures), 4), layout="constrained")
    for axis, (measure, title) in zip(axes, measures.items(), strict=True):
        for name, seeds in results.items():
            points = list(zip(*seeds, strict=True))
            x = [point[0]["flops"] for point in points]
            values = [[one[measure] for one in point] for point in points]
            axis.plot(x, [statistics.fmean(some) for some in values], label=name)
            axis.fill_between(x, [min(some) for some in values], [max(some) for some in values], alpha=0.15)
        axis.set(title=title, xlabel="model FLOPs")
    axes[0].legend(fontsize="small")
    for ending in (".png", ".svg"):
        figure.savefig(
            stem.with_suffix(ending), dpi=120, metadata={"Date": None} if ending == ".svg" else None
        )


if __name__ == "__main__":
    sys.exit(main())
