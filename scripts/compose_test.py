"""Test the deployment in docker-compose.yaml, from the image to a trained model, with failures.

    make compose-test
    python scripts/compose_test.py --no-build     uses the images of the previous test

Builds the image, starts the stack, and runs the DAG on a part of the sample with two Celery workers. During
the conversion, kills one worker and restarts PostgreSQL. Compares the bucket and the metrics with the run's
manifests, checks that no secret leaks, and removes everything. Needs a Docker engine and `docker-compose`.
Exit status 0: every check passed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
from airflow_api import AirflowApi, StackError
from compose.images import IMAGE, base_images, build, docker, require, say
from local_stack import REPOSITORY, TINY_MODEL
from ports import free_ports
from prometheus_client.parser import text_string_to_metric_families

DAG = "qarib_pretrain"
CONF = {
    "preset": "demo",
    "sources": [{"name": "muwatta", "path": "/opt/qarib/sample/muwatta.txt"}],
    "vocab_size": 800,
    "shard_lines": 100,
    # Enough conversions, each long enough to be killed while it runs.
    "dupe_factor": 50,
    **TINY_MODEL,
    "train_batch_size": 16,
    "train_steps": 20,
    "num_warmup_steps": 3,
    "save_checkpoints_steps": 10,
    "eval_batch_size": 16,
    "max_eval_steps": 4,
}
WITH_EMULATORS = "/opt/qarib/deploy/compose/with_emulators"
# Of the emulators' ports, what a process without the token gets: the status, or no connection.
WITHOUT_TOKEN = """
import socket, urllib.error, urllib.request
try:
    print(urllib.request.urlopen("http://gcs:4443/storage/v1/b?project=emulator").status)
except urllib.error.HTTPError as error:
    print(error.code)
try:
    socket.create_connection(("gcs", 4444), timeout=5)
    print("open")
except OSError:
    print("closed")
"""
# By service, the folders of its secrets (tests/deploy has those of all services).
SECRETS = {
    "api-server": {"api", "database", "emulators", "tokens"},
    "scheduler": {"database", "queue", "tokens"},
    "dag-processor": {"database"},
    "triggerer": {"database", "emulators"},
    "worker-1": {"queue", "emulators"},
}
SHOW_SECRETS = """
import json, pathlib
files = [path for path in pathlib.Path("/secrets").rglob("*") if path.is_file()]
print(json.dumps({str(path): path.read_text() for path in files}))
"""
CONNECT = """
import socket
for place in (("postgres", 5432), ("redis", 6379), ("api-server", 8080)):
    try:
        socket.create_connection(place, timeout=5).close()
        print("open")
    except OSError:
        print("closed")
