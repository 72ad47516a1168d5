"""The page's own threads, apart for each place: a folder or bucket that does not answer stops only its runs.

The threads of Airflow's server are for all of its pages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, TypeVar

from fastapi import HTTPException

T = TypeVar("T")
THREADS = 8  # of a place
MOST_PLACES = 32  # with threads of their own
MOST_WAITING = 60  # of a place


class Threads:
    """Threads by place."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._pools: dict[Hashable, ThreadPoolExecutor] = {}

    def submit(self, place: Hashable, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Have a thread of the place call the function.

        Raises:
            HTTPException: 503 if too many wait for the place.
        """
        with self._lock:
            if place not in self._pools:
                place = place if len(self._pools) < MOST_PLACES else next(reversed(self._pools))
                self._pools.setdefault(place, ThreadPoolExecutor(THREADS, "qarib-page"))
            pool = self._pools[place]
            if pool._work_queue.qsize() >= MOST_WAITING:
                raise HTTPException(503, "too many requests of this page wait for a slow folder or bucket")
            return pool.submit(function, *arguments)


async def in_time(work: Future[T], seconds: float) -> T:
    """What a thread returns.

    Raises:
        HTTPException: 503 if it takes too long.
    """
    try:
        return await asyncio.wait_for(asyncio.wrap_future(work), seconds)
    except TimeoutError:
        raise HTTPException(503, "the workspace or the bucket does not answer") from None
