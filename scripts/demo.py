"""Run the complete pipeline on the sample corpus in a real Airflow, follow the run, and show the results.

    python scripts/demo.py                keeps the Airflow UI running until Ctrl-C
    python scripts/demo.py --detach       stops everything at the end
    python scripts/demo.py --published    trains with the published recipe, not with the modern one

Exit status 1: the run failed, and the end of the failed task's log was printed.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from local_stack import REPOSITORY, LocalStack, StackError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from qarib_tasks.dataset.audit import shard_names
from qarib_tasks.layout import DatasetLayout, ModelLayout
from qarib_tasks.runs.run import Run
from qarib_tasks.storage.bucket import Bucket
from qarib_tasks.storage.manifest import Manifest, manifest_of
from qarib_tasks.train.results.summary import evaluations_in, result_rows

DAG = "qarib_pretrain"
HOME = REPOSITORY / ".demo"
UI_PORT = 8080
STEPS = {
    "preflight": "check settings, sources and bucket",
    "sources": "list the sources",
    "collect_source": "read and clean the sources",
    "collect": "join the sources",
    "vocab": "learn the vocabulary",
    "split": "split into shards",
    "shard.convert": "convert the shards",
    "shard.upload": "upload the shards",
    "dataset": "check the dataset",
    "publish": "publish vocabulary and manifest",
    "prepare_tpu": "prepare the emulated TPU",
    "train": "train on the emulated TPU",
    "delete_tpu": "delete the emulated TPU",
    "evaluate": "evaluate",
    "export": "export",
    "promote": "promote the model",
    "finetunings": "list the fine-tunings",
    "finetune": "fine-tune on labelled tasks",
    "finetuning_table": "write the table of fine-tunings",
}
LOG_TAIL = 40
AT_WORK = ("running", "deferred")  # A deferred task runs in the triggerer.


class RunFailed(Exception):
    """The DAG run failed; the message has the name of the task and the end of its log."""


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--detach", action="store_true", help="stop everything when the run ends")
    arguments.add_argument("--published", action="store_true", help="the preset demo, not demo_modern")
    arguments.add_argument("--home", type=Path, default=HOME, help="folder for all files  [%(default)s]")
    arguments.add_argument("--conf", type=json.loads, default={}, help="JSON: values of the trigger form")
    options = arguments.parse_args()
    handle_signals()
    console = Console(highlight=False)
    try:
        preset = "demo" if options.published else "demo_modern"
        demo(console, options.home, {"preset": preset, **options.conf}, detach=options.detach)
    except (StackError, RunFailed) as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 130
    return 0


def handle_signals() -> None:
    """Stop at SIGINT, SIGTERM, and SIGHUP.

    A shell without job control starts a background job with SIGINT ignored, and nohup with SIGHUP: only the
    latter is meant to stay so.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupted)


def interrupted(*_: object) -> None:
    """Handle a signal like Ctrl-C."""
    raise KeyboardInterrupt


def demo(console: Console, home: Path, conf: dict[str, Any], *, detach: bool) -> None:
    started = time.monotonic()
    console.print("Starting Airflow and the emulators of Cloud Storage and Cloud TPU ...")
    with LocalStack(home, ui_port=UI_PORT) as stack:
        until = " until the run ends" if detach else ""
        console.print(f"Airflow UI{until}: {address_of(stack)}", soft_wrap=True)
        run_id = stack.trigger(DAG, conf)
        times = follow(console, stack, run_id)
        run = read_run(stack, run_id)
        times = {"start of Airflow": stack.seconds_to_start, **times, "total": time.monotonic() - started}
        start = datetime.fromisoformat(stack.run(DAG, run_id)["start_date"])
        report(console, stack, run, times, start)
        if not detach:
            console.print(f"{'Airflow UI':<23}{address_of(stack)}", soft_wrap=True)
            console.print("\nThe Airflow UI runs until you press Ctrl-C.")
            while True:
                stack.check()
                time.sleep(1)
    console.print(
        "All processes are stopped. To see the run in the Airflow UI: make demo, which reuses its files."
    )


