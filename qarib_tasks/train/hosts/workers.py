"""The processes that train together, one on each machine of a TPU slice, and what they tell one another.

What the chips compute goes its own way, through JAX. All else are a few lines of JSON over a connection from
each worker to worker 0: what every one has to know of the others (`exchange`), and that one has ended, on
which the rest ends at once, wherever it is. On a single machine there is nothing of it.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from qarib_tasks.errors import ConfigError, LostWorkerError, QaribError, StoppedError
from qarib_tasks.machines.exit_status import OTHER_ENDED, STOPPED

log = logging.getLogger(__name__)
JOIN_SECONDS = 900.0  # between the first machine's start and the last one's
SILENCE_SECONDS = 120.0  # after which a worker is taken for lost; each says something every
PING_SECONDS = 5.0
# An error may follow from another worker's end, of which this one hears a moment later.
DOUBT_SECONDS = 5.0
_END = "end"


@dataclass(frozen=True)
class Place:
    """Attributes:
    worker: this process's number.
    workers: how many there are.
    coordinator: host:port of worker 0, for JAX; the port behind it is for the workers' own lines.
    """

    worker: int = 0
    workers: int = 1
    coordinator: str = ""

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> Place:
        """As QARIB_TPU_WORKER, QARIB_TPU_WORKERS and QARIB_TPU_COORDINATOR say; alone without them.

        Raises:
            ConfigError: they do not go together.
        """
        worker, workers = (environment.get(f"QARIB_TPU_{n}", "") for n in ("WORKER", "WORKERS"))
        coordinator = environment.get("QARIB_TPU_COORDINATOR", "")
        if workers in ("", "0", "1"):
            return cls()
        host, _, port = coordinator.rpartition(":")
        numbers = worker.isdecimal() and workers.isdecimal() and port.isdecimal()
        if not (numbers and host and int(worker) < int(workers)):
            raise ConfigError(
                f"worker {worker!r} of {workers!r} at {coordinator!r} is none",
                where="QARIB_TPU_WORKER, QARIB_TPU_WORKERS, QARIB_TPU_COORDINATOR",
                do="Set the worker's number from 0, how many there are, and host:port of worker 0; or "
                "none, to train on one machine",
            )
        return cls(int(worker), int(workers), coordinator)

    @property
    def lines(self) -> tuple[str, int]:
        """Where worker 0 listens to the others."""
        host, _, port = self.coordinator.rpartition(":")
        return host, int(port) + 1


class Workers:
    """All processes of a training, seen from one of them. Entered, they know each other.

    Args:
        leave: ends this process with a status, since another has ended, and says why.

    Raises:
        LostWorkerError: on entering, the others do not come.
    """

    def __init__(
        self,
        place: Place | None = None,
        leave: Callable[[int, str], None] | None = None,
        join_seconds: float = JOIN_SECONDS,
    ) -> None:
        self.place = place or Place()
        self.number, self.count = self.place.worker, self.place.workers
        self.first = self.number == 0
        self._leave = leave or _leave
        self._join_seconds = join_seconds
        self._links: dict[int, _Link] = {}  # of worker 0 to each other one, of any other to worker 0
        self._said: dict[str, dict[int, Any]] = {}  # what worker 0 has of a topic that some have not answered
        self._results: dict[str, list[Any]] = {}
        self._changed = threading.Condition()
        self._ended: set[int] = set()  # workers that came to the end together with all others
        self._ending = False
        self._over = threading.Event()

    def __enter__(self) -> Workers:
        if self.count > 1:
            try:
                self._listen() if self.first else self._connect()
            except BaseException as error:
                self._fail(error)
                raise
            log.info("worker %d of %d", self.number, self.count)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.finish()
        elif self.count > 1 and self.number not in self._ended:
            self._fail(error)
        self._over.set()
        for link in self._links.values():
            link.close()

    def exchange(self, topic: str, value: Any) -> list[Any]:
        """What each worker says on a topic, by their numbers. All have to ask, each topic once."""
        self.begin(topic, value)
        return self.result(topic)

    def begin(self, topic: str, value: Any) -> None:
        """Say something on a topic and do not wait for the others.

        Args:
            value: as JSON holds it.
        """
        if self.first:
            self._take(0, topic, value)
        else:
            self._links[0].send(topic=topic, value=value)

    def result(self, topic: str) -> list[Any]:
        """What each worker has said on a topic; waits until all have."""
        with self._changed:
            self._changed.wait_for(lambda: topic in self._results or self._over.is_set())
            if topic not in self._results:
                raise LostWorkerError("another worker has ended")
            return self._results.pop(topic)

    def finish(self) -> None:
        """Wait for all others to come here too: none that ends before is missed by another."""
        if self.number in self._ended:
            return
        self.exchange(_END, None)
        self._ended.add(self.number)

    def _take(self, worker: int, topic: str, value: Any) -> None:
        """Worker 0: a worker's word on a topic; the last one's completes it."""
        with self._changed:
            said = self._said.setdefault(topic, {})
            said[worker] = value
            if topic == _END:
                self._ended.add(worker)
            if len(said) < self.count:
                return
            values = [said[number] for number in range(self.count)]
            del self._said[topic]
        # The others first: who waits for this here may be about to leave.
        for link in self._links.values():
            link.send(topic=topic, values=values)
        with self._changed:
            self._results[topic] = values
            self._changed.notify_all()

    def _listen(self) -> None:
        deadline, reminder = time.monotonic() + self._join_seconds, 0.0
        with socket.create_server(self.place.lines) as server:
            while missing := sorted(set(range(1, self.count)) - set(self._links)):
                names = ", ".join(map(str, missing))
                if time.monotonic() > deadline:
                    raise LostWorkerError(
                        f"these of {self.count} workers did not come in {self._join_seconds:g} s: {names}",
                        do="Look at their logs",
                    )
                if time.monotonic() > reminder:
                    reminder = time.monotonic() + 60
                    log.info("waiting for the workers %s", names)
                server.settimeout(1.0)
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                link = _Link(connection)
                try:
                    hello = link.receive()
                    worker = int(hello["hello"]) if hello and hello["of"] == self.count else 0
                except (OSError, ValueError, KeyError, TypeError):
                    worker = 0
                if worker in missing:
                    self._links[worker] = link
                    self._follow(worker, link)
                else:  # nobody of this training
                    link.close()

    def _connect(self) -> None:
        deadline = time.monotonic() + self._join_seconds
        while True:
            try:
                connection = socket.create_connection(self.place.lines, timeout=10)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    host, port = self.place.lines
                    raise LostWorkerError(
                        f"worker 0 does not answer: {error}", where=f"{host}:{port}", do="Look at its log"
                    ) from None
                time.sleep(0.2)
        link = self._links[0] = _Link(connection)
        link.send(hello=self.number, of=self.count)
        self._follow(0, link)

    def _follow(self, worker: int, link: _Link) -> None:
        threading.Thread(target=self._read, args=(worker, link), name=f"worker {worker}", daemon=True).start()
        threading.Thread(target=self._ping, args=(link,), name="ping", daemon=True).start()

    def _ping(self, link: _Link) -> None:
        while not self._over.wait(PING_SECONDS):
            link.send(ping=True)

    def _read(self, worker: int, link: _Link) -> None:
        """What a link says, until it ends; whoever is at its end is then gone."""
        why = f"worker {worker} is gone"
        try:
            while message := link.receive():
                if "value" in message:
                    self._take(worker, message["topic"], message["value"])
                elif "values" in message:
                    with self._changed:
                        self._results[message["topic"]] = message["values"]
                        if message["topic"] == _END:
                            self._ended |= {0, self.number}
                        self._changed.notify_all()
                elif "status" in message:
                    return self._other_ended(message["status"], message["why"])
        except TimeoutError:
            why = f"worker {worker} has not been heard of for {SILENCE_SECONDS:g} s"
        except (OSError, ValueError) as error:
            why = f"worker {worker} is gone: {error}"
        if worker not in self._ended:
            self._other_ended(OTHER_ENDED, why)

    def _is_first_reason(self) -> bool:
        """Whether this process had no reason to end before."""
        with self._changed:
            first, self._ending = not self._ending, True
            return first

    def _other_ended(self, status: int, why: str) -> None:
        if self._is_first_reason():
            self._tell(status, why)
            with self._changed:
                self._over.set()
                self._changed.notify_all()
            self._leave(status, why)

    def _fail(self, error: BaseException) -> None:
        """Tell the others of this process's own end, and see that it does end."""
        if not isinstance(error, QaribError):
            self._over.wait(DOUBT_SECONDS)
        if not self._is_first_reason():
            self._over.wait()
            return
        stopped = isinstance(error, StoppedError)
        self._tell(STOPPED if stopped else OTHER_ENDED, f"worker {self.number} has ended: {error}")
        # Whoever ends in the ordinary way would have JAX wait for the others, and abort since they are gone.
        status = STOPPED if stopped else OTHER_ENDED if isinstance(error, LostWorkerError) else 1
        if self._leave is _leave:
            atexit.register(_exit, status)

    def _tell(self, status: int, why: str) -> None:
        for link in list(self._links.values()):
            link.send(status=status, why=why)


class _Link:
    """Lines of JSON, each way."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(SILENCE_SECONDS)
        self._connection = connection
        self._lines = connection.makefile("rb")
        self._lock = threading.Lock()

    def send(self, **message: Any) -> None:
        """To one who is gone nothing is sent: who reads this link finds out."""
        with self._lock, contextlib.suppress(OSError):
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> dict[str, Any] | None:
        """The next message; None at the end.

        Raises:
            OSError: the connection is broken, or silent (TimeoutError). ValueError: it is no message.
        """
        line = self._lines.readline()
        return json.loads(line) if line.endswith(b"\n") else None

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)  # ends the reading thread's wait
        self._connection.close()


def _leave(status: int, why: str) -> None:
    log.error("this worker ends too: %s", why)
    _exit(status)


def _exit(status: int) -> None:
    """End at once: the main thread may wait for ever, for what another worker's chips should compute."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
