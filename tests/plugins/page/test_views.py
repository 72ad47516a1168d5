"""The views Model, Training, and Shards in Chromium: figures do not mislead, and texts of files are text."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Locator, Page, expect
from qarib_airflow.page import answers

from qarib_tasks.layout import ModelLayout
from qarib_tasks.views.shards import ShardTask
from tests.support.browser.in_process import Look
from tests.support.browser.many_runs import write_evaluations, write_history, write_progress
from tests.support.browser.site import require_accessible, require_no_overflow
from tests.support.made_up_run import HOSTILE, MadeUpRun, emulator_bucket

pytestmark = pytest.mark.slow
RUN = "dag_id=qarib_pretrain&run_id=made-up"
BEFORE, OWN, AFTER = "demo-00000000a0", "demo-00000000bb", "demo-00000000c0"
REASON = f"not worse: masked-LM loss 5.0000, {BEFORE} has 4.9870, margin 0.02, on the same held-out part"
CARD = f"""---
license: {HOSTILE}
---
# A model of {HOSTILE}

**Strong** words, a [script](javascript:document.title='taken'), a [page](https://example.com/a).

| figure | value |
|---|---|
| loss | {HOSTILE} |

- <img src=x onerror="document.title='taken'">
"""


def model_of(run: MadeUpRun) -> ModelLayout:
    assert run.record.model is not None
    return run.record.model


def judge(run: MadeUpRun, heldout: str) -> None:
    """Have a model that was promoted before the run's, on this held-out part, and one promoted later."""
    judged = [
        {"model_id": BEFORE, "heldout": heldout, "evaluation": {"masked_lm_loss": 4.987}},
        {"model_id": OWN, "heldout": "h", "reason": REASON},
        {"model_id": AFTER, "heldout": "h", "evaluation": {"masked_lm_loss": 4.0}},
    ]
    record = {"demo": {"promoted": AFTER, "judged": [{"state": "promoted", **one} for one in judged]}}
    (run.workspace / "models/promoted.json").write_text(json.dumps({"presets": record}))
    answers.CACHE.age(1e9)


def require_fits(page: Page) -> None:
    """On a desktop and on a phone, in light and in dark."""
    require_accessible(page)
    page.set_viewport_size({"width": 390, "height": 800})
    require_accessible(page)
    require_no_overflow(page)
    page.set_viewport_size({"width": 1280, "height": 900})


def test_a_model_beside_the_one_before_it(run: MadeUpRun, look: Look) -> None:
    model = model_of(run)
    folder = run.workspace / model.name
    write_evaluations(folder, 800)
    judge(run, "h")
    page = look(f"model?{RUN}")
    evaluation = page.locator(".card", has=page.get_by_role("heading", name="Evaluation"))
    # What the judgement says and what the figures say is the same, with the margin.
    expect(evaluation.locator(".judgement")).to_have_text(REASON)
    loss = evaluation.get_by_role("row", name=re.compile("^Masked-LM loss"))
    expect(loss.get_by_role("cell")).to_have_text(["5.000", "4.987", "▲ 0.013 worse"])
    expect(evaluation).to_contain_text(f"Previous: {BEFORE}, evaluated on the same held-out part")
    expect(evaluation).not_to_contain_text("cannot compare")
    assert page.get_by_text(AFTER).count() == 0
    # An emulator's bucket is not in the console.
    places = page.locator(".places")
    expect(places).to_contain_text(f"models/{OWN}/export/")
    expect(places.get_by_role("link")).to_have_count(0)
    judge(run, "another")
    page.reload()
    expect(evaluation).to_contain_text("evaluated on another held-out part: you cannot compare the figures")
    expect(loss.get_by_role("cell")).to_have_text(["5.000", "4.987", ""])
    require_fits(page)


def test_a_model_card_is_drawn_and_its_html_is_text(run: MadeUpRun, look: Look) -> None:
    card = run.workspace / model_of(run).name_of(model_of(run).model_card)
    card.parent.mkdir(parents=True)
    card.write_text(CARD, encoding="utf-8")
    page = look(f"model?{RUN}")
    shown = page.get_by_role("region", name="Model card")
    expect(shown.get_by_role("heading")).to_have_text(f"A model of {HOSTILE}")
    expect(shown.locator("strong")).to_have_text("Strong")
    expect(shown.locator("td")).to_have_text(["loss", HOSTILE])
    expect(shown.locator("pre")).to_have_text(f"license: {HOSTILE}")
    expect(shown.locator("li")).to_have_text("<img src=x onerror=\"document.title='taken'\">")
    expect(shown).to_contain_text("script (javascript:document.title='taken'")
    expect(shown.get_by_role("link")).to_have_text(["page"])
    expect(shown.get_by_role("link")).to_have_attribute("rel", "noopener noreferrer")
    expect(shown).not_to_contain_text("# A model")
    assert page.locator("#view script, #view img").count() == 0
    assert page.title() == "QARiB"
    require_fits(page)


def tile(page: Page, name: str) -> Locator:
    return page.locator(".tiles > div", has=page.get_by_text(name, exact=True))


# Whether the last mark's right half is drawn, which is outside of the plot.
LAST_MARK = """chart => {
  const [canvas, over] = [chart.querySelector("canvas"), chart.querySelector(".u-over")];
  const [all, plot] = [canvas.getBoundingClientRect(), over.getBoundingClientRect()];
  const ratio = canvas.width / all.width;
  const at = [plot.right - all.left + 2, plot.bottom - all.top - 2].map((one) => Math.round(one * ratio));
  return canvas.getContext("2d").getImageData(...at, 1, 1).data[3];
}"""


def test_losses_are_told_apart_and_one_that_learned_nothing_is_flagged(run: MadeUpRun, look: Look) -> None:
    folder = run.workspace / model_of(run).name
    write_history(folder, 400)
    write_evaluations(folder, 0, 400)
    (folder / "bert_model/checkpoint-400.json").write_text("{}")
    about = {"masked_lm_loss": 7.0}
    write_progress(
        folder, step=400, train_steps=400, next_sentence_accuracy=0.5, evaluation=about,
        seconds={"steps": 90, "waiting": 10},
    )  # fmt: skip
    page = look(f"training?{RUN}")
    # The same loss on both: the total is in the note.
    expect(tile(page, "Masked-LM loss").locator("dd")).to_have_text(
        re.compile("^4.500.*on training data, with the next sentence 5.000$")
    )
    heldout = tile(page, "Held-out masked-LM loss")
    expect(heldout).to_contain_text("not better than: 6.500, which word frequencies alone give")
    expect(heldout.locator(".worse")).to_have_text("7.000")
    expect(tile(page, "Waiting for data")).to_contain_text("10.0%")
    # Each task has charts of its own.
    for name in ("Masked-LM accuracy: training 50.0%", "Next-sentence accuracy: training 50.0%"):
        expect(page.get_by_role("img", name=re.compile(f"^{name} at step 400, held-out"))).to_be_visible()
    loss = page.locator(".chart", has=page.get_by_role("heading", name="Masked-LM loss"))
    expect(loss.locator(".u-legend")).to_contain_text("word frequencies alone")
    while loss.evaluate(LAST_MARK) == 0:  # It is drawn a moment later.
        pass
    require_fits(page)
    write_progress(folder, step=400, train_steps=400, evaluation={"masked_lm_loss": 6.0})
    answers.CACHE.age(1e9)
    page.reload()
    expect(heldout).to_contain_text("without context: 6.500")
    expect(heldout.locator(".worse")).to_have_count(0)


def test_an_emulated_tpu_has_no_price_and_no_page_in_the_console(
    run: MadeUpRun, look: Look, emulator_address: str, bucket_name: str
) -> None:
    write_progress(run.workspace / model_of(run).name)
    tpu = {"machine": "cloud_tpu", "zones": ["us-west4-a"], "accelerator_type": "v5litepod-8"}
    run.record.values["config"]["tpu"] = tpu
    blob = emulator_bucket(emulator_address, bucket_name).blob(
        model_of(run).tpu_job("made-up") + "memory.json"
    )
    memory = {"phase": "running", "answer": "READY", "answered": 1_795_000_000.0, "zone": 0, "attempt": 1}
    seconds = {"queueing": 5.0, "running": 3600.0}
    for emulated in (False, True):
        blob.upload_from_string(json.dumps(memory | {"emulated": emulated, "seconds": seconds}))
        answers.CACHE.age(1e9)
        page = look(f"training?{RUN}")
        cost = tile(page, "Cost to date")
        if emulated:
            expect(cost.locator("dd")).to_have_text(re.compile("^none.*an emulator, not a TPU$"))
            expect(page.locator("#view")).not_to_contain_text("$")
        else:
            expect(cost).to_contain_text("$")
        assert page.locator("a[href*='console.cloud']").count() == 0
    require_fits(page)


def test_figures_of_shards_after_a_repair(run: MadeUpRun, look: Look) -> None:
    """The hours between are no work, and one is not many."""
    run.tasks[:] = [
        ShardTask("convert", 0, "success", 1, 1000.0, 1004.0),
        ShardTask("upload", 0, "success", 1, 1004.0, 1010.0),
        ShardTask("convert", 1, "success", 2, 90_000.0, 90_008.0),
        ShardTask("upload", 1, "success", 2, 90_008.0, 90_010.0),
    ]
    page = look(f"shards?{RUN}")
    expect(tile(page, "Throughput").locator("dd")).to_have_text(re.compile("^6.0"))
    expect(tile(page, "Complete").locator("dd")).to_have_text(re.compile("^4.*of 4 shards$"))
    require_fits(page)
