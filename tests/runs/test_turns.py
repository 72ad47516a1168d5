"""Whose turn it is, as runs claim it, end, are cleared, and are killed."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from qarib_tasks.errors import CorruptError
from qarib_tasks.layout import TURNS
from qarib_tasks.runs.turns import Claim, Place, claims, take


def claim(name: str, hour: int) -> Claim:
    return Claim(dag_id="qarib_pretrain", run_id=name, started=f"2026-12-01T{hour:02}:00:00+00:00")


A, B, C = claim("a", 1), claim("b", 2), claim("c", 3)


class Airflow:
    """Knows which runs are over."""

    def __init__(self, workspace: Path) -> None:
        self.workspace, self.over = workspace, set[str]()

    def take(self, one: Claim) -> list[str]:
        place = take(self.workspace, "x", one, lambda other: other.run_id in self.over)
        return [other.run_id for other in place.ahead]


@pytest.fixture
def airflow(tmp_path: Path) -> Airflow:
    return Airflow(tmp_path)


def test_one_after_the_other_in_the_order_of_their_starts(airflow: Airflow) -> None:
    assert airflow.take(B) == []
    assert airflow.take(C) == ["b"]
    # It started before the others, but one has its turn.
    assert airflow.take(A) == ["b"]
    assert airflow.take(C) == ["b", "a"]
    airflow.over = {"b"}
    assert airflow.take(C) == ["a"]
    assert airflow.take(A) == []
    airflow.over = {"b", "a"}
    assert airflow.take(C) == []
    assert [one.run_id for one in claims(airflow.workspace, "x")] == ["c"]


def test_one_that_failed_and_is_cleared(airflow: Airflow) -> None:
    airflow.take(A)
    airflow.over = {"a"}
    assert airflow.take(B) == []
    airflow.over = set()  # Cleared, it starts again, and finds another at work.
    assert airflow.take(A) == ["b"]
    assert airflow.take(B) == []
    airflow.over = {"b"}
    assert airflow.take(A) == []


def test_one_that_failed_and_is_cleared_before_another_looks(airflow: Airflow) -> None:
    airflow.take(A)
    assert airflow.take(B) == ["a"]
    assert airflow.take(A) == []
    assert airflow.take(B) == ["a"]


def test_one_that_is_cleared_while_it_waits_keeps_its_place(airflow: Airflow) -> None:
    """Otherwise it waits for the next one, which waits for it."""
    assert [airflow.take(one) for one in (A, B, C)] == [[], ["a"], ["a", "b"]]
    assert airflow.take(claim("b", 9)) == ["a"]
    assert airflow.take(C) == ["a", "b"]


def test_those_of_the_same_start_have_one_order(airflow: Airflow) -> None:
    airflow.take(A)
    same = claim("y", 2), claim("z", 2)
    for _ in range(2):
        assert [airflow.take(one) for one in same[::-1]][1:] == [["a"]]
    assert airflow.take(same[1]) == ["a", "y"]


def test_what_is_no_claim_is_left_out(airflow: Airflow) -> None:
    airflow.take(A)
    record = airflow.workspace / TURNS / "x.json"
    values = json.loads(record.read_text())
    values["claims"][0]["later"] = 1  # Of a later version of the code.
    values["claims"] += [5, "text", {"x": 1}, {"dag_id": "d", "run_id": "r", "started": 5}]
    record.write_text(json.dumps(values))
    assert airflow.take(B) == ["a"]
    record.write_text(json.dumps({**values, "claims": 5}))
    assert airflow.take(B) == []


def test_the_place(tmp_path: Path) -> None:
    places = [take(tmp_path, "x", one, lambda _: False) for one in (A, B, C)]
    assert list(map(str, places)) == ["place 1 of 1", "place 2 of 2", "place 3 of 3"]
    assert take(tmp_path, "x", B, lambda _: False).total == 3
    assert take(tmp_path, "another", B, lambda _: False) == Place((), 1, B.started)


def test_none_changes_between_the_question_and_the_answer(tmp_path: Path) -> None:
    """A run that is asked about can be cleared meanwhile: its claim waits until the answer was used."""
    take(tmp_path, "x", A, lambda _: False)
    with ThreadPoolExecutor(1) as pool:
        cleared: list[Future[Place]] = []

        def over(_: Claim) -> bool:
            cleared.append(pool.submit(take, tmp_path, "x", A, lambda _: False))
            return wait(cleared, timeout=0.2).not_done == set(cleared)

        assert take(tmp_path, "x", B, over) == Place((), 1, B.started)
        assert [one.run_id for one in cleared[0].result().ahead] == ["b"]


def test_many_at_once_have_it_one_at_a_time(tmp_path: Path) -> None:
    runs = [claim(f"run-{number}", number) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        places = list(pool.map(lambda one: take(tmp_path, "x", one, lambda _: False), runs))
    assert sum(not place.ahead for place in places) == 1
    assert max(place.total for place in places) == 8


def test_one_killed_while_it_claims_leaves_no_lock(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        take(tmp_path, "x", A, lambda _: False)
        take(tmp_path, "x", B, lambda _: os.kill(os.getpid(), signal.SIGKILL) or True)
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert [one.run_id for one in claims(tmp_path, "x")] == ["a"]
    assert take(tmp_path, "x", C, lambda _: True) == Place((), 1, C.started)


def test_a_damaged_record_says_what_to_do(tmp_path: Path) -> None:
    take(tmp_path, "x", A, lambda _: False)
    record = tmp_path / TURNS / "x.json"
    record.write_bytes(record.read_bytes()[:20])
    with pytest.raises(CorruptError, match=r"x\.json.*is damaged"):
        take(tmp_path, "x", B, lambda _: False)
