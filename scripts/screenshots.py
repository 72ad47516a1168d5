"""The README's pictures: a finished demo run in Airflow's UI, taken with Debian's Chromium.

    python scripts/screenshots.py     writes docs/images/*.png

Needs the packages `chromium` (Debian, Ubuntu) and `playwright` (PyPI; not the browsers it offers to install).
An earlier `make demo` is taken up, so that only what is missing is computed.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from urllib.parse import quote

from demo import DAG, HOME, RunFailed, follow
from local_stack import REPOSITORY, LocalStack, StackError
from playwright.sync_api import Page, sync_playwright
from rich.console import Console

IMAGES = REPOSITORY / "docs" / "images"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SIZE = {"width": 1600, "height": 900}


def main() -> int:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print("Chromium is not installed: apt-get install chromium", file=sys.stderr)
        return 1
    IMAGES.mkdir(parents=True, exist_ok=True)
    console = Console()
    try:
        with LocalStack(HOME) as stack, sync_playwright() as playwright:
            run_id = stack.trigger(DAG, {"preset": "demo"})
            follow(console, stack, run_id)
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            take_pictures(browser.new_page(viewport=SIZE, device_scale_factor=1.5), stack, run_id)
            browser.close()
    except (StackError, RunFailed) as error:
        console.print(str(error), style="red", markup=False)
        return 1
    return 0


def take_pictures(page: Page, stack: LocalStack, run_id: str) -> None:
    sign_in(page, stack)
    run = f"{stack.url}/dags/{DAG}/runs/{quote(run_id, safe='')}"
    remember(page, default_dag_view="graph", **{f"direction-{DAG}": "RIGHT", f"{DAG}/open-groups": ["shard"]})
    page.goto(run)
    page.locator(".react-flow__node", has_text="export").wait_for()
    picture(page, "graph")
    remember(page, default_dag_view="grid")
    page.goto(run)
    page.get_by_text("preflight").first.wait_for()
    picture(page, "grid")
    page.goto(f"{stack.url}/dags/{DAG}")
    page.get_by_role("button", name="Trigger", exact=False).first.click()
    page.locator("#element_preset").wait_for()
    picture(page, "form")


def sign_in(page: Page, stack: LocalStack) -> None:
    page.goto(stack.url)
    page.locator("input[name=username]").fill(stack.user)
    page.locator("input[name=password]").fill(stack.password)
    page.locator("button[type=submit], input[type=submit]").first.click()
    page.get_by_text("Dags").first.wait_for()


def remember(page: Page, **values: object) -> None:
    """What the UI keeps in the browser of how a person wants to see things."""
    for key, value in values.items():
        page.evaluate("([key, value]) => localStorage.setItem(key, value)", [key, json.dumps(value)])


def picture(page: Page, name: str) -> None:
    page.wait_for_load_state("networkidle")
    path: Path = IMAGES / f"{name}.png"
    page.screenshot(path=str(path))
    print(path.relative_to(REPOSITORY))


if __name__ == "__main__":
    sys.exit(main())
