"""A whole Airflow with emulators of Cloud Storage and Cloud TPU, that vanish with whoever started them.

Everything is below one folder and configured through environment variables alone. Each process carries a
marker in its environment. A guard in a session of its own holds the reading end of a pipe whose writing end
is with the starter: when the starter ends, in whatever way, the pipe closes, and the guard ends every process
that carries the marker, also those that an orphaned scheduler has started meanwhile.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Self

from airflow_api import START_SECONDS, AirflowApi, StackError

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from qarib_tasks.emulators import gcs
from qarib_tasks.storage.files import write_text

MARKER = "QARIB_LOCAL_STACK"
# Airflow's parts. The tasks' API has a server of its own: an action of a user is written to Airflow's log
# within the event loop of the server (Airflow 3.3). If a task's request of the same server then has SQLite's
# only writer, it cannot end before the loop goes on, and both wait until SQLite gives up.
COMPONENTS = {
    "scheduler": ("scheduler",),
    "dag-processor": ("dag-processor",),
    "api-server": ("api-server", "--apps", "core"),
    "execution-api": ("api-server", "--apps", "execution"),
    "triggerer": ("triggerer",),
}
TERM_SECONDS = 5.0
# How long a writer waits for another one: SQLite has one at a time and gives up after 5 s, too few for a busy
# laptop.
DATABASE_SECONDS = 30
# More than a laptop's cores: the scheduler starts so many tasks each time it looks, and it takes seconds to
# look at a thousand shards.
TASKS_AT_ONCE = 16
# A conversion of half a million lines takes half a GB: at most half of the memory.
SHARDS_AT_ONCE = max(1, min(TASKS_AT_ONCE, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 10**9))
# Delays of the TPU emulator, as a share of the real service's.
TPU_SCALE = 0.01
# Values of the trigger form: a model that trains in seconds, for tests and benchmarks.
TINY_MODEL = {
    "num_hidden_layers": 1,
    "hidden_size": 32,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}


class LocalStack(AirflowApi):
    """A context manager; within it, Airflow answers.

    Args:
        home: folder for the database, logs, buckets and workspace; kept, and taken up again next time.
        bucket: made if it is not there.
        environment: more environment variables for Airflow.
        ui_port: for the UI, if it is free.
    """

    def __init__(
        self,
        home: Path,
        *,
        bucket: str = "qarib",
        environment: dict[str, str] | None = None,
        ui_port: int | None = None,
    ) -> None:
        self.home = home.resolve()
        self.bucket = bucket
        self.workspace = self.home / "workspace"
        self.logs = self.home / "logs"
        self.user = "admin"
        self.marker = secrets.token_hex(16)
        self._more = environment or {}
        self._wanted_port = ui_port
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def _start(self) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        lock = self._exit.enter_context((self.home / "lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(f"{self.home} is in use by another demo; stop that one first") from None
        started = time.monotonic()
        self._start_guard(lock)
        ui, execution, emulator, tpu, worker_log, trigger_log = free_ports(6, self._wanted_port)
        self.url = f"http://127.0.0.1:{ui}"
        self._execution_port = execution
        self.emulator = f"http://127.0.0.1:{emulator}"
        self.environment = self._environment(ui, tpu, worker_log, trigger_log)
        self._start_servers()
        self._processes["emulator"] = gcs.start(
            self.home / "buckets", emulator, environment=self.environment, log=self.logs / "emulator.log"
        )
        (self.home / "buckets" / self.bucket).mkdir(exist_ok=True)
        self._processes["tpu"] = self._start_tpu_emulator(tpu)
        migrate = self._airflow("db", "migrate")
        if migrate.wait() != 0:
            raise StackError(f"the database could not be made, see {self.logs / 'db.log'}")
        for component in self.components:
            self._processes[component] = self._start_component(component)
        self._wait_until_healthy()
        self.seconds_to_start = time.monotonic() - started

    def _start_servers(self) -> None:
        """What else Airflow needs: nothing, its database is a file. May add to `environment`."""

    @property
    def components(self) -> tuple[str, ...]:
        """Airflow's own parts, by name."""
        return tuple(COMPONENTS)

    @property
    def _execution_url(self) -> str:
        return f"http://127.0.0.1:{self._execution_port}/execution/"

    def _start_component(self, component: str) -> subprocess.Popen[bytes]:
        command = COMPONENTS[component]
        if component == "execution-api":
            command += ("--port", str(self._execution_port))
        return self._airflow(*command, log_name=component)

    def _start_guard(self, lock: IO[str]) -> None:
        """The guard keeps the lock open too: the folder is free only when everything is gone."""
        reader, writer = os.pipe()
        environment = {key: value for key, value in os.environ.items() if key != MARKER}
        guard = subprocess.Popen(
            [sys.executable, __file__, self.marker],
            stdin=reader,
            stdout=subprocess.DEVNULL,
            pass_fds=[lock.fileno()],
            env=environment,
            start_new_session=True,
        )
        os.close(reader)

        def stop() -> None:
            os.close(writer)
            guard.wait()
            end_marked(self.marker)  # Nothing is left to do, unless somebody has killed the guard.
            for process in self._processes.values():
                process.wait()

        self._exit.callback(stop)

    @property
    def tpu_faults(self) -> Path:
        """The TPU emulator's delays and faults; whatever is written to it is in force at once."""
        return self.home / "tpu-faults.yaml"

    def _start_tpu_emulator(self, port: int) -> subprocess.Popen[bytes]:
        """Its machines are processes here, with this Python instead of one of their own."""
        write_text(self.tpu_faults, f"scale: {TPU_SCALE}\n")
        machines = {
            "QARIB_PYTHON": sys.executable,
            "STORAGE_EMULATOR_HOST": self.emulator,
            "PYTHONPATH": self.environment["PYTHONPATH"],
        }
        command = [sys.executable, "-m", "qarib_tasks.cli", "emulate", "tpu", "--port", str(port)]
        command += ["--folder", str(self.home / "tpu"), "--faults", str(self.tpu_faults)]
        for name, value in machines.items():
            command += ["--environment", f"{name}={value}"]
        with (self.logs / "tpu.log").open("ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=self.environment
            )

    def _environment(self, ui: int, tpu: int, worker_log: int, trigger_log: int) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "_AIRFLOW"))}
        connection = {
            "conn_type": "google_cloud_platform",
            "extra": {"is_anonymous": True, "project": "emulator"},
        }
        airflow = {
            "CORE__DAGS_FOLDER": REPOSITORY / "dags",
            "CORE__PLUGINS_FOLDER": REPOSITORY / "plugins",
            "CORE__LOAD_EXAMPLES": False,
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__PARALLELISM": TASKS_AT_ONCE,
            "CORE__MAX_MAP_LENGTH": 10_000,
            "CORE__DAGS_ARE_PAUSED_AT_CREATION": False,
            "CORE__EXECUTION_API_SERVER_URL": self._execution_url,
            "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{self.user}:admin",
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": self.home / "passwords.json",
            "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home / 'airflow.db'}?timeout={DATABASE_SECONDS}",
            # Each task asks for a connection of the API server's now and then.
            "DATABASE__SQL_ALCHEMY_POOL_SIZE": 4 * TASKS_AT_ONCE,
            # Nobody but this machine's users sees it.
            "API__EXPOSE_STACKTRACE": True,
            "LOGGING__BASE_LOG_FOLDER": self.logs / "tasks",
            "LOGGING__WORKER_LOG_SERVER_PORT": worker_log,
            "LOGGING__TRIGGER_LOG_SERVER_PORT": trigger_log,
            "API__HOST": "127.0.0.1",
            "API__PORT": ui,
            "API__BASE_URL": self.url,
            "API__WORKERS": 1,
            "API__SECRET_KEY": secrets.token_hex(32),
            "API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": 0.2,
            # A task's supervisor in Airflow 3.3 that misses the end of its process sleeps for this long, s.
            "WORKERS__MIN_HEARTBEAT_INTERVAL": 2,
            "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": 300,
            # A machine that is busy otherwise is no fault of a DAG.
            "CORE__DAGBAG_IMPORT_TIMEOUT": 300,
            "DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": 300,
            "USAGE_DATA_COLLECTION__ENABLED": False,
        }
        return {
            **inherited,
            **{f"AIRFLOW__{name}": str(value) for name, value in airflow.items()},
            "AIRFLOW_HOME": str(self.home / "airflow"),
            "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(connection),
            "STORAGE_EMULATOR_HOST": self.emulator,
            "CLOUD_TPU_EMULATOR_HOST": f"127.0.0.1:{tpu}",
            "QARIB_TPU": json.dumps({"machine": "cloud_tpu", "poll_seconds": 1.0}),
            "QARIB_BUCKET": self.bucket,
            "QARIB_WORKSPACE": str(self.workspace),
            "QARIB_PRELOAD": "1",
            "QARIB_SHARDS_AT_ONCE": str(SHARDS_AT_ONCE),
            "QARIB_CONVERT_FIRST": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), inherited.get("PYTHONPATH")])),
            # Airflow 3.3 reads .airflowignore with an outdated call of the library pathspec, in each task.
            "PYTHONWARNINGS": "ignore:GitWildMatchPattern:DeprecationWarning",
            MARKER: self.marker,
            # Without it setproctitle, which Airflow uses, writes its titles over the marker.
            "SPT_NOENV": "1",
            **self._more,
        }

    def _airflow(self, *arguments: str, log_name: str = "") -> subprocess.Popen[bytes]:
        with (self.logs / f"{log_name or arguments[0]}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "airflow", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=self.home,
            )

    def process(self, name: str) -> int:
        """The process number of a part of the stack."""
        return self._processes[name].pid

    def kill(self, *components: str) -> None:
        """Kill parts of Airflow, and all that they have started, without a warning, and start them again."""
        for component in components:
            self._processes[component].send_signal(signal.SIGSTOP)  # It starts nothing more meanwhile.
            for process in descendants(self._processes[component].pid):
                os.kill(process, signal.SIGKILL)
            self._processes[component].kill()
            self._processes[component].wait()
        for component in components:
            self._processes[component] = self._start_component(component)

    def _wait_until_healthy(self) -> None:
        import httpx

        self._client = self._exit.enter_context(httpx.Client(base_url=self.url, timeout=300))
        deadline = time.monotonic() + START_SECONDS
        while True:
            self.check()
            try:
                health = self._client.get("/api/v2/monitor/health").json()
                if httpx.get(f"{self._execution_url}health").is_success and all(
                    health[part]["status"] == "healthy"
                    for part in ("scheduler", "dag_processor", "triggerer")
                ):
                    break
            except (httpx.TransportError, ValueError, KeyError):
                pass
            if time.monotonic() > deadline:
                raise StackError(f"Airflow did not come up in {START_SECONDS:.0f} s, see {self.logs}")
            time.sleep(0.2)
        self.log_in(self._client, self.user, self.password)

    @property
    def password(self) -> str:
        passwords = json.loads((self.home / "passwords.json").read_text(encoding="utf-8"))
        return str(passwords[self.user])

    def check(self) -> None:
        """Raise StackError if a part of the stack has ended."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise StackError(f"{name} ended with status {process.returncode}, see {self.logs / name}.log")


def free_ports(number: int, wanted: int | None = None) -> list[int]:
    """Different ports that nobody listens on; the first one is `wanted` if that is free."""
    with ExitStack() as open_until_all_are_chosen:
        ports = []
        for port in [wanted or 0] + [0] * (number - 1):
            listener = open_until_all_are_chosen.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                listener.bind(("127.0.0.1", 0))
            ports.append(listener.getsockname()[1])
        return ports


def marked(marker: str) -> list[int]:
    """The processes that carry the marker in their environment."""
    needle = f"{MARKER}={marker}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and needle in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:  # It has ended meanwhile, or is somebody else's.
            continue
    return found


def descendants(pid: int) -> list[int]:
    """The processes below a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def end_marked(marker: str) -> None:
    """Ask every process with the marker to end; kill those that have not, and all that they have started."""
    deadline = time.monotonic() + TERM_SECONDS
    asked: set[int] = set()
    while processes := marked(marker):
        late = time.monotonic() > deadline
        for process in processes if late else set(processes) - asked:
            try:
                os.kill(process, signal.SIGKILL if late else signal.SIGTERM)
            except ProcessLookupError:
                continue
        asked.update(processes)
        time.sleep(0.1)


if __name__ == "__main__":
    # The guard. Its standard input ends when the starter does.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    end_marked(sys.argv[1])
