"""Take the documentation's screenshots of a finished demo run in Airflow's UI, with Debian's Chromium.

    python scripts/screenshots.py     writes docs/images/*.png

Needs the packages `chromium` (Debian, Ubuntu) and `playwright` (PyPI, without its browsers). The results of
an earlier `make demo` are reused.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, urlencode

from demo import DAG, HOME, RunFailed, follow, read_run
from local_stack import REPOSITORY, LocalStack, StackError
from playwright.sync_api import Page, sync_playwright
from rich.console import Console

IMAGES = REPOSITORY / "docs" / "images"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SIZE = {"width": 1600, "height": 900}
VIEWS = ("runs", "shards", "corpus", "training", "tasks", "model", "lineage", "new")
DARK = "training"
PATIENCE = 120_000  # milliseconds


class Busy(BaseHTTPRequestHandler):
    """A web server that asks each client to wait, and lacks the files that are named missing."""

    def do_HEAD(self) -> None:
        self.send_response(404 if "missing" in self.path else 429)
        self.send_header("Retry-After", "600")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def busy_server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--home", type=Path, default=HOME, help="folder of the demo  [%(default)s]")
    arguments.add_argument("--conf", type=json.loads, default={}, help="JSON: values of the trigger form")
    options = arguments.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print("Chromium is not installed: apt-get install chromium", file=sys.stderr)
        return 1
    IMAGES.mkdir(parents=True, exist_ok=True)
    console = Console()
    try:
        with (
            busy_server() as web,
            LocalStack(options.home, environment={"QARIB_ALLOWED_SOURCES": web}) as stack,
            sync_playwright() as playwright,
        ):
            run_id = stack.trigger(DAG, {"preset": "demo", **options.conf})
            follow(console, stack, run_id)
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            page = browser.new_page(viewport=SIZE, device_scale_factor=1.5)
            page.set_default_timeout(PATIENCE)
            sign_in(page, stack)
            take_pictures_of_page(page, stack, run_id)
            take_pictures(page, stack, run_id)
            take_picture_of_failure(page, stack)
            take_pictures_of_reasons(page, stack, run_id, web)
            browser.close()
    except (StackError, RunFailed) as error:
        console.print(str(error), style="red", markup=False)
        return 1
    return 0


def take_pictures(page: Page, stack: LocalStack, run_id: str) -> None:
    run = f"{stack.url}/dags/{DAG}/runs/{quote(run_id, safe='')}"
    remember(
        page,
        default_dag_view="graph",
        **{f"direction-{DAG}": "RIGHT", f"{DAG}/open-groups": ["shards", "shard"]},
    )
    page.goto(run)
    page.locator(".react-flow__node", has_text="results").wait_for()
    page.get_by_role("row").filter(has_text="preflight").first.wait_for()
    picture(page, "graph")
    remember(page, default_dag_view="grid")
    page.goto(run)
    page.get_by_text("preflight").first.wait_for()
    picture(page, "grid")
    page.goto(f"{stack.url}/dags/{DAG}")
    page.get_by_role("button", name="Trigger", exact=False).first.click()
    page.locator("#element_preset").wait_for()
    picture(page, "form")


def take_picture_of_failure(page: Page, stack: LocalStack) -> None:
    """Take a picture of a run that fails at once, with the reason in its note."""
    run_id = stack.trigger(DAG, {"preset": "demo", "max_seq_length": 600})
    while stack.run(DAG, run_id)["state"] != "failed":
        time.sleep(0.5)
    page.set_viewport_size({"width": SIZE["width"], "height": SIZE["height"]})
    remember(page, default_dag_view="grid")
    page.goto(f"{stack.url}/dags/{DAG}/runs/{quote(run_id, safe='')}")
    page.get_by_text("preflight failed").first.wait_for()
    picture(page, "failure")


def take_pictures_of_reasons(page: Page, stack: LocalStack, run_id: str, web: str) -> None:
    """Take a picture of runs of each class of error, and of a training that waits for a TPU in stock."""
    stack.tpu_faults.write_text('{"scale": 0.01, "faults": [{"kind": "stock_out"}]}', encoding="utf-8")
    train = {"preset": "demo", "dataset": read_run(stack, run_id).dataset_id, "learning_rate": 1e-4}
    source = {"name": "text", "path": f"{web}text.txt"}
    ends = {
        stack.trigger(DAG, {"preset": "demo", "sources": [source | {"path": f"{web}missing.txt"}]}): "failed",
        stack.trigger(DAG, {"preset": "demo", "sources": [source]}): "up_for_retry",
        (training := stack.trigger(DAG, train)): "up_for_retry",
    }
    for each, state in ends.items():
        while state not in {task["state"] for task in stack.task_instances(DAG, each)}:
            time.sleep(0.5)
    page.goto(f"{stack.url}/qarib/#/runs")
    page.locator("#view[aria-busy=false]").wait_for()
    page.get_by_text("no TPU in any of the zones").first.wait_for()
    picture(page, "reasons")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(f"{stack.url}/qarib/#/training?{urlencode({'dag_id': DAG, 'run_id': training})}")
    page.get_by_text("no TPU in any of the zones").first.wait_for()
    picture(page, "retry")
    for each in ends:
        stack.api("PATCH", f"dags/{DAG}/dagRuns/{each}", json={"state": "failed"})


def take_pictures_of_page(page: Page, stack: LocalStack, run_id: str) -> None:
    """Take a picture of each view of the page, the first one inside Airflow."""
    page.goto(f"{stack.url}/plugin/qarib")
    page.frame_locator("iframe").get_by_role("link", name=run_id).wait_for()
    picture(page, "page-runs")
    query = urlencode({"dag_id": DAG, "run_id": run_id})
    page.set_viewport_size({"width": 1280, "height": 900})
    for view, theme in [*((view, "light") for view in VIEWS[1:]), (DARK, "dark")]:
        page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
        page.goto("about:blank")
        page.goto(f"{stack.url}/qarib/#/{view}?{query}")
        page.locator("#view[aria-busy=false]").wait_for()
        if view == "shards":
            page.get_by_role("option").first.click()
        picture(page, f"page-{view}" + ("-dark" if theme == "dark" else ""), whole=view != "corpus")
        page.goto(stack.url)
    page.evaluate("localStorage.removeItem('theme')")


def sign_in(page: Page, stack: LocalStack) -> None:
    page.goto(stack.url)
    page.locator("input[name=username]").fill(stack.user)
    page.locator("input[name=password]").fill(stack.password)
    page.locator("button[type=submit], input[type=submit]").first.click()
    page.get_by_text("Dags").first.wait_for()


def remember(page: Page, **values: object) -> None:
    """Set the UI's preferences in the browser."""
    for key, value in values.items():
        page.evaluate("([key, value]) => localStorage.setItem(key, value)", [key, json.dumps(value)])


def picture(page: Page, name: str, *, whole: bool = False) -> None:
    """Take a picture of the window, or of the complete page."""
    page.wait_for_load_state("networkidle")
    path: Path = IMAGES / f"{name}.png"
    page.screenshot(path=str(path), full_page=whole)
    print(path.relative_to(REPOSITORY))


if __name__ == "__main__":
    sys.exit(main())
