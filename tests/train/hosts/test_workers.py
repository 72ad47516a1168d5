"""What the processes that train together tell one another: here each is a thread, and JAX is not there.

Covers qarib_tasks/train/hosts/agreement.py.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pytest
from ports import free_ports

from qarib_tasks.errors import ConfigError, CorruptError, LostWorkerError, StoppedError
from qarib_tasks.machines.exit_status import OTHER_ENDED, STOPPED
from qarib_tasks.train.hosts import workers as module
from qarib_tasks.train.hosts.agreement import EVERY, Agreement, Request
from qarib_tasks.train.hosts.workers import Place, Workers

Told = list[tuple[int, str]]


@pytest.fixture
def coordinator() -> str:
    """An address of which the port behind is free."""
    return f"127.0.0.1:{free_ports(2)[0]}"


def together(
    coordinator: str, count: int, part: Callable[[Workers], Any], *, join_seconds: float = 300.0
) -> tuple[list[Any], list[Told]]:
    """What `part` gives, or raises, in each of so many workers, and why each was told to leave."""
    told: list[Told] = [[] for _ in range(count)]

    def run(number: int) -> Any:
        def leave(status: int, why: str) -> None:
            told[number].append((status, why))

        try:
            with Workers(Place(number, count, coordinator), leave, join_seconds) as workers:
                return part(workers)
        except Exception as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count))), told


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, Place()),
        ({"WORKER": "0", "WORKERS": "1", "COORDINATOR": "10.0.0.2:8476"}, Place()),
        ({"WORKER": "2", "WORKERS": "4", "COORDINATOR": "10.0.0.2:8476"}, Place(2, 4, "10.0.0.2:8476")),
    ],
)
def test_the_environment_says_which_worker_this_is(values: dict[str, str], expected: Place) -> None:
    assert Place.of({f"QARIB_TPU_{name}": value for name, value in values.items()}) == expected


@pytest.mark.parametrize(
    ("worker", "workers", "coordinator"),
    [("4", "4", "a:1"), ("", "4", "a:1"), ("0", "many", "a:1"), ("0", "4", ""), ("0", "4", ":8476")],
)
def test_an_environment_that_is_wrong_is_refused(worker: str, workers: str, coordinator: str) -> None:
    values = {"QARIB_TPU_WORKER": worker, "QARIB_TPU_WORKERS": workers, "QARIB_TPU_COORDINATOR": coordinator}
    with pytest.raises(ConfigError, match="QARIB_TPU_WORKERS"):
        Place.of(values)


def test_each_learns_what_all_say(coordinator: str) -> None:
    def part(workers: Workers) -> Any:
        workers.begin("late", workers.number * 2)
        names = workers.exchange("name", {"is": f"worker {workers.number}"})
        return names, workers.result("late")

    results, told = together(coordinator, 4, part)
    assert results == [([{"is": f"worker {n}"} for n in range(4)], [0, 2, 4, 6])] * 4
    assert told == [[]] * 4


def test_alone_there_is_nobody_to_ask() -> None:
    with Workers() as workers:
        assert workers.exchange("name", 1) == [1]


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_when_one_fails_the_others_leave_and_say_why(coordinator: str, failing: int) -> None:
    def part(workers: Workers) -> Any:
        workers.exchange("ready", None)
        if workers.number == failing:
            raise CorruptError("record 7 is cut off", where="shard_0003")
        return workers.exchange("never", None)

    results, told = together(coordinator, 3, part)
    why = f"rank {failing} has ended: shard_0003: record 7 is cut off"
    for number in range(3):
        if number == failing:
            assert isinstance(results[number], CorruptError)
            assert told[number] == []
        else:
            assert isinstance(results[number], LostWorkerError)
            assert told[number] == [(OTHER_ENDED, why)]


def test_one_that_is_told_to_stop_before_there_is_anything_to_save(coordinator: str) -> None:
    def part(workers: Workers) -> Any:
        if workers.number == 1:
            raise StoppedError("ended by SIGTERM")
        return workers.exchange("never", None)

    _, told = together(coordinator, 2, part)
    assert told[0] == [(STOPPED, "rank 1 has ended: ended by SIGTERM")]


def test_a_process_that_is_killed_is_missed_at_once(coordinator: str) -> None:
    def part(workers: Workers) -> Any:
        workers.exchange("ready", None)
        if workers.number == 1:
            for link in workers._links.values():
                link.close()  # as the kernel does for a process that was killed
            return None
        return workers.exchange("never", None)

    results, told = together(coordinator, 3, part)
    assert told[0] == told[2] == [(OTHER_ENDED, "rank 1 closed its connection")]
    assert isinstance(results[2], LostWorkerError)


def test_a_machine_that_is_silent_is_taken_for_lost(
    coordinator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENCE_SECONDS", 0.3)
    place = Place(0, 2, coordinator)
    told: Told = []

    def connect() -> socket.socket:
        while True:
            try:
                connection = socket.create_connection(place.lines)
            except ConnectionRefusedError:
                continue
            connection.sendall(json.dumps({"hello": 1, "of": 2}).encode() + b"\n")
            return connection

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(connect)
        with (
            pytest.raises(LostWorkerError),
            Workers(place, lambda status, why: told.append((status, why))) as workers,
        ):
            workers.exchange("never", None)
        other.result().close()
    assert told == [(OTHER_ENDED, "rank 1 has not responded for 0.3 s")]


def test_those_that_do_not_come_are_named(coordinator: str) -> None:
    with pytest.raises(LostWorkerError, match=r"ranks 1, 2 of world size 3 did not join within 0\.2 s"):
        _enter(Workers(Place(0, 3, coordinator), lambda *_: None, 0.2))
    with pytest.raises(LostWorkerError, match="rank 0 does not answer"):
        _enter(Workers(Place(2, 3, coordinator), lambda *_: None, 0.2))


def test_who_is_nobody_of_the_training_is_sent_away(coordinator: str) -> None:
    place = Place(0, 2, coordinator)

    def strange(hello: bytes) -> bytes:
        while True:
            try:
                with socket.create_connection(place.lines) as connection:
                    connection.sendall(hello)
                    return connection.recv(1)
            except ConnectionRefusedError:
                continue

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(lambda: _enter(Workers(place, lambda *_: None)))
        for hello in (b"GET / HTTP/1.1\n", b'{"hello": 1, "of": 3}\n', b'{"hello": 0, "of": 2}\n', b"[]\n"):
            assert strange(hello) == b""
        second = pool.submit(lambda: _enter(Workers(Place(1, 2, coordinator), lambda *_: None)))
        assert first.result() == second.result() == [0, 1]


def _enter(workers: AbstractContextManager[Workers]) -> list[Any]:
    with workers as entered:
        return entered.exchange("number", entered.number)


def agreed(coordinator: str, requests: Sequence[Callable[[int], Request]], steps: int) -> list[list[Request]]:
    """The answers of each worker behind each step from 1 on; each checkpoint answers."""

    def part(workers: Workers) -> list[Request]:
        agreement = Agreement(workers)
        answers = []
        for step in range(1, steps + 1):
            answers.append(agreement(step, requests[workers.number](step)))
            if answers[-1]:
                agreement.answered()
        return answers

    results, told = together(coordinator, len(requests), part)
    assert told == [[]] * len(requests)
    return results


def test_all_stop_at_the_same_step_when_one_was_told_to(coordinator: str) -> None:
    requests = [lambda step: Request.NOTHING] * 3
    requests[2] = lambda step: Request.STOP if step >= 10 else Request.NOTHING
    results = agreed(coordinator, requests, 5 * EVERY)
    assert results[0] == results[1] == results[2]
    # Said at the vote of step 16, counted at the next.
    assert (
        next(step for step, request in enumerate(results[0], start=1) if request == Request.STOP) == 3 * EVERY
    )


def test_a_recovery_checkpoint_is_written_once(coordinator: str) -> None:
    due = lambda step: Request.RECOVERY if step <= 2 * EVERY else Request.NOTHING  # noqa: E731
    results = agreed(coordinator, [due, lambda step: Request.NOTHING], 6 * EVERY)
    assert results[0] == results[1]
    assert [step for step, request in enumerate(results[0], start=1) if request] == [2 * EVERY]


def test_the_higher_wish_counts(coordinator: str) -> None:
    results = agreed(coordinator, [lambda _: Request.RECOVERY, lambda _: Request.STOP], 2 * EVERY)
    assert results[0][-1] == results[1][-1] == Request.STOP


def test_alone_a_wish_is_answered_at_once() -> None:
    with Workers() as workers:
        agreement = Agreement(workers)
        assert [agreement(step, Request.STOP) for step in (1, 2)] == [Request.STOP, Request.STOP]
        agreement.answered()
        assert agreement(3, Request.RECOVERY) == Request.RECOVERY
