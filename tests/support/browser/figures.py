"""What the page must show of a finished run: every figure, from the run's files and from Airflow's API.

Nothing here uses `qarib_tasks.views` or the page's script: both are judged by it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from qarib_tasks.config.loading import to_dict
from qarib_tasks.config.presets import resolve
from qarib_tasks.labelled.scores import METRICS
from tests.support.browser.finished import Finished, histogram, read, text_of, times
from tests.support.browser.formats import count, counted, duration, fixed, percent, short, size, when

Figures = dict[str, Any]


def shards(run: Finished) -> Figures:
    """The view Shards, without a shard chosen."""
    found = run.shards
    own = [task for task in run.tasks if task["task_id"].startswith("shard.")]
    uploads = sum(task["task_id"] == "shard.upload" for task in own)
    worked, until = 0.0, 0.0
    for start, end in sorted(map(times, own)):
        worked += max(0.0, end - max(start, until))
        until = max(until, end)
    states = ("waiting", "converting", "uploading", "complete", "missing", "failed", "corrupt")
    numbers = dict.fromkeys(states, 0) | {"complete": len(found)}
    return {
        "named": [
            ["Complete", [count(len(found)), f"of {counted(len(found), 'shard')}"]],
            ["Incomplete or damaged", ["0", "failed, corrupt or missing"]],
            ["Examples", count(sum(one["examples"] for one in found.values()))],
            ["TFRecords", size(sum(one["bytes"] for one in found.values()))],
            ["Throughput", [fixed(60 * uploads / worked, 1), "shards per minute of work"]],
            ["Time left", "–"],
        ],
        "tables": [],
        "charts": [],
        "rest": sorted(f"{state} {count(number)}" for state, number in numbers.items()),
    }


def shard(run: Finished, name: str) -> list[list[str]]:
    """The details of a shard."""
    own = run.shards[name]
    tasks = {task["task_id"]: task for task in run.tasks if task["rendered_map_index"] == name}
    spent = {}
    for step in ("convert", "upload"):
        start, end = times(tasks[f"shard.{step}"])
        spent[step] = round(end - start, 1)
    packed = own.get("packing_efficiency")
    return [
        ["Examples", count(own["examples"])],
        ["Lines", count(own["lines"])],
        ["TFRecords", size(own["bytes"])],
        ["[UNK]", percent(own["unknown_share"], 3)],
        ["Wordpieces per word", fixed(own["wordpieces"] / own["words"], 2)],
        *([["Rows full", percent(packed)]] if packed is not None else []),
        ["Conversion", duration(spent["convert"])],
        ["Upload", duration(spent["upload"])],
        ["Attempts", count(tasks["shard.upload"]["try_number"])],
    ]


COLUMNS = (
    "files", "left_out_files", "bytes_read", "text_read", "undecodable_bytes", "skipped", "lines_read",
    "documents_read", "duplicates", "near_duplicates", "outside_share", "heldout_documents", "documents",
    "lines", "words", "bytes",
)  # fmt: skip


def corpus(run: Finished) -> Figures:
    """The view Corpus and vocabulary. The text that was kept is counted; what is gone is in the manifest."""
    manifest, vocabulary = run.corpus, read(run.dataset / "vocab.txt.manifest.json")
    figures, sources = manifest["statistics"], manifest["statistics"]["sources"]
    kept_bytes, lines, words, documents = text_of(run.dataset / "data.txt")
    held_out = len(text_of(run.dataset / "heldout/data.txt")[3])
    totals = figures | {"bytes": kept_bytes, "lines": lines, "words": words, "documents": len(documents)}
    totals |= {"text_read": figures["text_bytes"] + figures["text_lines"]}
    used = [key for key in COLUMNS if totals.get(key) or key in ("documents", "lines", "words")]

    def row(name: str, values: Mapping[str, Any]) -> list[str]:
        shows = {"bytes": size, "bytes_read": size, "text_read": size}
        values = {**values, "text_read": values["text_bytes"] + values["text_lines"]}
        return [name, *(shows.get(key, count)(values.get(key, 0)) for key in used)]

    parts = {"kept": len(documents), "held out": held_out, "repeats": figures["duplicates"]}
    parts |= {"near-repeats": figures["near_duplicates"], "outside the share": figures["outside_share"]}
    all_ = sum(parts.values())
    dropped = figures["dropped_bytes"]
    before = figures["text_bytes"] + sum(dropped.get(rule, 0) for rule in figures["dropped"])
    shards = list(run.shards.values())
    shard_words, pieces = (sum(one[key] for one in shards) for key in ("words", "wordpieces"))
    unknown = sum(one["unknown_share"] * one["wordpieces"] for one in shards)
    places = sorted((-number, name) for name, number in figures["changed"].items() if number)
    texts = [*figures["changed_texts"].values(), *figures["dropped_texts"].values()]
    texts += [one["samples"] for one in sources.values()]
    files = sum(one["files"] for one in sources.values())
    lost = [
        [
            one["rule"].replace("_", " "),
            f"{count(one['number'])} of {count(one['total'])} {one['unit']}",
            percent(dropped[one["rule"]] / before),
        ]
        for one in figures["lost"]
    ]
    outcomes = [
        f"{name} {count(number)} ({percent(number / all_)})" for name, number in parts.items() if number
    ]
    known = vocabulary["statistics"]
    return {
        "named": [
            ["Documents", [short(len(documents)), f"of {short(figures['documents_read'])} read"]],
            ["Lines", short(lines)],
            ["Words", short(words)],
            ["Text", [size(kept_bytes), f"of {size(totals['text_read'])} read"]],
            ["Sources", [count(len(sources)), counted(files, "file")]],
            ["Made", when(manifest["made_at"])],
            ["Entries", count(len((run.dataset / "vocab.txt").read_text(encoding="utf-8").splitlines()))],
            ["[UNK]", [percent(unknown / pieces, 3), "of the wordpieces"]],
            ["Wordpieces per word", fixed(pieces / shard_words, 2)],
            ["Distinct words", [short(known["distinct_words"]), "used for training it"]],
            ["Characters", count(known["characters"])],
            ["Recipe", [vocabulary["config"]["recipe"], vocabulary["config"]["model_type"]]],
        ],
        "tables": [
            ["What was dropped, by rule", lost],
            ["Sources", [*(row(name, one) for name, one in sources.items()), row("all", totals)]],
            ["Places changed, by rule", [[name.replace("_", " "), count(-less)] for less, name in places]],
            ["before deduplication", _bins(figures["line_words"])],
            ["of the kept documents", _bins(histogram(documents))],
        ],
        "charts": [],
        "rest": sorted(
            (
                *outcomes,
                figures["summary"],
                counted(sum(map(len, texts)), "text"),
                *(counted(figures["changed"][rule], "place") for rule in figures["changed_texts"]),
                *(counted(one["number"], one["unit"].removesuffix("s")) for one in figures["lost"]),
                f"Measured on {counted(shard_words, 'word')} of {counted(len(shards), 'shard')}.",
            )
        ),
    }


def _bins(found: Mapping[str, int]) -> list[list[str]]:
    names = sorted(found, key=lambda name: int(re.split(r"\D", name)[0]))
    return [[name, count(found[name])] for name in names]


def changed(run: Finished) -> list[list[str]]:
    """The values of settings that are not the preset's, and the preset's."""
    usual = to_dict(resolve({key: run.config[key] for key in ("preset", "workspace")}))
    places = [("upload", "bucket"), ("upload", "prefix")]
    return [
        [count(value) if isinstance(value, int) else repr(value) for value in (own, usual[section][name])]
        for section, values in run.config.items()
        if isinstance(values, dict)
        for name, own in values.items()
        if own != usual[section][name] and (section, name) not in places
    ]


def row(run: Finished) -> list[Any]:
    """The cells of the run's row in the table of runs, after the first one."""
    newest, last = run.evaluations[-1], run.history[-1]
    best = max(newest["tasks"], key=lambda task: float(task["value"]))
    vocabulary, copies = run.config["vocab"]["vocab_size"], run.config["convert"]["dupe_factor"]
    parts = ("preflight", "collect", "vocabulary", "shards", "training", "model")
    start, end = times(run.run)
    return [
        "✓ success",
        "".join(f"✓{part}: done" for part in parts),
        run.config["preset"],
        when(run.run["start_date"]),
        duration(end - start),
        f"Vocabulary size {vocabulary}, Duplicates {copies} +{len(changed(run)) - 2}",
        f"{short(last['step'])} of {short(run.config['train']['train_steps'])}",
        fixed(newest["masked_lm_loss"]),
        [fixed(best["value"]), f"{best['name']}, {METRICS[best['metric']]}, probe"],
        "–",
        "no TPU",
    ]


