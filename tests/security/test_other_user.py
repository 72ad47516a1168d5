"""Another user of the machine attacks a demo, its ports, processes, and files, while a run is at work."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import demo
import pytest
from local_stack import LocalStack, marked

from tests.support.airflow_runs import TINY, require_success
from tests.support.users.exposure import listening, public_ports
from tests.support.users.intruder import NAMES, Result, Targets, attack, plant

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another user"),
]


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user can enter, unlike pytest's, with a folder for temporary files like /tmp."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="qarib-public-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "tmp").mkdir()
        (folder / "tmp").chmod(0o1777)
        yield folder


def secrets_of(stack: LocalStack) -> list[str]:
    keys = ("AIRFLOW__API__SECRET_KEY", "AIRFLOW__API_AUTH__JWT_SECRET")
    token, tpu_token = stack.emulator.rpartition("/")[2], stack.environment["CLOUD_TPU_EMULATOR_HOST"]
    return [stack.password, token, tpu_token.partition("@")[0], *(stack.environment[key] for key in keys)]


def test_nothing_is_read_and_nothing_is_run(
    public: Path, record_property: Callable[[str, object], None]
) -> None:
    home, shared = public / ".demo", public / "tmp"
    kept = public / "kept"
    kept.mkdir()
    (kept / "mine").write_text("mine")
    plant(shared, kept)
    total, attacked, public_addresses = Result(), set(), set()
    with LocalStack(home, environment={"TMPDIR": str(shared), "QARIB_RETRY_SECONDS": "1"}) as stack:
        run_id = stack.trigger(demo.DAG, TINY)
        while True:
            ended = stack.run(demo.DAG, run_id)["state"] in ("success", "failed")
            pids = marked(stack.marker)
            ports = {port for _, port in listening(pids)}
            public_addresses |= set(public_ports(pids))
            # Each port once: also those of a machine of the emulated TPU, while it trains.
            new = tuple(sorted(ports - attacked))
            attacked |= ports
            total.add(attack(Targets(new, tuple(pids), (str(home),), str(shared))))
            if ended:
                break
        require_success(stack, stack.task_instances(demo.DAG, run_id))
        secrets, run = secrets_of(stack), demo.read_run(stack, run_id)
    assert public_addresses == set()
    assert total.done == []
    assert not (shared / "ran").exists()
    # A command line has the names of files, which have a model's.
    for known, texts in ((secrets, total.commands), ((*secrets, run_id, run.model_id), total.texts)):
        assert texts
        assert [text for text in texts if any(secret in text for secret in known)] == []
    assert (kept / "mine").read_text() == "mine"
    assert (
        len(attacked) >= 6
    )  # two API servers; the ports of two emulators, one with REST; a machine's metadata
    print(f"another user tried {dict(total.tried)} at {len(attacked)} ports: none gave anything")
    record_property("tried", total.tried.total())


class Open(BaseHTTPRequestHandler):
    """A server without access control."""

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"secret": "canary"}')

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def log_message(self, *_: object) -> None:
        pass


def test_the_attacks_find_what_is_open(public: Path) -> None:
    home, shared = public / ".demo", public / "tmp"
    home.mkdir()
    for number, name in enumerate(NAMES[:3]):
        (home / name).write_text("canary")
        (home / name).chmod((0o644, 0o600, 0o666)[number])
    (shared / "theirs").write_text("canary")
    home.chmod(0o777)
    code = (
        "import os, socket, sys; os.setuid(65534); one = socket.socket(socket.AF_UNIX); "
        f"one.bind({str(shared / 'socket')!r}); one.listen(); print(flush=True); sys.stdin.read()"
    )
    ended: list[int] = []
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), Open) as server,
        subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        threading.Thread(target=server.serve_forever).start()
        assert process.stdout
        process.stdout.readline()
        try:
            found = attack(
                Targets((server.server_port,), (process.pid,), (str(home),), str(shared)),
            )
        finally:
            server.shutdown()
            process.communicate()
            ended.append(process.returncode)
    done = "\n".join(found.done)
    assert "canary" in "\n".join(found.texts)
    for what in (
        f"GET 127.0.0.1:{server.server_port}/storage/v1/b: 200",
        f"DELETE 127.0.0.1:{server.server_port}/storage/v1/b/qarib: 200",
        f"read {home / 'passwords.json'}",
        f"opened {home / 'tpu-token'} to write",
        f"listed {home}",
        f"made {home / 'planted'}",
        f"read {shared / 'theirs'}",
        f"connected to {shared / 'socket'}",
        f"sent signal 15 to {process.pid}",
    ):
        assert what in done, what
    assert f"read {home / 'emulators.env'}" not in done
    assert ended == [-15]
