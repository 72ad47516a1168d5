"""The processes (ranks) that train together, one per machine of a TPU slice, and their messages.

The chips exchange data through JAX. Everything else is a few lines of JSON over a connection from each rank
to rank 0: values that every rank needs of the others (`exchange`), and the message that a rank has ended, at
which all others end at once. A single machine needs no connection.
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
SILENCE_SECONDS = 120.0  # a rank that sends nothing for this long is lost
PING_SECONDS = 5.0  # between two pings of each rank
# An error may be the result of another rank's end, which is reported to this one a moment later.
DOUBT_SECONDS = 5.0
_END = "end"


@dataclass(frozen=True)
class Place:
    """This process's place among those that train together.

    Attributes:
        worker: the rank.
        workers: the world size.
        coordinator: host:port of rank 0, for JAX; the ranks' own messages use the next port.
    """

    worker: int = 0
    workers: int = 1
    coordinator: str = ""

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> Place:
        """Read QARIB_TPU_WORKER, QARIB_TPU_WORKERS and QARIB_TPU_COORDINATOR; without them, one process.

        Raises:
            ConfigError: the variables are invalid.
        """
        worker, workers = (environment.get(f"QARIB_TPU_{n}", "") for n in ("WORKER", "WORKERS"))
        coordinator = environment.get("QARIB_TPU_COORDINATOR", "")
        if workers in ("", "0", "1"):
            return cls()
        host, _, port = coordinator.rpartition(":")
        numbers = worker.isdecimal() and workers.isdecimal() and port.isdecimal()
        if not (numbers and host and int(worker) < int(workers)):
            raise ConfigError(
                f"invalid settings: rank {worker!r}, world size {workers!r}, coordinator {coordinator!r}",
                where="QARIB_TPU_WORKER, QARIB_TPU_WORKERS, QARIB_TPU_COORDINATOR",
                do="Set the rank (from 0), the world size, and host:port of rank 0; or unset all three to "
                "train on one machine",
            )
        return cls(int(worker), int(workers), coordinator)

    @property
    def lines(self) -> tuple[str, int]:
        """Host and port at which rank 0 listens to the others."""
        host, _, port = self.coordinator.rpartition(":")
        return host, int(port) + 1


class Workers:
    """All ranks of a training, as one of them sees them; entering the context connects them.

    Args:
        leave: ends this process with a status because another rank has ended, and logs the reason.
        join_seconds: how long to wait for the other ranks on entering.

    Raises:
        LostWorkerError: on entering, other ranks do not join in time.
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
        self._links: dict[int, _Link] = {}  # on rank 0: to each other rank; on others: to rank 0
        self._received: dict[str, dict[int, Any]] = {}  # on rank 0: values of incomplete topics, by rank
        self._results: dict[str, list[Any]] = {}
        self._changed = threading.Condition()
        self._ended: set[int] = set()  # ranks that finished together with all others
        self._ending = False
        self._over = threading.Event()

    def __enter__(self) -> Workers:
        if self.count > 1:
            try:
                self._listen() if self.first else self._connect()
            except BaseException as error:
                self._fail(error)
                raise
            log.info("rank %d of world size %d", self.number, self.count)
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
        """Return each rank's value for a topic, ordered by rank. All ranks must call it, once per topic."""
        self.begin(topic, value)
        return self.result(topic)

    def begin(self, topic: str, value: Any) -> None:
        """Send a value for a topic without waiting for the other ranks.

        Args:
            value: a value that JSON can hold.
        """
        if self.first:
            self._take(0, topic, value)
        else:
            self._links[0].send(topic=topic, value=value)

    def result(self, topic: str) -> list[Any]:
        """Wait until all ranks have sent a value for a topic, and return the values in the order of ranks.

        Raises:
            LostWorkerError: another rank has ended.
        """
        with self._changed:
            self._changed.wait_for(lambda: topic in self._results or self._over.is_set())
            if topic not in self._results:
                raise LostWorkerError("another rank has ended")
            return self._results.pop(topic)

    def finish(self) -> None:
        """Wait for all ranks to finish, so that none that ends earlier is reported as lost."""
        if self.number in self._ended:
            return
        self.exchange(_END, None)
        self._ended.add(self.number)

    def _take(self, worker: int, topic: str, value: Any) -> None:
        """On rank 0, store a rank's value for a topic; when it is the last, send all values to all ranks."""
        with self._changed:
            received = self._received.setdefault(topic, {})
            received[worker] = value
            if topic == _END:
                self._ended.add(worker)
            if len(received) < self.count:
                return
            values = [received[number] for number in range(self.count)]
            del self._received[topic]
        # Send to the others first: the thread that waits for the values here may be about to end the process.
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
                        f"ranks {names} of world size {self.count} did not join within "
                        f"{self._join_seconds:g} s",
                        do="Check their logs",
                    )
                if time.monotonic() > reminder:
                    reminder = time.monotonic() + 60
                    log.info("waiting for ranks %s to join", names)
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
                else:  # not a rank of this training
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
                        f"rank 0 does not answer: {error}", where=f"{host}:{port}", do="Check its log"
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
        """Handle the messages of a link until it closes; the rank at its other end is then gone."""
        why = f"rank {worker} closed its connection"
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
            why = f"rank {worker} has not responded for {SILENCE_SECONDS:g} s"
        except (OSError, ValueError) as error:
            why = f"the connection to rank {worker} is broken: {error}"
        if worker not in self._ended:
            self._other_ended(OTHER_ENDED, why)

    def _is_first_reason(self) -> bool:
        """Return whether this is this process's first reason to end."""
        with self._changed:
            first, self._ending = not self._ending, True
            return first

    def _other_ended(self, status: int, why: str) -> None:
        if self._is_first_reason():
            self._report(status, why)
            with self._changed:
                self._over.set()
                self._changed.notify_all()
            self._leave(status, why)

    def _fail(self, error: BaseException) -> None:
        """Report this process's end to the others, and make sure that it ends."""
        if not isinstance(error, QaribError):
            self._over.wait(DOUBT_SECONDS)
        if not self._is_first_reason():
            self._over.wait()
            return
        stopped = isinstance(error, StoppedError)
        self._report(STOPPED if stopped else OTHER_ENDED, f"rank {self.number} has ended: {error}")
        # On a normal exit, JAX would wait for the other ranks and abort because they are gone.
        status = STOPPED if stopped else OTHER_ENDED if isinstance(error, LostWorkerError) else 1
        if self._leave is _leave:
            atexit.register(_exit, status)

    def _report(self, status: int, why: str) -> None:
        for link in list(self._links.values()):
            link.send(status=status, why=why)


class _Link:
    """A connection that carries lines of JSON both ways."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(SILENCE_SECONDS)
        self._connection = connection
        self._lines = connection.makefile("rb")
        self._lock = threading.Lock()

    def send(self, **message: Any) -> None:
        """Send a message. A broken connection is ignored here; the thread that reads the link reports it."""
        with self._lock, contextlib.suppress(OSError):
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self) -> dict[str, Any] | None:
        """Return the next message; None at the end.

        Raises:
            OSError: the connection is broken, or silent (TimeoutError).
            ValueError: the line is not a message.
        """
        line = self._lines.readline()
        return json.loads(line) if line.endswith(b"\n") else None

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)  # ends the reading thread's wait
        self._connection.close()


def _leave(status: int, why: str) -> None:
    log.error("this rank ends too: %s", why)
    _exit(status)


def _exit(status: int) -> None:
    """End at once: the main thread may wait forever for a result of another rank's chips."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