def details(run: Finished) -> list[list[str]]:
    """The figures of a run's details."""
    kept_bytes, lines, _, _ = text_of(run.dataset / "data.txt")
    own = [one for name, one in run.shards.items() if "/" not in name]
    examples, bytes_ = (sum(one[key] for one in own) for key in ("examples", "bytes"))
    last, steps = run.history[-1], run.config["train"]["train_steps"]
    return [
        ["Corpus", f"{short(lines)} lines, {size(kept_bytes)}"],
        ["Dataset", f"{counted(len(own), 'shard')}, {short(examples)} examples, {size(bytes_)}"],
        ["Training", f"{short(last['step'])} of {short(steps)} stepsloss {fixed(last['loss'])}"],
        ["Cost to date", "no TPU"],
    ]


def differences(run: Finished) -> list[list[str]]:
    """The rows of the table of the view Compare, without those of the settings, and its groups."""
    kept_bytes, lines, words, documents = text_of(run.dataset / "data.txt")
    own = [one for name, one in run.shards.items() if "/" not in name]
    examples, bytes_ = (sum(one[key] for one in own) for key in ("examples", "bytes"))
    vocabulary = read(run.dataset / "vocab.txt.manifest.json")["statistics"]
    last, newest = run.history[-1], run.evaluations[-1]
    start, end = times(run.run)
    return [
        ["Data"],
        ["Dataset", run.dataset.name],
        ["Documents", count(len(documents))],
        ["Lines", count(lines)],
        ["Words", count(words)],
        ["Text", size(kept_bytes)],
        ["Shards", count(len(own))],
        ["Examples", count(examples)],
        ["Examples, in bytes", size(bytes_)],
        ["Vocabulary"],
        *([name.replace("_", " ").capitalize(), count(value)] for name, value in vocabulary.items()),
        ["Results"],
        ["State", "success"],
        ["Steps", count(last["step"])],
        ["Masked-LM loss, on training data", fixed(last["masked_lm_loss"])],
        ["Examples per second", count(last["examples_per_second"])],
        [
            "Held-out part",
            read(run.model.parent / "promoted.json")["presets"][run.config["preset"]]["judged"][-1][
                "heldout"
            ][:10],
        ],
        ["Held-out masked-LM loss", fixed(newest["masked_lm_loss"])],
        ["Loss by word frequencies alone", fixed(newest["unigram_entropy"])],
        ["Held-out masked-LM accuracy", percent(newest["masked_lm_accuracy"], 2)],
        ["Held-out perplexity", fixed(newest["perplexity"])],
        ["Held-out next-sentence accuracy", percent(newest["next_sentence_accuracy"], 2)],
        *([f"Probe of {task['name']}", fixed(task["value"])] for task in newest["tasks"]),
        ["Duration", duration(end - start)],
    ]
