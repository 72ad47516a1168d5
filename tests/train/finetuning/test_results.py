"""The results of fine-tunings: files, the table, the model card, and files of others.

Covers qarib_tasks/train/results/finetuned.py.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qarib_tasks.train.runtime import choose_backend

choose_backend()

from qarib_tasks.config.evaluation import TaskConfig
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.errors import ConfigError, CorruptError, InputError, TrainingError
from qarib_tasks.labelled.baselines import baselines
from qarib_tasks.labelled.task import LabelledTask
from qarib_tasks.layout import ModelLayout
from qarib_tasks.storage.manifest import Manifest
from qarib_tasks.storage.recognition import check_model_folder, is_finetuning_table
from qarib_tasks.train.finetuning import results
from qarib_tasks.train.finetuning.recipe import Recipe
from qarib_tasks.train.finetuning.results import fine_tune, write_table
from qarib_tasks.train.finetuning.run import FineTuning, fine_tuning
from qarib_tasks.train.finetuning.tune import Outcome, Tuned
from qarib_tasks.train.results.export import export, refresh_model_card
from qarib_tasks.train.results.finetuned import mean_of, read_table, require_results
from tests.support.tuning.small_model import RECIPE, make_model, words_of_two_kinds

TASK, OTHER = words_of_two_kinds(), words_of_two_kinds("other", test=40)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    return make_model(tmp_path_factory.mktemp("results"), TASK, OTHER)


@pytest.fixture
def job(trained: TrainingJob, tmp_path: Path) -> TrainingJob:
    job = replace(trained, output=str(tmp_path / "small"))
    shutil.copytree(trained.output, job.output)
    return job


@pytest.fixture
def layout(job: TrainingJob) -> ModelLayout:
    return ModelLayout(Path(job.output), job)


class MadeUp:
    """Outcomes without a training: seed 3 fails, another one gets as many texts wrong as its number."""

    failing = 3

    def __init__(self, model: Any, task: LabelledTask, recipe: Recipe) -> None:
        self.task = task

    def tune(self, seed: int, folder: Path, subject: str) -> Tuned:
        (folder / ".qarib-0.json").write_text("{}")
        if seed == self.failing:
            raise TrainingError("the loss is not finite", where=self.task.name)
        wrong = [1 - label if row < seed else label for row, label in enumerate(self.task.test.labels)]
        outcomes = [
            Outcome(2e-5, 0.5, 1.0, [0] * len(wrong)),
            Outcome(3e-5, 0.8, None, wrong),
            Outcome(5e-5, 0.8, None, wrong),
        ]
        return Tuned(outcomes, 270, 30)


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qarib_tasks.train.finetuning.tune.Tuner", MadeUp)


def tuning(job: TrainingJob, **arguments: Any) -> FineTuning:
    found = fine_tuning(job.output, **arguments)
    found.read = lambda: None  # type: ignore[assignment,return-value]
    return found


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_table_has_mean_deviation_seeds_and_baselines(job: TrainingJob, layout: ModelLayout) -> None:
    found = tuning(job)
    found.run([1, 2])
    entries = found.table([1, 2])
    assert json.loads(layout.finetuning_table.read_text(encoding="utf-8")) == {"tasks": entries}
    assert [entry["name"] for entry in entries] == ["kinds", "other"]
    entry = entries[0]
    assert list(entry) == [
        *("name", "metric", "sha256", "labels", "mean", "sd", "seeds", "missing"),
        *("most_frequent", "tfidf", "tfidf_low", "tfidf_high", "confusion", "test_texts"),
    ]
    one, two = (json.loads(layout.finetuning_result("kinds", seed).read_text()) for seed in (1, 2))
    assert entry["mean"] == pytest.approx((one["value"] + two["value"]) / 2)
    assert entry["sd"] == pytest.approx(abs(one["value"] - two["value"]) / 2**0.5)
    assert entry["seeds"][1] == {name: two[name] for name in ("seed", "rate", "value", "low", "high")}
    assert two["rate"] == 3e-5  # of two equally good ones the lower
    assert entry["missing"] == []
    assert sum(map(sum, entry["confusion"])) == 2 * entry["test_texts"] == 200
    assert entry["confusion"] == [
        [a + b for a, b in zip(*rows, strict=True)]
        for rows in zip(one["confusion"], two["confusion"], strict=True)
    ]
    expected = baselines(TASK)
    assert (entry["most_frequent"], entry["tfidf"]) == (expected.most_frequent.score, expected.tfidf.score)
    assert (entry["sha256"], entry["labels"]) == (job.tasks[0].sha256, ["few", "many"])
    before = layout.finetuning_table.read_bytes()
    found.table([1, 2])
    assert layout.finetuning_table.read_bytes() == before


def test_a_seed_that_failed_is_named_and_completes_the_table_later(
    job: TrainingJob, layout: ModelLayout, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = tuning(job, names=["kinds"])
    found.run([1, 2])
    with pytest.raises(TrainingError, match="not finite"):
        found.run([3])
    before = files(layout.finetuning("kinds"))
    assert {"1.json", "2.json", "3.work/.qarib"} <= before.keys()
    (entry,) = found.table([1, 2, 3])
    assert ([one["seed"] for one in entry["seeds"]], entry["missing"]) == ([1, 2], [3])
    with pytest.raises(InputError, match="fine-tunings without a result: kinds, seed 3"):
        require_results([entry])
    monkeypatch.setattr(MadeUp, "failing", None)
    found.run([1, 2, 3])
    (entry,) = found.table([1, 2, 3])
    assert ([one["seed"] for one in entry["seeds"]], entry["missing"]) == ([1, 2, 3], [])
    require_results([entry])
    now = files(layout.finetuning("kinds"))
    assert {name: now[name] for name in ("1.json", "2.json")} == {
        name: before[name] for name in ("1.json", "2.json")
    }
    assert sorted(now) == ["1.json", "2.json", "3.json"]


def test_no_results_and_one_have_no_deviation(job: TrainingJob) -> None:
    found = tuning(job, names=["kinds"])
    (entry,) = found.table([1])
    assert (entry["mean"], entry["sd"], entry["seeds"], entry["missing"]) == (None, None, [], [1])
    assert "confusion" not in entry
    assert mean_of(entry) == "none"
    found.run([1])
    (entry,) = found.table([1])
    assert (entry["mean"], entry["sd"]) == (entry["seeds"][0]["value"], None)
    assert mean_of(entry) == f"{entry['mean']:.4f}"


def test_entries_of_other_tasks_stay(job: TrainingJob, layout: ModelLayout) -> None:
    for name in ("other", "kinds"):
        some = tuning(job, names=[name])
        some.run([1])
        some.table([1])
    assert [entry["name"] for entry in read_table(layout)] == ["kinds", "other"]


def test_results_of_another_task_model_or_recipe_are_made_again(
    job: TrainingJob, layout: ModelLayout
) -> None:
    found = tuning(job, names=["kinds"])
    found.run([1])
    (subject,) = found.subjects
    assert subject.result(1)
    for other in (
        replace(subject, sha256="0"),
        replace(subject, model="0"),
        replace(subject, recipe=replace(subject.recipe, length=64)),
        replace(subject, recipe=RECIPE),
    ):
        assert other.result(1) is None
        assert write_table(layout, [other], [1])[0]["missing"] == [1]
    assert replace(subject, recipe=replace(subject.recipe, xla=False)).result(1)
    result = layout.finetuning_result("kinds", 1)
    result.write_text(result.read_text(encoding="utf-8")[:100], encoding="utf-8")
    assert subject.result(1) is None
    found.run([1])
    assert subject.result(1)


def test_the_model_card_gets_the_results_and_the_manifest_its_checksum(
    job: TrainingJob, layout: ModelLayout
) -> None:
    before = Manifest.read(layout.manifest)
    found = tuning(job, names=["kinds"])
    found.run([1, 2])
    (entry,) = found.table([1, 2])
    card = layout.model_card.read_text(encoding="utf-8")
    assert "## Fine-tuning" in card
    assert f"| kinds | macro-F1 | {mean_of(entry)} | 2 | " in card
    assert f"{entry['mean']:.4f} ± {entry['sd']:.4f} |" in card
    now = Manifest.complete(layout.manifest)
    assert not now.faults(layout.root)
    assert [record.name for record in now.outputs] == [record.name for record in before.outputs]
    assert now.outputs[1:] == before.outputs[1:]
    assert now.made_at == before.made_at
    # An export that is made again has it too.
    layout.model_card.unlink()
    export(job)
    assert layout.model_card.read_text(encoding="utf-8") == card
    assert Manifest.read(layout.manifest).outputs == now.outputs


def test_a_model_card_that_was_edited_stays(job: TrainingJob, layout: ModelLayout) -> None:
    layout.model_card.write_text("mine\n", encoding="utf-8")
    found = tuning(job, names=["kinds"])
    found.run([1])
    found.table([1])
    assert layout.model_card.read_text(encoding="utf-8") == "mine\n"
    new = layout.model_card.with_name("README.md.new")
    assert "## Fine-tuning" in new.read_text(encoding="utf-8")
    assert not Manifest.complete(layout.manifest).faults(layout.root)
    new.write_text("mine too\n")
    refresh_model_card(job)
    assert new.read_text() == "mine too\n"  # there is nothing new to say
    found.run([2])
    found.table([1, 2])
    assert new.with_name("README.md.new.changed-1").read_text() == "mine too\n"
    assert "## Fine-tuning" in new.read_text(encoding="utf-8")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"vocab_size": "all"}'])
def test_an_exported_config_that_is_damaged(job: TrainingJob, layout: ModelLayout, content: str) -> None:
    path = layout.export / "config.json"
    path.write_text(content)
    with pytest.raises(CorruptError, match=r"export/config\.json: .*xport (the model|it) again"):
        refresh_model_card(job)


def test_files_of_others_stay(job: TrainingJob, layout: ModelLayout) -> None:
    found = tuning(job, names=["kinds"])
    for path, run in (
        (layout.finetuning("kinds"), lambda: found.run([1])),
        (layout.finetuning_result("kinds", 1), lambda: found.run([1])),
        (layout.finetuning("kinds") / "1.work", lambda: found.run([1])),
        (layout.finetuning_table, lambda: found.table([1])),
    ):
        for text in ('{"tasks": [{"label": "build"}], "version": 1}', '{"tasks": [{"label": "build"}]}', ""):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            before = files(layout.root)
            with pytest.raises(InputError, match=r"exists and was not made by qarib|is a file, not a folder"):
                run()
            assert files(layout.root) == before, path
        path.unlink()
    # The table only reads results: another's file is none, and stays.
    layout.finetuning_result("kinds", 1).write_text('{"mine": true}')
    assert [entry["missing"] for entry in found.table([1])] == [[1]]
    assert layout.finetuning_result("kinds", 1).read_text() == '{"mine": true}'
    layout.finetuning_table.write_text('{"tasks": [{"label": "build"}]}')
    with pytest.raises(InputError, match=r"tasks\.json: exists and was not made by qarib"):
        check_model_folder(layout)


def test_a_table_that_was_cut_off_is_ours(job: TrainingJob, layout: ModelLayout) -> None:
    found = tuning(job, names=["kinds"])
    found.run([1])
    found.table([1])
    data = layout.finetuning_table.read_bytes()
    assert is_finetuning_table(data)
    assert is_finetuning_table(data[:100])
    assert not is_finetuning_table(b"[" * 100_000)
    layout.finetuning_table.write_bytes(data[:100])
    found.table([1])
    assert layout.finetuning_table.read_bytes() == data


def test_two_processes_do_not_make_one_result(job: TrainingJob, layout: ModelLayout) -> None:
    (subject,) = tuning(job, names=["kinds"]).subjects

    def tuner() -> Any:
        return MadeUp(None, subject.task, subject.recipe)

    def second() -> Any:
        with pytest.raises(TrainingError, match=r"1\.work: another process fine-tunes in this folder"):
            fine_tune(subject, tuner, 1)
        return tuner()

    fine_tune(subject, second, 1)
    assert subject.result(1)
    assert results.line(subject.result(1) or {}).startswith("task kinds, seed 1: macro-F1 0.9")


def write_csv(folder: Path) -> TaskConfig:
    path = folder / "train.csv"
    lines = (
        f"{text},{TASK.labels[label]}\n"
        for text, label in zip(TASK.train.texts, TASK.train.labels, strict=True)
    )
    path.write_text("text,label\n" + "".join(lines), encoding="utf-8")
    return TaskConfig(name="given", train=str(path))


def test_tasks_from_files_are_kept_beside_their_results(
    job: TrainingJob, layout: ModelLayout, tmp_path: Path
) -> None:
    task = write_csv(tmp_path)
    found = tuning(job, tasks=[task])
    found.run([1])
    (entry,) = found.table([1])
    assert (entry["name"], layout.finetuning_result("given", 1).is_file()) == ("given", True)
    assert (layout.finetuning("given") / "task.jsonl").is_file()
    assert not layout.task("given").exists()
    with pytest.raises(ConfigError, match=r"tasks/other\.jsonl: the model has another task 'other'"):
        fine_tuning(job.output, tasks=[replace(task, name="other")])
    assert not (layout.finetuning("other") / "task.jsonl").exists()
    with pytest.raises(ConfigError, match="is in the model's folder"):
        fine_tuning(str(layout.export), tasks=[task], output=layout.root / "sub")
    with pytest.raises(ConfigError, match="duplicate task name 'given'"):
        fine_tuning(job.output, tasks=[task, task])


def test_the_folder_of_a_model_of_others_stays_as_it_is(
    job: TrainingJob, layout: ModelLayout, tmp_path: Path
) -> None:
    foreign, output = tmp_path / "foreign", tmp_path / "out"
    shutil.copytree(layout.export, foreign)
    before = files(foreign)
    other = replace(job, output=str(foreign))
    with pytest.raises(ConfigError, match=r"foreign: not a model folder of qarib, .* Give a folder .* `-o`"):
        tuning(other, tasks=[write_csv(tmp_path)])
    for inside in (foreign, foreign / "results"):
        with pytest.raises(ConfigError, match="is in the model's folder"):
            tuning(other, tasks=[write_csv(tmp_path)], output=inside)
    found = tuning(other, tasks=[write_csv(tmp_path)], output=output)
    (output / "bert_evals" / "tasks.json").write_text("[]")
    with pytest.raises(InputError, match=r"tasks\.json: exists and was not made by qarib"):
        found.run([1])
    (output / "bert_evals" / "tasks.json").unlink()
    found.run([1])
    found.table([1])
    assert files(foreign) == before
    assert sorted(files(output)) == [
        "bert_evals/finetuning/given/1.json",
        "bert_evals/finetuning/given/task.jsonl",
        "bert_evals/tasks.json",
    ]
    with pytest.raises(ConfigError, match=r"foreign: the model has no tasks of its own. Give `--task`"):
        tuning(other, output=output)
    # Results of another model do not count.
    assert tuning(job, tasks=[write_csv(tmp_path)], output=output).subjects[0].result(1) is not None
    settings = foreign / "config.json"
    settings.write_text(settings.read_text() + "\n")
    assert tuning(other, tasks=[write_csv(tmp_path)], output=output).subjects[0].result(1) is None
