"""The reason of a failure in a run's note. A real run writes it in tests/end_to_end/test_pretrain.py.

Covers plugins/qarib_run_note.py.
"""

from __future__ import annotations

import pytest
from qarib_airflow.reporting import reasons
from qarib_run_note import MOST_CHARACTERS, REASON, REMARKS, joined, text

OURS = "× train failed: x\nCheck y\nLog: z"


@pytest.mark.parametrize(
    ("note", "ours", "expected"),
    [
        ("", OURS, OURS),
        ("", "", ""),
        ("my run #fast", OURS, f"my run #fast\n\n{OURS}"),
        (f"my run\n\n{OURS}", "× train failed: again", "my run\n\n× train failed: again"),
        (f"my run\nwith two lines\n\n{OURS}", "", "my run\nwith two lines"),
        (OURS, "", ""),
        ("a 3 × 4 table", "", "a 3 × 4 table"),
        ("mine\n\n⚠ one\n⚠ two", "⚠ two", "mine\n\n⚠ two"),
        (f"mine\n\n{OURS}\n⚠ one", "⚠ one", "mine\n\n⚠ one"),
        ("x" * MOST_CHARACTERS, OURS, "x" * MOST_CHARACTERS),
    ],
)
def test_people_s_part_stays(note: str, ours: str, expected: str) -> None:
    assert joined(note, ours) == expected


def test_the_tasks_and_the_listener_use_the_same_xcom() -> None:
    assert (reasons.KEY, reasons.REMARK) == (REASON, REMARKS)


def test_ours_is_cut_to_the_room_that_is_left() -> None:
    found = joined("y" * 900, "× train failed: " + "z" * 500)
    assert len(found) == MOST_CHARACTERS
    assert found.startswith("y" * 900 + "\n\n× train failed: zzz")


def test_what_failed_why_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://example.org/airflow/")
    kept = {"what": "bad\n× bytes", "where": "/w/shard_0007", "do": "Backfill it"}
    assert text(kept, "qarib_pretrain", "manual__1+2", "shard.convert", 7).splitlines() == [
        "× shard.convert failed: /w/shard_0007: bad × bytes",
        "Backfill it",
        "Log: https://example.org/airflow/dags/qarib_pretrain/runs/manual__1%2B2/tasks/shard.convert/mapped/7",
    ]
