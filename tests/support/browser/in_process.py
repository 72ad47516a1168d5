"""The page in a thread of this process, and a browser: what a test replaces is replaced there too."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import screenshots
import uvicorn
from airflow.api_fastapi.app import init_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from fastapi import FastAPI
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright
from qarib_airflow.page import app as application

from tests.support.browser.site import SECONDS

Look = Callable[..., Page]  # what to look at, the part of the address that follows `#/`, and how wide
Serve = tuple[str, dict[str, str]]  # the address, and tokens by role


@contextmanager
def serving() -> Iterator[Serve]:
    """A server, and tokens of users who can read the DAG (viewer) and trigger it (user)."""
    host = FastAPI()
    manager = init_auth_manager(host)
    host.mount("/qarib", application.app)
    tokens = {
        role: manager.generate_jwt(SimpleAuthManagerUser(username=f"a-{role}", role=role))
        for role in ("viewer", "user")
    }
    server = uvicorn.Server(uvicorn.Config(host, log_level="warning"))
    # Requests wait in the socket until the server is up.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", tokens
        server.should_exit = True
        thread.join()


@contextmanager
def chromium() -> Iterator[Browser]:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    assert found, "Chromium is not installed: apt-get install chromium"
    expect.set_options(timeout=SECONDS)
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=found, args=screenshots.FLAGS)


@contextmanager
def looking(serve: Serve, browser: Browser) -> Iterator[Look]:
    """Opens views. No request goes elsewhere, and the browser complains of nothing else than is forgiven."""
    url, tokens = serve
    requests: list[str] = []
    complaints: list[str] = []
    contexts = []

    def complained(message: ConsoleMessage, forgive: str) -> None:
        if message.type == "error" and not (forgive and forgive in message.text):
            complaints.append(message.text)

    def look(view: str, width: int = 1280, role: str = "viewer", forgive: str = "") -> Page:
        context = browser.new_context(extra_http_headers={"Authorization": f"Bearer {tokens[role]}"})
        contexts.append(context)
        context.set_default_timeout(SECONDS)
        context.on("request", lambda request: requests.append(request.url))
        context.on("console", lambda message: complained(message, forgive))
        context.on("weberror", lambda error: complaints.append(str(error.error)))
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(f"{url}/qarib/#/{view}")
        page.locator("#view[aria-busy=false]").wait_for()
        return page

    yield look
    for context in contexts:
        context.close()
    assert {urlsplit(one).netloc for one in requests} == {urlsplit(url).netloc}
    assert not complaints
