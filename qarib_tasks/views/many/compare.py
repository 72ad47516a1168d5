"""Some runs side by side: their curves, and in what they differ: settings, data, vocabularies, results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from qarib_tasks.layout import evaluation_step
from qarib_tasks.views.curves.history import History, history_of, integers, rounded, with_newest
from qarib_tasks.views.curves.points import cumulative_hours, extremes
from qarib_tasks.views.files import Files
from qarib_tasks.views.heldout import heldout_of
from qarib_tasks.views.many.settings import settings_of, titles
from qarib_tasks.views.runs import RunRecord, data_sizes, progress_of, summary, tpu_facts, trouble
from qarib_tasks.views.tasks.results import probed, tuned
from qarib_tasks.views.training import evaluations, listed

MOST_RUNS = 8
BUCKETS = 300  # of a curve; each gives two points
MOST_EVALUATIONS = 20  # that are read of a run
MOST_TASKS = 20
MOST_SMOOTHING = 0.2  # share of the history
FIGURES = (
    "masked_lm_loss", "masked_lm_accuracy", "next_sentence_loss", "next_sentence_accuracy",
    "learning_rate", "examples_per_second",
)  # fmt: skip
# [name, title, format] of figures, as the page shows them.
DATA = (
    ("documents", "Documents", "count"),
    ("lines", "Lines", "count"),
    ("words", "Words", "count"),
    ("bytes", "Text", "bytes"),
    ("dataset_shards", "Shards", "count"),
    ("dataset_examples", "Examples", "count"),
    ("dataset_bytes", "Examples, in bytes", "bytes"),
)
PROGRESS = (
    ("step", "Steps", "count"),
    ("masked_lm_loss", "Masked-LM loss, on training data", "decimal"),
    ("examples_per_second", "Examples per second", "count"),
)
EVALUATION = (
    ("masked_lm_loss", "Held-out masked-LM loss", "decimal"),
    ("unigram_entropy", "Loss by word frequencies alone", "decimal"),
    ("masked_lm_accuracy", "Held-out masked-LM accuracy", "percent"),
    ("perplexity", "Held-out perplexity", "decimal"),
    ("next_sentence_accuracy", "Held-out next-sentence accuracy", "percent"),
)
TPU = (("cost", "Cost", "money"), ("cost_per_million", "Cost of a million examples", "money"))
Fact = dict[str, Any]


def compared(record: RunRecord, files: Files, now: float, smoothing: float = 0.0) -> dict[str, Any]:
    """A run's curves, and its facts for the table of differences.

    Args:
        now: seconds since 1970.
        smoothing: share of the history over which each point of a curve is a mean; 0 for none.

    Returns:
        as `summary`, and: curves: step and value of each figure; evaluations: the same on the held-out part;
        probes: metric, sha256 (of the texts), step, and value of each task; heldout: see `heldout_of`;
        unigram: the loss by word frequencies alone; batch: examples of a step; hours: step and value, of the
        training alone; price: US dollars per hour, None without a TPU that has one; facts: see `_facts`.
    """
    tpu = tpu_facts(record, files, now)
    result = summary(record, files, now) | {
        "curves": {}, "evaluations": {}, "probes": {}, "unigram": None, "hours": None, "heldout": None,
        "batch": (record.config.get("train") or {}).get("train_batch_size"),
        "price": (tpu or {}).get("price"),
    }  # fmt: skip
    progress: Mapping[str, Any] = {}
    made: list[dict[str, Any]] = []
    if (model := record.model) is not None:
        progress = progress_of(files, model)
        past = history_of(files, model, progress)
        share = min(max(smoothing, 0.0), MOST_SMOOTHING)
        newest = progress if not share else {}  # A mean has no newest point of its own.
        curves = with_newest(past.curves(BUCKETS, share), newest, past.last_step)
        names = {name for name in listed(files, model) if evaluation_step(name) is not None}
        made = evaluations(files, model, names, MOST_EVALUATIONS)
        result |= {
            "curves": {name: curves[name] for name in FIGURES if name in curves},
            "hours": hours(past, result["batch"]),
            "evaluations": _evaluated(made),
            "heldout": heldout_of(record, files) if made else None,
            "probes": _probes(made),
            "unigram": next((e for one in reversed(made) if (e := one.get("unigram_entropy"))), None),
        }
    result["facts"] = _facts(record, files, result, progress, made[-1] if made else {})
    result["trouble"] = trouble(files.trouble)
    result["fault"] = trouble(record.fault or files.fault)
    return result


def hours(past: History, batch: object) -> dict[str, list[Any]] | None:
    """Hours of training by step, as few points as a line needs; None if no speed is known."""
    rates = past.figures.get("examples_per_second")
    if rates is None or not isinstance(batch, int | float) or not batch > 0:
        return None
    found = cumulative_hours(past.steps, rates, float(batch))
    if found is None:
        return None
    shown = extremes(found, BUCKETS // 2)
    return {
        "step": integers(past.steps[shown]),
        "value": rounded(found[shown]),
    }


def _evaluated(made: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[Any]]]:
    curves = {}
    for name in FIGURES[:4]:
        found = [one for one in made if one.get(name) is not None]
        if found:
            curves[name] = {"step": [one["step"] for one in found], "value": [one[name] for one in found]}
    return curves


def _probes(made: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The results of each task on the texts of the newest evaluation of it."""
    curves: dict[str, dict[str, Any]] = {}
    for evaluation in reversed(made):
        for name, task in probed(evaluation.get("tasks"))[0].items():
            about = {key: task.get(key) for key in ("metric", "sha256")}
            if name not in curves and len(curves) < MOST_TASKS:
                curves[name] = {**about, "step": [], "value": []}
            curve = curves.get(name)
            if curve is not None and all(curve[key] == value for key, value in about.items()):
                curve["step"].insert(0, evaluation["step"])
                curve["value"].insert(0, task["value"])
    return curves


