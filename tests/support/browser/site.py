"""An Airflow and a browser that looks at it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import axe_playwright_python
import demo
import screenshots
from local_stack import LocalStack
from playwright.sync_api import (
    BrowserContext,
    ConsoleMessage,
    Page,
    TimeoutError,
    expect,
    sync_playwright,
)

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")
SECONDS = 180_000  # of patience, in milliseconds: the machine may be busy
GUEST = "guest"  # may look at everything and start nothing


@dataclass
class Site:
    """A stack, a browser that is signed in, and all that it has asked for and complained of."""

    stack: LocalStack
    context: BrowserContext
    signed_out: BrowserContext
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    forgiven: str = "status of 401"
    run_id: str = ""

    def listen(self, message: ConsoleMessage) -> None:
        """Keep what the browser says against the page; Airflow's own pages are not ours to judge."""
        refused = "Content Security Policy" in message.text
        ours = message.type == "error" and "/qarib/" in message.location["url"]
        # The last is said when a network interface comes or goes anywhere on the machine.
        known = (self.forgiven, "net::ERR_NETWORK_CHANGED")
        if refused or (ours and not any(text in message.text for text in known)):
            self.complaints.append(f"{message.location['url']}: {message.text}")

    def open(self, view: str, run_id: str | None = None, *, width: int = 1280) -> Page:
        """A view of a run in a page of its own, once it is drawn."""
        page = self.context.new_page()
        page.set_default_timeout(SECONDS)
        page.set_viewport_size({"width": width, "height": 900})
        run = {"dag_id": demo.DAG, "run_id": run_id or self.run_id}
        query = f"?{urlencode(run)}" if run["run_id"] else ""
        page.goto(f"{self.stack.url}/qarib/#/{view}{query}")
        drawn = page.locator("#view[aria-busy=false]")
        try:
            drawn.wait_for(timeout=SECONDS / 2)
        except TimeoutError:  # As when a request was given up because the network has changed.
            page.reload()
            drawn.wait_for()
        return page

    def airflow(self, address: str = "", *, width: int = 1280) -> Page:
        """A page of Airflow's own."""
        page = self.context.new_page()
        page.set_default_timeout(SECONDS)
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(f"{self.stack.url}/{address}")
        return page

    def as_guest(self, view: str, run_id: str | None = None) -> Page:
        """A view as `GUEST` sees it, in a browser context of its own."""
        browser = self.signed_out.browser
        assert browser is not None
        context = browser.new_context()
        page = context.new_page()
        page.set_default_timeout(SECONDS)
        admin, self.stack.user = self.stack.user, GUEST
        try:
            screenshots.sign_in(page, self.stack)
        finally:
            self.stack.user = admin
        query = urlencode({"dag_id": demo.DAG, "run_id": run_id}) if run_id else ""
        page.goto(f"{self.stack.url}/qarib/#/{view}?{query}")
        page.locator("#view[aria-busy=false]").wait_for()
        return page


@contextmanager
def browsing(home: Path, database: Path) -> Iterator[Site]:
    """Start an Airflow, with an admin and a guest, and a browser that is signed in as the admin."""
    users = {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"admin:admin,{GUEST}:viewer"}
    stack = LocalStack(home, environment=users, database=database)
    stack.passwords.write_text(json.dumps({"admin": "a-password", GUEST: "a-password"}))
    with stack, looking_at(stack) as site:
        yield site


@contextmanager
def looking_at(stack: LocalStack) -> Iterator[Site]:
    """Start a browser that is signed in to a stack."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "Chromium is not installed: apt-get install chromium"
    expect.set_options(timeout=SECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=screenshots.FLAGS)
        site = Site(stack, browser.new_context(), browser.new_context())
        for context in (site.context, site.signed_out):
            context.on("request", lambda request: site.requests.append(request.url))
            context.on("console", site.listen)
            context.on("weberror", lambda error: site.complaints.append(f"error: {error.error}"))
        page = site.context.new_page()
        page.set_default_timeout(SECONDS)
        screenshots.sign_in(page, stack)
        page.close()
        yield site
        browser.close()


@contextmanager
def undisturbed(site: Site) -> Iterator[None]:
    """No request goes to another host, and the browser complains of nothing on the page itself."""
    site.requests.clear()
    site.complaints.clear()
    yield
    hosts = {urlsplit(url).netloc for url in site.requests if not url.startswith(("blob:", "data:"))}
    assert hosts <= {urlsplit(site.stack.url).netloc}
    assert not site.complaints


def require_accessible(page: Page) -> None:
    """Axe finds no serious and no critical fault, in light and in dark."""
    for theme in ("light", "dark"):
        page.evaluate(
            "theme => { localStorage.setItem('theme', theme); dispatchEvent(new Event('storage')) }", theme
        )
        assert page.locator("html").get_attribute("data-theme") == theme
        page.evaluate(AXE.read_text(encoding="utf-8"))
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        faults = [
            (fault["id"], [node["html"][:160] for node in fault["nodes"]][:3])
            for fault in found
            if fault["impact"] in ("serious", "critical")
        ]
        assert not faults, (page.url, theme, faults)
    page.evaluate("localStorage.removeItem('theme')")


def require_no_overflow(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]  # type: ignore[index]