"""
WORKERS = ("worker-1", "worker-2")


class ComposeStack(AirflowApi):
    """The stack with a separate project name, on free ports."""

    def __init__(self) -> None:
        ui, metrics = free_ports(2)
        self.project = f"qarib-test-{os.getpid()}"
        self.url, self.metrics = f"http://127.0.0.1:{ui}", f"http://127.0.0.1:{metrics}/metrics"
        self.environment = os.environ | {
            "QARIB_PROJECT": self.project,
            "QARIB_IMAGE": IMAGE,
            "QARIB_PROFILE": "emulators",
            "QARIB_UI_PORT": str(ui),
            "QARIB_METRICS_PORT": str(metrics),
            # A lost worker is noticed after one minute instead of five.
            "QARIB_HEARTBEAT_TIMEOUT": "60",
        }

    def compose(self, *arguments: str, check: bool = True, quiet: bool = False, given: str = "") -> str:
        command = ["docker-compose", "--profile", "emulators", *arguments]
        ended = subprocess.run(
            command,
            env=self.environment,
            cwd=REPOSITORY,
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if quiet else None,
            text=True,
            check=False,
        )
        if check and ended.returncode != 0:
            output = f"{ended.stdout}{ended.stderr or ''}"
            raise StackError(f"{' '.join(command)} ended with status {ended.returncode}:\n{output}")
        return ended.stdout

    @contextmanager
    def up(self) -> Iterator[None]:
        try:
            self.compose("up", "--no-build", "--detach", "--wait", "--wait-timeout", "900", quiet=True)
            passwords = json.loads(self.inside("api-server", "cat", "/secrets/api/passwords.json"))
            with httpx.Client(base_url=self.url, timeout=300) as client:
                self.log_in(client, "admin", passwords["admin"])
                yield
        except BaseException:
            print(self.compose("ps", "--all", check=False))
            print(self.compose("logs", "--tail", "40", check=False))
            raise
        finally:
            self.compose("down", "--volumes", "--timeout", "5", quiet=True)

    def inside(self, service: str, *command: str) -> str:
        return self.compose("exec", "-T", service, *command)

    def containers(self) -> list[dict[str, Any]]:
        """Return the engine's data of the stack's containers, including ended ones."""
        found = docker(
            "ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={self.project}"
        )
        return list(json.loads(docker("inspect", *found.split()))) if found.split() else []

    def check(self) -> None:
        """Do nothing: the engine restarts containers that end."""

    def wait(self, run_id: str, reached: Callable[[], Any]) -> Any:
        """Poll until `reached` is true. Calls that fail while the database restarts are repeated."""
        while True:
            try:
                if result := reached():
                    return result
                state = self.run(DAG, run_id)["state"]
                require(state in ("queued", "running") or reached(), f"the run ended too early: {state}")
            except (StackError, httpx.TransportError) as error:
                if isinstance(error, StackError) and ": 5" not in str(error):
                    raise
            time.sleep(1)


def exercise(stack: ComposeStack) -> str:
    """Run the DAG to its end, with failures during the conversion; return the run_id."""
    run_id = stack.trigger(DAG, CONF)

    def conversions(*states: str) -> list[dict[str, Any]]:
        tasks = stack.task_instances(DAG, run_id)
        found = [task for task in tasks if task["task_id"] == "shard.convert"]
        return [task for task in found if not states or task["state"] in states]

    def running_on(worker: str) -> dict[str, Any] | None:
        return next((task for task in conversions("running") if task["hostname"] == worker), None)

    def caught() -> dict[str, Any] | None:
        """Pause worker-1 during a conversion, so that it cannot end before the worker is killed."""
        if running_on("worker-1"):
            stack.compose("pause", "worker-1", quiet=True)
            if task := running_on("worker-1"):
                return task
            stack.compose("unpause", "worker-1", quiet=True)
        return None

    def both_converted() -> bool:
        return {task["hostname"] for task in conversions("success")} == set(WORKERS)

    stack.wait(run_id, both_converted)
    say("both workers have converted shards")
    lost = stack.wait(run_id, caught)
    stack.compose("kill", "--signal", "SIGKILL", "worker-1", quiet=True)
    done = len(conversions("success"))
    say(f"killed worker-1 with {done} of {len(conversions())} shards converted")
    stack.wait(run_id, lambda: len(conversions("success")) > done)
    stack.compose("restart", "--timeout", "0", "postgres", quiet=True)
    left = stack.wait(run_id, lambda: [task for task in conversions() if task["state"] != "success"])
    say(f"restarted PostgreSQL with {len(left)} shards not converted")
    stack.wait(run_id, lambda: stack.run(DAG, run_id)["state"] in ("success", "failed"))
    tasks = stack.task_instances(DAG, run_id)
    failed = [task for task in tasks if task["state"] == "failed"]
    require(not failed, "\n".join(stack.task_log(task) for task in failed))
    others = [
        (task["task_id"], task["state"]) for task in tasks if task["state"] not in ("success", "skipped")
    ]
    require(not others, f"tasks did not succeed: {others}")
    tries = {task["map_index"]: task["try_number"] for task in conversions()}
    require(tries[lost["map_index"]] > 1, "the killed worker's shard was not converted again")
    log = stack.task_log(conversions("success")[-1])
    require("::endgroup::" in log, f"the API server does not show a task's log: {log}")
    say("the run succeeded")
    return run_id


def check_results(stack: ComposeStack, run_id: str) -> None:
    path = f"dags/{DAG}/dagRuns/{run_id}/taskInstances/preflight/xcomEntries/return_value"
    run = stack.api("GET", path, params={"deserialize": True})["value"]
    script = (REPOSITORY / "scripts" / "compose" / "check_run.py").read_text(encoding="utf-8")
    command = (WITH_EMULATORS, "python", "-", json.dumps(run))
    answer = stack.compose("exec", "-T", "worker-2", *command, given=script)
    found = json.loads(answer)
    require(not found["missing"], f"missing from the bucket: {found['missing']}")
    say(f"the bucket has all {found['outputs']} outputs of the manifests, with the same checksums")

    with urllib.request.urlopen(stack.metrics) as answer:
        text = answer.read().decode()
    samples = {
        (sample.name, tuple(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    for label in ("dataset", "model"):
        tags = ((label, run[f"{label}_id"]),)
        compare(samples, {(f"airflow_qarib_{name}", tags): v for name, v in found[label].items()})
    finished = {value for (name, _), value in samples.items() if name.startswith("airflow_ti_finish")}
    require(finished, "Airflow's own metrics are missing")
    say(f"{len(samples)} metrics; the gauges of this project match the manifests")


def compare(samples: Mapping[Any, float], wanted: Mapping[Any, float]) -> None:
    for name, value in wanted.items():
        shown = samples.get(name)
        require(shown == value, f"the metric {name} is {shown}, expected {value} from the run's files")


def check_hardening(stack: ComposeStack) -> None:
    containers = stack.containers()
    for container in containers:
        host = container["HostConfig"]
        name = container["Name"]
        require(host["ReadonlyRootfs"], f"{name}: the root file system is writable")
        require(host["CapDrop"] == ["ALL"] and not host["CapAdd"], f"{name}: has capabilities")
        require("no-new-privileges:true" in host["SecurityOpt"], f"{name}: can gain privileges")
        for bindings in (host["PortBindings"] or {}).values():
            require(all(b["HostIp"] == "127.0.0.1" for b in bindings), f"{name}: a port is public")
    secrets: dict[str, set[str]] = {}
    for service, folders in SECRETS.items():
        given = stack.inside(service, "python", "-c", SHOW_SECRETS)
        files = json.loads(given)
        found = {name.split("/")[2] for name in files}
        require(found == folders, f"{service} can read the secrets of {found}, not {folders}")
        secrets[service] = {
            word for text in files.values() for word in re.split(r"[\s:@\"/]", text) if len(word) >= 16
        } - {"postgresql+psycopg2"}
    everything = set().union(*secrets.values())
    require(len(everything) >= 7, f"found only {len(everything)} secrets")
    both = secrets["worker-1"] & secrets["dag-processor"]
    require(not both, "the workers have what opens Airflow's database")
    public = (
        json.dumps(containers) + docker("history", "--no-trunc", IMAGE) + docker("image", "inspect", IMAGE)
    )
    require(
        not [secret for secret in everything if secret in public], "docker inspect or history shows a secret"
    )
    say(f"{len(containers)} containers are hardened; the engine shows none of {len(everything)} secrets")
    answer = stack.inside("worker-1", "python", "-c", CONNECT).split()
    require(answer == ["closed", "open", "open"], f"from a worker, database, queue, and API are {answer}")
    say("each service has only its own secrets; the workers do not reach the database")


def check_emulators(stack: ComposeStack) -> None:
    given = stack.compose("exec", "-T", "worker-2", "python", "-", given=WITHOUT_TOKEN).split()
    require(given == ["401", "closed"], f"the emulator of Cloud Storage answers without the token: {given}")
    say("the emulator of Cloud Storage refuses requests without the token")


def check_logs(stack: ComposeStack) -> None:
    lines = stack.compose("logs", "--no-log-prefix", "scheduler").splitlines()
    structured = [json.loads(line) for line in lines if line.startswith("{")]
    require(
        any("event" in line and "level" in line for line in structured), "the scheduler's log is not JSON"
    )


def check_gone(stack: ComposeStack) -> None:
    label = f"label=com.docker.compose.project={stack.project}"
    left = [stack.containers(), docker("volume", "ls", "-q", "--filter", label)]
    left.append(docker("network", "ls", "-q", "--filter", label))
    require(not any(left), f"not removed: {left}")
    say("removed everything")


def main() -> int:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--no-build", action="store_true", help="use the images of the previous test")
    options = arguments.parse_args()
    stack = ComposeStack()
    try:
        stack.environment |= (images := base_images())
        if not options.no_build:
            build(images["QARIB_PYTHON_IMAGE"])
        with stack.up():
            say("the stack is healthy")
            check_hardening(stack)
            check_emulators(stack)
            check_results(stack, exercise(stack))
            check_logs(stack)
        check_gone(stack)
    except (StackError, subprocess.CalledProcessError) as error:
        say(f"failed: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