def _facts(
    record: RunRecord,
    files: Files,
    shown: Mapping[str, Any],
    progress: Mapping[str, Any],
    newest: Mapping[str, Any],
) -> list[Fact]:
    """What a run is compared by: group, name, title, format, and value of each fact that is known."""
    settings = [("preset", shown["preset"]), *settings_of(record.config).items()]
    facts = [_fact("Settings", name, titles().get(name, name), "text", value) for name, value in settings]
    sizes = {"dataset_id": shown["dataset_id"], **data_sizes(record, files)}
    facts += _figures("Data", (("dataset_id", "Dataset", "text"), *DATA), sizes)
    if record.dataset is not None:
        vocabulary = files.manifest(record.dataset, record.dataset.vocab).get("statistics") or {}
        known = [name for name, value in vocabulary.items() if isinstance(value, int | float)]
        kinds = ((name, name.replace("_", " ").capitalize(), "number") for name in known[:MOST_TASKS])
        facts += _figures("Vocabulary", kinds, vocabulary)
    facts.append(_fact("Results", "state", "State", "text", record.state))
    facts += _figures("Results", PROGRESS, progress, "training ")
    heldout = shown["heldout"]
    facts.append(_fact("Results", "held-out part", "Held-out part", "text", heldout and heldout[:10]))
    facts += _figures("Results", EVALUATION, newest, "held-out ")
    for name, task in list(probed(newest.get("tasks"))[0].items())[:MOST_TASKS]:
        facts.append(_fact("Results", f"probe {name}", f"Probe of {name}", "decimal", task["value"]))
    for name, task in list((tuned(files, record.model)[0] if record.model else {}).items())[:MOST_TASKS]:
        facts.append(_fact("Results", f"tuned {name}", f"Fine-tuning on {name}", "decimal", task.get("mean")))
    tpu = shown["tpu"] or {}
    goodput = (tpu.get("goodput") or {}).get("productive")
    facts.append(_fact("Results", "goodput", "Goodput", "percent", goodput))
    facts += _figures("Results", TPU, tpu)
    if record.started and record.ended:
        seconds = (record.ended - record.started).total_seconds()
        facts.append(_fact("Results", "seconds", "Duration", "duration", seconds))
    return [fact for fact in facts if fact["value"] is not None]


def _fact(group: str, name: str, title: str, form: str, value: Any) -> Fact:
    return {"group": group, "name": name, "title": title, "format": form, "value": value}


def _figures(
    group: str, kinds: Iterable[tuple[str, str, str]], values: Mapping[str, Any], before: str = ""
) -> list[Fact]:
    return [_fact(group, before + name, title, form, values.get(name)) for name, title, form in kinds]


def differences(runs: Sequence[Sequence[Fact]]) -> list[dict[str, Any]]:
    """The table of the facts of runs.

    Returns:
        a row for each fact that any run has: group, title, name, format; values: of each run, None where it
        is not known; same: whether all are equal. Groups are in the order of the first run that has them.
    """
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    for number, facts in enumerate(runs):
        for fact in facts:
            about = {key: fact[key] for key in ("group", "name", "title", "format")}
            row = rows.setdefault(fact["group"], {}).setdefault(
                fact["name"], about | {"values": [None] * len(runs)}
            )
            row["values"][number] = fact["value"]
    found = [row for group in rows.values() for row in group.values()]
    for row in found:
        row["same"] = all(value == row["values"][0] for value in row["values"])
    return found


def unlike(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which figures of runs, see `compared`, were not measured alike, as sentences; `name` is theirs."""
    told: list[str] = []

    def tell(what: str, where: str, of: Mapping[str, object]) -> None:
        if len(of) < 2:
            return
        groups: dict[object, list[str]] = {}
        for run, measured in of.items():
            groups.setdefault(measured, []).append(run)
        unknown = groups.pop(None, None)
        if len(groups) > 1:
            names = " with those of ".join(", ".join(group) for group in groups.values())
            told.append(f"Not to be compared: {what} of {names}. They are measured on different {where}.")
        if unknown:
            names = ", ".join(unknown)
            told.append(f"Not known: on which {where} the {what} of {names} are measured.")

    named = {names_of(runs)[number]: run for number, run in enumerate(runs)}
    trained = {name: run.get("dataset_id") for name, run in named.items() if run.get("curves")}
    tell("figures on training data", "datasets", trained)
    tested = {name: run.get("heldout") for name, run in named.items() if run.get("evaluations")}
    tell("held-out figures", "held-out examples", tested)
    for task in dict.fromkeys(task for run in runs for task in run.get("probes") or ()):
        probes = {
            name: run["probes"][task] for name, run in named.items() if task in (run.get("probes") or ())
        }
        texts = {
            name: (one["metric"], one["sha256"]) if one["sha256"] else None for name, one in probes.items()
        }
        tell(f"probes of {task}", "test texts, or by different metrics", texts)
    return told


def names_of(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """A name for each run, which no other one has."""
    names = [str(run.get("name") or run["run_id"]) for run in runs]
    return [
        f"{name} ({run['run_id']})" if names.count(name) > 1 else name
        for name, run in zip(names, runs, strict=True)
    ]
