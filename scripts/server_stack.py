"""A local stack like a deployment on many machines: real PostgreSQL and Redis servers, and Celery workers.

As in docker-compose.yaml, a worker has the login of Redis, and none of Airflow's other secrets.

The servers' programs are from Debian (`scripts/system_packages`). PostgreSQL refuses to run as root: for
root, it runs as the user `postgres`, and its files are in a separate folder that this user can access.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from local_stack import START_SECONDS, LocalStack, StackError, descendants
from ports import free_ports

from qarib_tasks.storage.files import write_private

ACCOUNT = "postgres"
# What a worker must not need.
NOT_OF_WORKERS = (
    "AIRFLOW__API__SECRET_KEY",
    "AIRFLOW__API_AUTH__JWT_SECRET",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
)


class ServerStack(LocalStack):
    """A `LocalStack` with PostgreSQL, and with Celery workers and Redis or a LocalExecutor.

    A component of Airflow that ends, for example because the database is down, is restarted as by an
    orchestrator.

    Args:
        home, bucket, environment: see `LocalStack`.
        workers: number of Celery workers (`worker-1` …); 0 for the LocalExecutor.
        slots: number of parallel tasks per worker, or of the LocalExecutor.
    """

    def __init__(self, home: Path, *, workers: int = 2, slots: int = 1, **arguments: Any) -> None:
        super().__init__(home, **arguments)
        self.workers = tuple(f"worker-{number + 1}" for number in range(workers))
        self.slots = slots
        self.restarted: list[str] = []
        self._postgres_port, self._redis_port = free_ports(2)
        self._redis_password = secrets.token_hex(16)

    @property
    def components(self) -> tuple[str, ...]:
        return super().components + self.workers

    def _start(self) -> None:
        # Registered before the guard: it runs after the guard has stopped the server.
        self.postgres_folder = Path(tempfile.mkdtemp(prefix="qarib-postgres-"))
        self._exit.callback(shutil.rmtree, self.postgres_folder, ignore_errors=True)
        super()._start()

    def _start_servers(self) -> None:
        self._make_database()
        self._processes["postgres"] = self._start_postgres()
        settings: dict[str, Any] = {
            "DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{self._login}/airflow",
            "CORE__PARALLELISM": max(1, len(self.workers)) * self.slots,
        }
        if self.workers:
            self._processes["redis"] = self._start_redis()
            settings |= {
                "CORE__EXECUTOR": "CeleryExecutor",
                "CORE__PARALLELISM": 32,
                "CELERY__CELERY_CONFIG_OPTIONS": "qarib_airflow.deployment.celery_config.CONFIG",
                "CELERY__BROKER_URL": f"{self._redis}/0",
                "CELERY__RESULT_BACKEND": f"{self._redis}/1",
                "CELERY__WORKER_CONCURRENCY": self.slots,
                "CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": 86_400,
            }
        self.environment |= {f"AIRFLOW__{name}": str(value) for name, value in settings.items()} | self._more

    def _start_component(self, component: str) -> subprocess.Popen[bytes]:
        if component not in self.workers:
            return super()._start_component(component)
        options = ("--celery-hostname", component, "--skip-serve-logs")
        environment = {key: value for key, value in self.environment.items() if key not in NOT_OF_WORKERS}
        # The other components' configuration, with its keys, is in theirs.
        environment["AIRFLOW_HOME"] = str(self.home / component)
        return self._airflow("celery", "worker", *options, log_name=component, given=environment)

    @property
    def secrets(self) -> list[str]:
        """What the workers must not have: the database's password and the keys of the API server."""
        keys = ("AIRFLOW__API__SECRET_KEY", "AIRFLOW__API_AUTH__JWT_SECRET")
        return [self._password, *(self.environment[key] for key in keys)]

    @property
    def _login(self) -> str:
        return f"airflow:{self._password}@127.0.0.1:{self._postgres_port}"

    @property
    def _redis(self) -> str:
        return f"redis://:{self._redis_password}@127.0.0.1:{self._redis_port}"

    def _make_database(self) -> None:
        """Create an empty database cluster, which is deleted with this stack."""
        self._account = {"user": ACCOUNT, "group": ACCOUNT, "extra_groups": []} if os.geteuid() == 0 else {}
        self._password = secrets.token_hex(16)
        password_file = self.postgres_folder / "password"
        write_private(password_file, self._password)
        if self._account:
            shutil.chown(self.postgres_folder, ACCOUNT, ACCOUNT)
            shutil.chown(password_file, ACCOUNT, ACCOUNT)
        options = ["--username=airflow", "--auth=scram-sha-256", "--no-sync", "--encoding=UTF8"]
        options += ["--locale=C.UTF-8", f"--pwfile={password_file}"]
        self._run_program("initdb", *options, f"--pgdata={self.postgres_folder / 'data'}")
        password_file.unlink()

    def _run_program(self, name: str, *arguments: str) -> None:
        with (self.logs / "postgres.log").open("ab") as log:
            ended = subprocess.run(
                [str(postgres_program(name)), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment | {"PGPASSWORD": self._password},
                cwd=self.postgres_folder,
                **self._account,
            )
        if ended.returncode != 0:
            raise StackError(f"{name} failed, see {self.logs / 'postgres.log'}")

    def _start_postgres(self) -> subprocess.Popen[bytes]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self._postgres_port),
            "unix_socket_directories": "",
            "fsync": "off",  # The files are temporary.
            "max_connections": "200",
        }
        command = [str(postgres_program("postgres")), "-D", str(self.postgres_folder / "data")]
        command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.logs / "postgres.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=self.postgres_folder,
                **self._account,
            )
        ready = [str(postgres_program("pg_isready")), "-q", "-h", "127.0.0.1", "-p", str(self._postgres_port)]
        deadline = time.monotonic() + START_SECONDS
        while subprocess.run(ready, check=False).returncode != 0:
            if process.poll() is not None or time.monotonic() > deadline:
                raise StackError(f"PostgreSQL did not start, see {self.logs / 'postgres.log'}")
            time.sleep(0.1)
        if not (self.postgres_folder / "made").exists():
            login = ["-h", "127.0.0.1", "-p", str(self._postgres_port), "-U", "airflow"]
            self._run_program("createdb", *login, "airflow")
            (self.postgres_folder / "made").touch()
        return process

    def _start_redis(self) -> subprocess.Popen[bytes]:
        settings = {
            "bind": "127.0.0.1",
            "port": str(self._redis_port),
            "requirepass": self._redis_password,
            "save": '""',
            "dir": str(self.home),
            # The title overwrites the marker.
            "set-proc-title": "no",
        }
        write_private(
            self.home / "redis.conf", "".join(f"{name} {value}\n" for name, value in settings.items())
        )
        program = shutil.which("redis-server")
        if program is None:
            raise StackError("redis-server is not installed. Run scripts/system_packages")
        with (self.logs / "redis.log").open("ab") as log:
            return subprocess.Popen(
                [program, str(self.home / "redis.conf")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
            )

    def crash_postgres(self) -> None:
        """Stop PostgreSQL immediately, without writing back; then start it again, and it recovers."""
        self._processes["postgres"].send_signal(signal.SIGQUIT)
        self._processes["postgres"].wait()
        self._processes["postgres"] = self._start_postgres()

    def hold(self, worker: str, number: signal.Signals = signal.SIGSTOP) -> None:
        """Suspend a worker and its processes; with SIGCONT, resume them."""
        process = self._processes[worker]
        process.send_signal(number)
        for child in descendants(process.pid):
            with suppress(ProcessLookupError):
                os.kill(child, number)

    def lose(self, worker: str) -> None:
        """Kill a worker and its processes, like the loss of its machine. The worker is not restarted."""
        process = self._processes.pop(worker)
        process.send_signal(signal.SIGSTOP)
        for child in descendants(process.pid):
            os.kill(child, signal.SIGKILL)
        process.kill()
        process.wait()

    def check(self) -> None:
        for component in set(self.components) & set(self._processes):
            if self._processes[component].poll() is not None and self.started:
                self.restarted.append(component)
                self._processes[component] = self._start_component(component)
        super().check()

    @property
    def started(self) -> bool:
        return hasattr(self, "seconds_to_start")

    def run_by(self, worker: str) -> str:
        """Return the worker's log, which has every task instance that it received."""
        return (self.logs / f"{worker}.log").read_text(encoding="utf-8", errors="replace")


def postgres_program(name: str) -> Path:
    """Return the path of a program of the newest installed PostgreSQL."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda p: int(p.parts[-3]))
    if not found and (on_path := shutil.which(name)):
        return Path(on_path)
    if not found:
        raise StackError("PostgreSQL is not installed. Run scripts/system_packages")
    return found[-1]
