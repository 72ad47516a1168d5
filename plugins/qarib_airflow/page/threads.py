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

from qarib_tasks.config.deployment.limits import deployment_limits

T = TypeVar("T")
MOST_PLACES = 32  # with threads of their own


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
        limits = deployment_limits()
        with self._lock:
            if place not in self._pools:
                place = place if len(self._pools) < MOST_PLACES else next(reversed(self._pools))
                self._pools.setdefault(place, ThreadPoolExecutor(limits.page_threads, "qarib-page"))
            pool = self._pools[place]
            if pool._work_queue.qsize() >= limits.page_waiting:
                raise HTTPException(503, "too many requests of this page wait for a slow folder or bucket")
            return pool.submit(function, *arguments)


async def in_time(work: Future[T], *, share: float = 1.0, seconds: float | None = None) -> T:
    """What a thread returns.

    Args:
        share: of the time that the deployment gives to a request.
        seconds: another time.

    Raises:
        HTTPException: 503 if it takes too long.
    """
    most = share * deployment_limits().page_seconds if seconds is None else seconds
    try:
        return await asyncio.wait_for(asyncio.wrap_future(work), most)
    except TimeoutError:
        raise HTTPException(503, "the workspace or the bucket does not answer") from None
