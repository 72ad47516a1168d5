"""The QARiB page in a browser, with made-up runs: of Airflow, only its API server works."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from local_stack import LocalStack

from tests.support.browser.site import GUEST, Site, looking_at


class PageStack(LocalStack):
    """An API server, the emulators, and a database without a scheduler: no run is executed."""

    @property
    def components(self) -> tuple[str, ...]:
        return ("api-server",)

    @property
    def database(self) -> Path:
        return self.home / "airflow.db"

    def _wait_until_healthy(self) -> None:
        self._client = self._exit.enter_context(httpx.Client(base_url=self.url, timeout=300))
        while True:
            self.check()
            try:
                if self._client.get("/api/v2/monitor/health").is_success:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        self.log_in(self._client, self.user, self.password)


@contextmanager
def showing(home: Path, database: Path) -> Iterator[tuple[PageStack, Site]]:
    """Start an API server, with an admin and a guest, and a browser that is signed in as the admin."""
    users = {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"admin:admin,{GUEST}:viewer"}
    stack = PageStack(home, environment=users, database=database)
    stack.passwords.write_text(json.dumps({"admin": "a-password", GUEST: "a-password"}))
    with stack, looking_at(stack) as site:
        yield stack, site