def follow(console: Console, stack: LocalStack, run_id: str) -> dict[str, float]:
    """Show the run's progress until it ends.

    Returns:
        the seconds from each step's first start to its last end.

    Raises:
        RunFailed: the run failed.
    """
    with display(console) as show:
        while True:
            state = stack.run(DAG, run_id)["state"]
            tasks = stack.task_instances(DAG, run_id)
            show(tasks, progress_of(stack, tasks))
            if state in ("success", "failed"):
                break
            time.sleep(1)
    if state == "failed":
        raise RunFailed(failure(stack, tasks))
    return {step: seconds(tasks, step) for step in STEPS if any(t["task_id"] == step for t in tasks)}


@contextmanager
def display(console: Console) -> Iterator[Any]:
    """Yield a function that shows the state of the tasks: as bars in a terminal, or one line per change."""
    if not console.is_terminal:
        seen: dict[str, str] = {}

        def lines(tasks: list[dict[str, Any]], training: dict[str, Any]) -> None:
            for step in STEPS:
                text = line_of(step, tasks, training)
                if text and seen.get(step) != text:
                    seen[step] = text
                    console.print(text, soft_wrap=True)

        yield lines
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("{task.fields[note]}"), console=console) as progress:
        bars = {s: progress.add_task(text, total=None, start=False, note="") for s, text in STEPS.items()}

        def update(tasks: list[dict[str, Any]], training: dict[str, Any]) -> None:
            for step, bar in bars.items():
                states = Counter(task["state"] for task in tasks if task["task_id"] == step)
                done, total, note = states["success"], sum(states.values()), ""
                running = sum(states[state] for state in AT_WORK)
                if step == "train" and training and running:
                    done, total, note = training["step"], training["train_steps"], note_of(training)
                if running or done:
                    progress.start_task(bar)
                if states["up_for_retry"] or states["failed"]:
                    note = "[red]failed" + (", will be retried" if states["up_for_retry"] else "")
                progress.update(bar, completed=done, total=total or None, note=note)
                if total and states["success"] == sum(states.values()):
                    progress.stop_task(bar)

        yield update


