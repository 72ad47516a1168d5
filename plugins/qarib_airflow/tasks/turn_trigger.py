"""Trigger for a task that waits for the turn of its run."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from qarib_airflow.tasks.turns import OVER, waiting
from qarib_tasks.errors import QaribError
from qarib_tasks.runs.turns import Claim, claims

POLL_SECONDS = float(os.environ.get("QARIB_TURN_SECONDS", "10"))
# Then the task claims again: while no triggerer ran, others can have left the queue and joined its end.
LONGEST_WAIT_SECONDS = 3600.0


class TurnTrigger(BaseTrigger):
    """
    Fires when the claims ahead are over, or after an hour, and logs the place in the queue when it changes.

    It asks Airflow for the other runs' states, and needs no file. If this machine has the workspace, the log
    also has how many wait.

    :param kind: of the turn.
    :param own: the DAG and the run of the claim.
    :param ahead: the same of each claim before it.
    :param waits: what the run does meanwhile, in words.
    :param workspace: the run's workspace.
    :param name: of the turn's record in the workspace.
    """

    def __init__(
        self,
        kind: str,
        own: Sequence[str],
        ahead: Sequence[Sequence[str]],
        waits: str,
        workspace: str,
        name: str,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kind, self.waits, self.workspace, self.name = kind, waits, workspace, name
        self.own, self.ahead = list(own), [list(key) for key in ahead]

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Serialize arguments and classpath."""
        names = ("kind", "own", "ahead", "waits", "workspace", "name")
        return (
            "qarib_airflow.tasks.turn_trigger.TurnTrigger",
            {name: getattr(self, name) for name in names},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until no claim is ahead, for an hour at most."""
        end = time.monotonic() + LONGEST_WAIT_SECONDS
        logged = await asyncio.to_thread(self._text, self.ahead)  # As the task has logged it.
        while True:
            try:
                left = [key for key in self.ahead if not await self._is_over(key)]
            except Exception as error:  # Airflow's API does not answer now.
                self.log.warning("Cannot read the states of other runs, trying again: %s", error)
            else:
                # One that is cleared later claims again, and then has its place after this run.
                self.ahead = left
                if not left:
                    yield TriggerEvent({})  # type: ignore[no-untyped-call]
                    return
                if (text := await asyncio.to_thread(self._text, left)) != logged:
                    logged = text
                    self.log.info("%s", text)
            if time.monotonic() >= end:
                yield TriggerEvent({})  # type: ignore[no-untyped-call]
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _is_over(self, key: Sequence[str]) -> bool:
        claim = Claim(dag_id=key[0], run_id=key[1], started="")
        return bool(await sync_to_async(OVER[self.kind])(claim))

    def _text(self, left: Sequence[Sequence[str]]) -> str:
        """What the run waits for: its place, and the run that is next to it."""
        place = len(left) + 1
        return waiting(self.waits, f"place {place} of {place + self._behind()}", left[-1][1])

    def _behind(self) -> int:
        """The number of claims after this one; 0 if this machine does not have the record."""
        try:
            known = [[one.dag_id, one.run_id] for one in claims(Path(self.workspace), self.name)]
        except (OSError, QaribError):
            return 0
        return len(known) - 1 - known.index(self.own) if self.own in known else 0
