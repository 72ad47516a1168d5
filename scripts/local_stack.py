"""A complete Airflow with emulators of Cloud Storage and Cloud TPU. All end with the process that starts it.

All files are below one folder, and all configuration is in environment variables. Each process has a marker
in its environment. A guard process in a separate session has the reading end of a pipe, and the starter has
the writing end: when the starter ends for any reason, the pipe closes, and the guard stops every process that
has the marker, including those that an orphaned scheduler starts meanwhile.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Self

from airflow_api import START_SECONDS, AirflowApi, StackError
from ports import free_ports

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from qarib_tasks.emulators import gcs
from qarib_tasks.emulators.access import new_token, read_token, write_token
from qarib_tasks.storage.files import write_private, write_text

MARKER = "QARIB_LOCAL_STACK"
Given = dict[str, str] | None  # an environment instead of the stack's
# Airflow's components. The tasks' API has a separate server, because Airflow 3.3 writes a user's action to
# its log within the server's event loop. If a request of a task to the same server then holds SQLite's only
# write lock, the request cannot end until the loop continues, and both wait until SQLite times out.
COMPONENTS = {
    # The tasks' logs are on this machine; Airflow's log servers would listen on every address.
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "api-server": ("api-server", "--apps", "core"),
    "execution-api": ("api-server", "--apps", "execution"),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
# At its end, Python looks for garbage among the objects of all libraries: in each component, for seconds.
RUN = "import atexit, gc, runpy; atexit.register(gc.freeze); runpy.run_module('airflow', run_name='__main__')"
TERM_SECONDS = 5.0
# How long a writer waits for another one: SQLite allows one at a time, and its default of 5 s is too short
# for a busy laptop.
DATABASE_SECONDS = 30
# More than a laptop's cores: the scheduler starts at most this many tasks per loop, and a loop over a
# thousand shards takes seconds.
TASKS_AT_ONCE = 16
# The conversion of half a million lines takes half a GB: limits all conversions to half of the memory.
SHARDS_AT_ONCE = max(1, min(TASKS_AT_ONCE, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 10**9))
# The delays of the TPU emulator, relative to those of the real service.
TPU_SCALE = 0.01
# Values of the trigger form: a model that trains in seconds, for tests and benchmarks.
TINY_MODEL = {
    "num_hidden_layers": 1,
    "hidden_size": 32,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}


class LocalStack(AirflowApi):
    """Runs the stack. A context manager: Airflow answers inside the block.

    Args:
        home: folder for the database, logs, buckets and workspace; it is kept, and reused by the next stack.
        bucket: created if it does not exist.
        environment: additional environment variables for Airflow.
        database: an empty SQLite database of this Airflow, x.db, and x.cfg with its key, to copy instead.
        ui_port: for the UI; if it is in use, a free port is chosen.
    """

    def __init__(
        self,
        home: Path,
        *,
        bucket: str = "qarib",
        environment: dict[str, str] | None = None,
        database: Path | None = None,
        ui_port: int | None = None,
    ) -> None:
        self.home, self.bucket = home.resolve(), bucket
        self.workspace, self.logs = self.home / "workspace", self.home / "logs"
        self.user, self.marker = "admin", secrets.token_hex(16)
        self._more, self._database, self._wanted_port = environment or {}, database, ui_port
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
        self.home.parent.mkdir(parents=True, exist_ok=True)
        self.home.mkdir(exist_ok=True)
        self.home.chmod(0o700)  # It has the password, the database, and the logs.
        self.logs.mkdir(exist_ok=True)
        lock = self._exit.enter_context((self.home / "lock").open("a"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(f"{self.home} is in use by another demo; stop that one first") from None
        started = time.monotonic()
        self._start_guard(lock)
        ui, execution, emulator, tpu = free_ports(4, self._wanted_port)
        self.url = f"http://127.0.0.1:{ui}"
        self._execution_port = execution
        token, tpu_token = new_token(), self.home / "tpu-token"
        self.emulator = gcs.address(emulator, token)
        write_token(tpu_token, new_token())
        self.environment = self._environment(ui, f"{read_token(tpu_token)}@127.0.0.1:{tpu}")
        self._write_emulators()
        self._write_password()
        self._start_servers()
        self._processes["emulator"] = gcs.start(
            self.home / "buckets",
            emulator,
            token,
            environment=self.environment,
            log=self.logs / "emulator.log",
        )
        (self.home / "buckets" / self.bucket).mkdir(exist_ok=True)
        self._processes["tpu"] = self._start_tpu_emulator(tpu, tpu_token)
        self._prepare_database()
        for component in self.components:
            self._processes[component] = self._start_component(component)
        self._wait_until_healthy()
        self.seconds_to_start = time.monotonic() - started

    def _prepare_database(self) -> None:
        if self._database and not self._database_file.exists():
            shutil.copyfile(self._database, self._database_file)
            # Else, Airflow's processes each make a configuration, with other keys.
            (self.home / "airflow").mkdir()
            shutil.copy(self._database.with_suffix(".cfg"), self.home / "airflow" / "airflow.cfg")
        elif self._airflow("db", "migrate").wait() != 0:
            raise StackError(f"Airflow could not create its database, see {self.logs / 'db.log'}")

    @property
    def _database_file(self) -> Path:
        return self.home / "airflow.db"

    def _start_servers(self) -> None:
        """Start other servers for Airflow; here none. An override may add to `environment`."""

    @property
    def components(self) -> tuple[str, ...]:
        """The names of Airflow's components."""
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
        """Start the guard. It holds the lock too, so the folder is locked until all processes have ended."""
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
            end_marked(self.marker)  # In case the guard was killed.
            for process in self._processes.values():
                process.wait()

        self._exit.callback(stop)

    @property
    def passwords(self) -> Path:
        """The file of the UI's passwords."""
        return self.home / "passwords.json"

    @property
    def tpu_faults(self) -> Path:
        """The file of the TPU emulator's delays and faults; changes apply at once."""
        return self.home / "tpu-faults.yaml"

    def _write_emulators(self) -> None:
        """Write what a shell needs to use the emulators: `. .demo/emulators.env`."""
        names = ("STORAGE_EMULATOR_HOST", "CLOUD_TPU_EMULATOR_HOST")
        lines = [f"export {name}={shlex.quote(self.environment[name])}\n" for name in names]
        write_private(self.home / "emulators.env", "".join(lines))

    def _write_password(self) -> None:
        """Write the password file, unless an earlier stack did. Airflow prints those that it makes."""
        if not self.passwords.exists():
            write_private(self.passwords, json.dumps({self.user: secrets.token_urlsafe(16)}) + "\n")
        self.passwords.chmod(0o600)

    def _start_tpu_emulator(self, port: int, token_file: Path) -> subprocess.Popen[bytes]:
        """Start the TPU emulator. Its machines are processes on this machine, with this Python."""
        write_text(self.tpu_faults, f"scale: {TPU_SCALE}\n")
        # STORAGE_EMULATOR_HOST has a token: the command takes it from its environment.
        machines = [f"QARIB_PYTHON={sys.executable}", "STORAGE_EMULATOR_HOST", "PYTHONPATH"]
        # So that a training on an emulated TPU computes the same bits as one on this machine.
        machines += [name for name in ("XLA_FLAGS",) if name in self.environment]
        command = [sys.executable, "-m", "qarib_tasks.cli", "emulate", "tpu", "--port", str(port)]
        command += ["--folder", str(self.home / "tpu"), "--faults", str(self.tpu_faults)]
        command += ["--token-file", str(token_file)]
        for variable in machines:
            command += ["--environment", variable]
        with (self.logs / "tpu.log").open("ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=self.environment
            )

    def _environment(self, ui: int, tpu: str) -> dict[str, str]:
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
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": self.passwords,
            "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self._database_file}?timeout={DATABASE_SECONDS}",
            # Each task sometimes needs one of the API server's connections.
            "DATABASE__SQL_ALCHEMY_POOL_SIZE": 4 * TASKS_AT_ONCE,
            # Only users of this machine can see it.
            "API__EXPOSE_STACKTRACE": True,
            "LOGGING__BASE_LOG_FOLDER": self.logs / "tasks",
            "API__HOST": "127.0.0.1",
            "API__PORT": ui,
            "API__BASE_URL": self.url,
            "API__WORKERS": 1,
            "API__SECRET_KEY": secrets.token_hex(32),
            "API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": 0.2,
            # Seconds that a task's supervisor in Airflow 3.3 sleeps if it misses the end of its process.
            "WORKERS__MIN_HEARTBEAT_INTERVAL": 2,
            "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": 300,
            # A busy machine is not an error of a DAG.
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
            "CLOUD_TPU_EMULATOR_HOST": tpu,
            "QARIB_TPU": json.dumps({"machine": "cloud_tpu", "poll_seconds": 1.0}),
            "QARIB_BUCKET": self.bucket,
            "QARIB_WORKSPACE": str(self.workspace),
            "QARIB_PRELOAD": "1",
            "QARIB_PAGE_TRY": "1",
            "QARIB_SHARDS_AT_ONCE": str(SHARDS_AT_ONCE),
            "QARIB_CONVERT_FIRST": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, [str(REPOSITORY), inherited.get("PYTHONPATH")])),
            # Airflow 3.3 reads .airflowignore with an outdated call of the library pathspec, in each task.
            "PYTHONWARNINGS": "ignore:GitWildMatchPattern:DeprecationWarning",
            MARKER: self.marker,
            # Without it, setproctitle, which Airflow uses, overwrites the marker with its titles.
            "SPT_NOENV": "1",
            **self._more,
        }

    def _airflow(self, *arguments: str, log_name: str = "", given: Given = None) -> subprocess.Popen[bytes]:
        with (self.logs / f"{log_name or arguments[0]}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", RUN, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=given or self.environment,
                cwd=self.home,
            )

    def process(self, name: str) -> int:
        """Return the process id of a component of the stack."""
        return self._processes[name].pid

    def kill(self, *components: str) -> None:
        """Kill components of Airflow and every process that they started, without a notice; restart them."""
        for component in components:
            self._processes[component].send_signal(signal.SIGSTOP)  # It cannot start more processes.
            for process in descendants(self._processes[component].pid):
                with suppress(ProcessLookupError):  # It ended meanwhile, or with its parent.
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
                raise StackError(f"Airflow did not start within {START_SECONDS:.0f} s, see {self.logs}")
            time.sleep(0.2)
        self.log_in(self._client, self.user, self.password)

    @property
    def password(self) -> str:
        return str(json.loads(self.passwords.read_text(encoding="utf-8"))[self.user])

    def check(self) -> None:
        """Raise StackError if a component of the stack ended."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise StackError(f"{name} ended with status {process.returncode}, see {self.logs / name}.log")


def marked(marker: str) -> list[int]:
    """Return the processes that have the marker in their environment."""
    needle = f"{MARKER}={marker}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and needle in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:  # It has ended meanwhile, or is another user's.
            continue
    return found


def descendants(pid: int) -> list[int]:
    """Return the processes below a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def end_marked(marker: str) -> None:
    """Send SIGTERM to every process with the marker, and later SIGKILL to those that remain."""
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
    # The guard. Its standard input ends when the starter ends.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    end_marked(sys.argv[1])