def line_of(step: str, tasks: list[dict[str, Any]], training: dict[str, Any]) -> str | None:
    states = Counter(task["state"] for task in tasks if task["task_id"] == step)
    done, total = states["success"], sum(states.values())
    running = sum(states[state] for state in AT_WORK)
    if not (done or running or states["up_for_retry"] or states["failed"]):
        return None
    if step == "train" and training and running:
        # A line every 5% of the steps.
        total_steps, part = training["train_steps"], max(1, training["train_steps"] // 20)
        return f"{step}: {training['step'] // part * part:,} of {total_steps:,} steps"
    failed = f", {states['up_for_retry'] + states['failed']} failed"
    return f"{step}: {done} of {total} done" + (failed if not failed.startswith(", 0") else "")


def note_of(training: dict[str, Any]) -> str:
    text = f"loss {training['loss']:.3f}" if "loss" in training else ""
    evaluation = training.get("evaluation") or {}
    if "masked_lm_loss" in evaluation:
        text += f", held-out masked-LM loss {evaluation['masked_lm_loss']:.3f}"
    return text


def progress_of(stack: LocalStack, tasks: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the trainer's progress.json from the bucket, while the training runs."""
    started = [t["start_date"] for t in tasks if t["task_id"] == "train" and t["state"] in AT_WORK]
    files = Bucket(f"gs://{stack.bucket}/", emulator_client(stack)).list("models/") if started else {}
    files = {name: blob for name, blob in files.items() if name.endswith("/progress.json")}
    if not files:
        return {}
    newest = max(files.values(), key=lambda blob: blob.updated)
    training: dict[str, Any] = json.loads(newest.bucket.blob(newest.name).download_as_bytes())
    return training if training.get("updated_at", "") >= started[0][:19] else {}


def seconds(tasks: list[dict[str, Any]], step: str) -> float:
    starts = [datetime.fromisoformat(t["start_date"]) for t in tasks if t["task_id"] == step]
    ends = [datetime.fromisoformat(t["end_date"]) for t in tasks if t["task_id"] == step]
    return (max(ends) - min(starts)).total_seconds()


def failure(stack: LocalStack, tasks: list[dict[str, Any]]) -> str:
    """Return the name of the first failed task and the end of its log."""
    failed = sorted((t for t in tasks if t["state"] == "failed"), key=lambda t: str(t["end_date"]))
    if not failed:
        return "The run failed, but no task failed: " + str(Counter(t["state"] for t in tasks))
    task = failed[0]
    name = task["task_id"] + (f" [{task['rendered_map_index']}]" if task["map_index"] >= 0 else "")
    log = "\n".join(stack.task_log(task).splitlines()[-LOG_TAIL:])
    return f"Task {name} failed. The end of its log:\n\n{log}\n\nTask {name} failed, see its log above."


def read_run(stack: LocalStack, run_id: str) -> Run:
    """Return the run that the task `preflight` returned."""
    path = f"dags/{DAG}/dagRuns/{run_id}/taskInstances/preflight/xcomEntries/return_value"
    value = stack.api("GET", path, params={"deserialize": True})["value"]
    return Run.from_dict(value)


def address_of(stack: LocalStack) -> str:
    return f"{stack.url}  user {stack.user}  password {stack.password}"


def report(console: Console, stack: LocalStack, run: Run, times: dict[str, float], start: datetime) -> None:
    """Print the results of the run, from the files that it wrote or found.

    Args:
        start: of the run.
    """
    assert run.address is not None
    corpus = Manifest.read(manifest_of(run.dataset.data))
    dataset = Manifest.read(run.dataset.manifest)
    model = Manifest.read(run.model.manifest)
    vocabulary = run.dataset.vocab.read_text(encoding="utf-8").splitlines()
    bucket = Bucket(run.address, emulator_client(stack))
    objects = [*bucket.list(run.dataset.name).values(), *bucket.list(run.model.name).values()]
    rows = {
        "Dataset": f"{run.dataset_id}",
        "Lines collected": f"{corpus.statistics['lines']:,}",
        "Vocabulary": f"{len(vocabulary):,} entries",
        "Shards": f"{dataset.statistics['shards']:,}",
        "Examples": f"{dataset.statistics['examples']:,}",
        "Objects in the bucket": f"{len(objects):,} below {run.address}",
        **result_rows(model.statistics, evaluations_in(run.model.bert_evals)),
        "Model": f"{run.address}{run.model.name}export/",
        "": str(run.model.export),
        "Model's files": f"{len(model.outputs)}",
        **made_rows(run.dataset, run.model, [one.updated for one in objects], start),
        "Time": ", ".join(f"{name} {value:.0f} s" for name, value in times.items()),
    }
    console.print()
    for name, text in rows.items():
        console.print(f"{name:<23}{text}", soft_wrap=True, markup=False)


def made_rows(
    dataset: DatasetLayout, model: ModelLayout, uploaded: Sequence[datetime], start: datetime
) -> dict[str, str]:
    """Return what the run made and what it found complete, of an earlier run with the same settings.

    Args:
        uploaded: when each object was written. start: of the run.
    """

    def made(manifest: Path) -> datetime:
        return datetime.fromisoformat(Manifest.read(manifest).made_at)

    times = {
        "the corpus": [made(manifest_of(dataset.data))],
        "the vocabulary": [made(manifest_of(dataset.vocab))],
        "shards": [made(manifest_of(dataset.tfrecord(name))) for name in shard_names(dataset)],
        "objects": uploaded,
        "the training": [datetime.fromisoformat(json.loads(model.progress.read_text())["updated_at"])],
    }

    def named(old: bool) -> str:
        numbers = {name: sum((time < start) == old for time in found) for name, found in times.items()}
        texts = [
            name if name.startswith("the ") else f"{count:,} {name if count != 1 else name[:-1]}"
            for name, count in numbers.items()
            if count
        ]
        return ", ".join(texts)

    rows = {"Made in this run": named(False) or "nothing", "Found complete": named(True)}
    return {name: text for name, text in rows.items() if text}


def emulator_client(stack: LocalStack) -> Any:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    options = {"api_endpoint": stack.emulator}
    return storage.Client(project="emulator", credentials=AnonymousCredentials(), client_options=options)


if __name__ == "__main__":
    sys.exit(main())
