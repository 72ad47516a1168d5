"""Attack the code and break what it reads, by the tests of each area; print what was tried and what held.

    python scripts/campaign/run.py [AREA ...]     all areas: about twelve minutes
    python scripts/campaign/run.py --seeded       each area with a fault in our code, which it must find

Exit status 1: something did not hold, a process took more than 2 GB, or a fault was not found. Each area has
a process of its own. What the area of crafted files wrote is collected and previewed by the command, too.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "plugins")]

from scripts.campaign.memory import MOST, take_little

SEEDS = "tests.support.faults.seeds"
CRAFTED = "crafted"  # the area whose files the commands read, too


@dataclass(frozen=True)
class Area:
    """Tests that attack one thing.

    Attributes:
        tests: files and folders.
        seeded: those that find the fault of the area in `tests/support/faults/seeds.py`.
    """

    title: str
    tests: tuple[str, ...]
    seeded: str


AREAS = {
    "killed": Area(
        "killed, or the disk full, at a file operation",
        (
            "faults/test_points.py",
            "faults/test_left_behind.py",
            "faults/test_read_only.py",
            "cli/test_full_disk.py",
            "storage/test_files.py",
        ),
        "faults/test_points.py",
    ),
    "damaged": Area(
        "damaged records",
        (
            *("faults/test_damaged_records_of_a_dataset.py", "faults/test_damaged_records_of_a_model.py"),
            *("storage/records", "conversion/test_verify.py"),
        ),
        "conversion/test_verify.py",
    ),
    "changed": Area(
        "files that change while they are read",
        ("corpus/test_changed_sources.py", "storage/test_checked_file.py"),
        "corpus/test_changed_sources.py",
    ),
    "crafted": Area(
        "crafted archives, tables, and weights",
        (
            *("corpus/reading/test_small_files.py", "corpus/content/test_archives.py"),
            *("corpus/content/test_decompression.py", "train/weights/test_pytorch.py"),
        ),
        "corpus/reading/test_small_files.py",
    ),
    "bucket": Area(
        "a bucket that fails",
        ("faults/test_faulty_bucket.py", "storage/test_bucket.py"),
        "faults/test_faulty_bucket.py",
    ),
    "places": Area(
        "users of forms: places outside of the deployment's",
        ("corpus/test_allowed.py", "corpus/test_patterns.py", "runs/test_places.py", "plugins/preflight"),
        "corpus/test_allowed.py",
    ),
    "page": Area(
        "the page: routes, users, damaged files",
        (
            "plugins/page/test_page.py",
            "plugins/page/test_control.py",
            "views/test_files.py",
            "views/test_shapes.py",
        ),
        "views/test_shapes.py",
    ),
    "users": Area(
        "other users of the machine",
        (
            "emulators/test_access.py",
            "emulators/test_gcs_gate.py",
            "emulators/cloud_tpu/test_server.py",
            "security",
        ),
        "emulators/test_access.py",
    ),
    "secrets": Area(
        "secrets in addresses, files, and messages",
        ("test_errors.py", "plugins/reporting", "deploy/test_deployment_files.py"),
        "test_errors.py",
    ),
    "twice": Area("two runs at once", ("faults/test_two_runs.py",), "faults/test_two_runs.py"),
}


class Counts:
    """Counts what tests try: one each, or what they record as `tried`.

    Attributes:
        memory: bytes of the largest process so far: this one, which runs the tests, or one that it started.
        largest: the test that it was of.
    """

    def __init__(self) -> None:
        self.tried = self.held = self.memory = 0
        self.largest = ""
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.skipped:
            self.skipped.append(report.nodeid)
        elif report.when == "call" or report.failed:
            tried = sum(value for name, value in report.user_properties if name == "tried") or 1
            self.tried += tried
            self.held += 0 if report.failed else tried
        if (memory := most_memory()) > self.memory:
            self.memory, self.largest = memory, report.nodeid


def most_memory() -> int:
    """The most bytes that this process took, or one that it started and that has ended."""
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(one).ru_maxrss for one in whose) << 10


def options(*more: str) -> list[str]:
    return ["-q", "--no-header", "-p", "no:cacheprovider", "-m", "slow or not slow", *more]


def attack_area(name: str, out: Path) -> int:
    """Run the tests of an area in this process; write what they tried to a file of JSON."""
    import pytest

    counts = Counts()
    # What tests wrote stays until the commands have read it.
    kept = ["--basetemp", str(out.with_suffix("")), "-o", "tmp_path_retention_policy=all"]
    files = [f"tests/{path}" for path in AREAS[name].tests]
    status = pytest.main(options("--tb=short", *(kept if name == CRAFTED else ()), *files), plugins=[counts])
    out.write_text(json.dumps(vars(counts)))
    return int(status)


def attack(names: list[str]) -> bool:
    """Attack each area in a process of its own, so that none has the memory of another; print a table."""
    started, held, found = time.monotonic(), True, dict[str, dict[str, Any]]()
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            out = Path(folder) / f"{name}.json"
            ended = subprocess.run([sys.executable, __file__, name, "--into", str(out)], cwd=REPOSITORY)
            held &= ended.returncode == 0
            found[name] = vars(Counts()) | (json.loads(out.read_text()) if out.is_file() else {})
        crafted = sorted(path for path in (Path(folder) / CRAFTED).rglob("*") if path.is_file())
        if CRAFTED in names:
            held &= take_little(crafted)
    print(f"\n| {'area':<52} |  tried |   held | most memory |\n|{'-' * 54}|-------:|-------:|------------:|")
    for name, one in found.items():
        held &= one["tried"] == one["held"] > 0 and one["memory"] <= MOST
        memory = f"{one['memory'] / 1e9:.2f} GB"
        print(f"| {AREAS[name].title:<52} | {one['tried']:>6,} | {one['held']:>6,} | {memory:>11} |")
    tried, kept = (sum(one[key] for one in found.values()) for key in ("tried", "held"))
    print(f"| {'all':<52} | {tried:>6,} | {kept:>6,} | {'':>11} |")
    print(f"\n{time.monotonic() - started:.0f} seconds")
    for one in found.values():
        if one["memory"] > MOST:
            print(f"more than {MOST / 1e9:.0f} GB of memory: {one['largest']}")
        for test in one["skipped"]:
            print(f"not tried here: {test}")
    return held


def find_seeded(names: list[str]) -> bool:
    """Whether the tests of each area fail with its fault."""
    found = []
    for name in names:
        command = [sys.executable, "-m", "pytest", *options("-x", "-p", SEEDS, f"tests/{AREAS[name].seeded}")]
        environment = os.environ | {"CAMPAIGN_SEED": name}
        ended = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
        found.append(ended.returncode == 1)
        lines = [line for line in ended.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        print(f"{name:<8} {'found: ' + lines[0] if found[-1] and lines else 'NOT FOUND'}", flush=True)
    return all(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("areas", nargs="*", metavar="AREA", help=f"of {', '.join(AREAS)}  [all]")
    parser.add_argument("--seeded", action="store_true", help="break the code in each area, to find it")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if unknown := set(given.areas) - set(AREAS):
        parser.error(f"no such area: {', '.join(sorted(unknown))}")
    os.chdir(REPOSITORY)
    if given.into:
        return attack_area(given.areas[0], given.into)
    return 0 if (find_seeded if given.seeded else attack)(given.areas or list(AREAS)) else 1


if __name__ == "__main__":
    sys.exit(main())
