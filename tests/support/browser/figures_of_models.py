"""What the views Training, Tasks, and Model must show of a finished run, from its files.

Nothing here uses `qarib_tasks.views` or the page's script: both are judged by it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from tests.support.browser.finished import Finished, read, text_of
from tests.support.browser.formats import count, duration, fixed, percent, power, short, size, when

Figures = dict[str, Any]
CHARTS: list[tuple[str, str, Callable[..., str]]] = [
    ("Masked-LM loss", "masked_lm_loss", fixed),
    ("Masked-LM accuracy", "masked_lm_accuracy", percent),
    ("Next-sentence loss", "next_sentence_loss", fixed),
    ("Next-sentence accuracy", "next_sentence_accuracy", percent),
]


def training(run: Finished) -> Figures:
    """The view Training."""
    now, first, last, made = run.progress, run.history[0], run.history[-1], run.evaluations
    steps, batch = run.config["train"]["train_steps"], run.config["train"]["train_batch_size"]
    newest, spent = made[-1], now["seconds"]
    waiting = spent["waiting"] / (spent["steps"] + spent["waiting"])
    examples = sum(one["examples"] for name, one in run.shards.items() if "/" not in name)
    epochs = steps * batch / examples
    reads = [
        f"{short(steps * batch)} of {short(examples)} examples"
        if epochs < 1
        else f"{short(steps * batch)} examples, {short(examples)} different ones"
    ]
    reads += [
        f"about {short(int(text_of(run.dataset / 'data.txt')[2] * min(epochs, 1)))} words of the corpus"
    ]
    saved = sorted(int(path.stem.rpartition("-")[2]) for path in (run.model / "bert_model").glob("*-*.json"))
    at = f"at step {count(steps)}"
    on_data = "on training data"
    about = (
        f"{on_data}, {fixed(first['masked_lm_loss'])} at first, with the next sentence {fixed(last['loss'])}"
    )
    return {
        "named": [
            ["Masked-LM loss", [fixed(last["masked_lm_loss"]), about]],
            [
                "Held-out masked-LM loss",
                [fixed(newest["masked_lm_loss"]), f"without context: {fixed(newest['unigram_entropy'])}"],
            ],
            ["Masked-LM accuracy", [percent(last["masked_lm_accuracy"]), on_data]],
            ["Next-sentence accuracy", [percent(last["next_sentence_accuracy"]), on_data]],
            ["Examples per second", [short(last["examples_per_second"]), "cpu"]],
            ["Waiting for data", [percent(waiting), "of the time of the steps"]],
            [
                "Read by all steps",
                [
                    f"{fixed(epochs, 1)} epochs" if epochs >= 1 else f"{percent(epochs)} of the dataset",
                    ", ".join(reads),
                ],
            ],
        ],
        "tables": [
            [
                "Evaluations",
                [
                    [
                        count(one["step"]),
                        fixed(one["masked_lm_loss"]),
                        percent(one["masked_lm_accuracy"], 2),
                        fixed(one["perplexity"], 1),
                        percent(one["next_sentence_accuracy"], 2),
                    ]
                    for one in made
                ],
            ]
        ],
        "charts": [
            *(
                f"{title}: training {show(last[name])} {at}, held-out {show(newest[name])} {at}"
                for title, name, show in CHARTS
            ),
            f"Learning rate: learning rate {power(last['learning_rate'])} {at}",
            f"Examples per second: examples per second {short(last['examples_per_second'])} {at}",
        ],
        "rest": sorted(
            [
                f"{count(last['step'])} of {count(steps)} steps",
                f"as of {when(now['updated_at'])}",
                f"checkpoints: {', '.join(map(count, saved))}",
                f"Fill-mask predictions {at}",
                *(percent(word["probability"]) for gap in newest["fill_mask"] for word in gap["words"]),
                *(f"At step {count(made[0]['step'])}:" for _ in newest["fill_mask"]),
                f"Evaluations ({len(made)})",
            ]
        ),
    }


PARTS = {
    "steps": "steps of the training",
    "redone": "steps that were redone",
    "compiling": "compiling",
    "waiting": "waiting for data",
    "checkpoints": "checkpoints",
    "evaluation": "evaluation",
    "booting": "booting",
    "starting": "starting the training, or not reported",
    "deleting": "deleting",
}


def tpu(memory: Mapping[str, Any], progress: Mapping[str, Any], settings: Mapping[str, Any]) -> Figures:
    """What the view Training shows of an emulated TPU that was deleted.

    Args:
        memory: memory.json, progress: progress.json, settings: those of the run's section `tpu`.
    """
    times = {"booting": 0.0, "running": 0.0, "stopping": 0.0, "deleting": 0.0} | memory["seconds"]
    alive, reported = times["running"] + times["stopping"], dict(progress["seconds"])
    reported.pop("count", None)
    total = sum(reported.values())
    parts = {name: seconds * min(1.0, alive / total) for name, seconds in reported.items()}
    parts |= {name: times[name] for name in ("booting", "deleting")}
    parts["starting"] = max(0.0, alive - total)
    paid = alive + times["booting"] + times["deleting"]
    unpaid = sum(times.get(name, 0.0) for name in ("asking", "queueing", "clearing"))
    deleted = datetime.fromtimestamp(memory["deleted"]).astimezone().isoformat()
    return {
        "named": [
            ["State", ["○ deleted", f"at {when(deleted)}"]],
            [
                "Type",
                [
                    settings["accelerator_type"],
                    f"{settings['provisioning']}, {settings['zones'][memory['zone']]}",
                ],
            ],
            ["In use", [duration(memory["spent"]), "in total"]],
            ["Cost to date", ["none", "an emulator, not a TPU"]],
            ["Preemptions", [count(memory["preemptions"]), f"attempt {memory['attempt']}"]],
        ],
        "tables": [
            [text, duration(spent), percent(spent / paid)]
            for name, text in PARTS.items()
            if (spent := round(parts[name], 3)) > 0
        ],
        "rest": [
            f"Goodput {percent(parts['steps'] / paid)}",
            f"Paid: {duration(paid)}. Not paid: {duration(unpaid)} of waiting for a TPU.",
            f"Events ({len(memory['history'])})",
            *memory["history"],
        ],
    }


CURVES = (
    "loss", "masked_lm_loss", "masked_lm_accuracy", "next_sentence_loss", "next_sentence_accuracy",
    "learning_rate", "examples_per_second",
)  # fmt: skip


def curves(run: Finished) -> dict[str, dict[str, list[float]]]:
    """All points of the charts of the view Training, of a history that is short enough to show all."""
    steps = [line["step"] for line in run.history]
    return {
        name: {"step": steps, "value": [float(f"{line[name]:.6g}") for line in run.history]}
        for name in CURVES
    }


def compared(run: Finished) -> list[str]:
    """What the charts of the view Compare say of the one run."""
    name, last, newest = run.run["dag_run_id"], run.history[-1], run.evaluations[-1]
    at = f"at step {count(last['step'])}"
    return [
        *(
            f"{title}: {name} {show(last[key])} {at}, {name}, held-out {show(newest[key])} {at}"
            for title, key, show in CHARTS
        ),
        f"Learning rate: {name} {power(last['learning_rate'])} {at}",
        f"Examples per second: {name} {short(last['examples_per_second'])} {at}",
        *(f"Probe of {task['name']}: {name} {fixed(task['value'])} {at}" for task in newest["tasks"]),
    ]


def tasks(run: Finished) -> Figures:
    """The view Tasks, of a run with one task."""
    made = run.evaluations
    at = f"at step {count(made[-1]['step'])}"
    curve = [one["tasks"][0] for one in made]
    newest = curve[-1]
    name, size_ = newest["name"], [count(newest["train_texts"]), count(newest["test_texts"])]

    def scores(one: Mapping[str, Any]) -> list[str]:
        own, other = (f"{fixed(one[f'{of}low'])} to {fixed(one[f'{of}high'])}" for of in ("", "tfidf_"))
        return [fixed(one["value"]), own, fixed(one["tfidf"]), other, fixed(one["most_frequent"])]

    value, interval, tfidf, other, frequent = scores(newest)
    matrix = zip(newest["labels"], newest["confusion"], strict=True)
    probe = f"probe {value} ({interval}) {at}, TF-IDF {tfidf} ({other}), most frequent label {frequent}"
    by_step = [[count(one["step"]), *scores(task), *size_] for one, task in zip(made, curve, strict=True)]
    return {
        "named": [],
        "tables": [
            ["Probe", [[name, "macro-F1", [value, interval], [tfidf, other], frequent, *size_]]],
            [f"Probe of {name} by step", by_step],
            [
                f"Confusion matrix of {name}, evaluation {at}",
                [
                    [label, *map(count, row), percent(row[own] / sum(row), 0)]
                    for own, (label, row) in enumerate(matrix)
                ],
            ],
        ],
        "charts": [f"Probe: macro-F1: {probe}"],
        "rest": sorted(
            [
                "A logistic regression on the model's frozen vectors, with a 95% interval over the test "
                "texts. TF-IDF is the same regression on n-grams of characters.",
                "Probe: macro-F1",
                f"{size_[0]} training texts, {size_[1]} test texts",
                f"Values ({len(made)})",
                f"Confusion matrix: evaluation {at}",
            ]
        ),
    }


def model(run: Finished) -> Figures:
    """The view Model, of the first model of its preset."""
    newest, manifest = run.evaluations[-1], read(run.model / "manifest.json")
    own = f"bert_evals/evaluation-{newest['step']}.json"
    sizes = dict(sorted(run.export.items())) | {own: (run.model / own).stat().st_size}
    places = {"Export": f"models/{run.model.name}/export", "Model": f"models/{run.model.name}"}
    places |= {"Dataset": f"datasets/{run.dataset.name}"}
    loss, accuracy = newest["masked_lm_loss"], newest["masked_lm_accuracy"]
    return {
        "named": [
            ["Name", run.model.name],
            ["State", "promoted"],
            ["Exported", when(manifest["made_at"])],
            ["Files", [count(len(sizes)), size(sum(sizes.values()))]],
            *([title, f"gs://qarib/{place}/"] for title, place in places.items()),
        ],
        "tables": [
            [
                "Evaluation",
                [
                    ["Masked-LM loss", fixed(loss)],
                    ["Masked-LM accuracy", percent(accuracy, 2)],
                    ["Perplexity", fixed(newest["perplexity"], 1)],
                    ["Next-sentence accuracy", percent(newest["next_sentence_accuracy"], 2)],
                    ["Steps", count(newest["step"])],
                    ["Held-out examples", count(newest["examples"])],
                ],
            ],
            ["Files", [[name, size(bytes_)] for name, bytes_ in sizes.items()]],
        ],
        "charts": [],
        "rest": sorted(
            [
                f"the first model of its preset, masked-LM loss {fixed(loss, 4)}",
                f"Files of the export ({len(sizes)})",
            ]
        ),
    }
