"""The image's and the deployment's files: linted, and by the compose specification's own schema.

Covers plugins/qarib_airflow/deployment/pods.py.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.deploy.locks import locked

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = Path(sys.executable).parent
# The secrets of docker-compose.yaml. Its folders are volumes.
FILES = {
    "api/passwords.json",
    "api/secret_key",
    "database/fernet_key",
    "database/sql_alchemy_conn",
    "emulators/token",
    "postgres/password",
    "queue/broker_url",
    "queue/result_backend",
    "redis/redis.conf",
    "tokens/jwt_secret",
}
FOLDERS = sorted({name.partition("/")[0] for name in FILES})
# Where the password of Airflow's database is.
PASSWORD_OF = {"database", "postgres"}
# By service, the folders of secrets that it can read.
SECRETS_OF = {
    "secrets": set(FOLDERS),
    "init": {"database", "emulators"},
    "api-server": {"api", "database", "emulators", "tokens"},
    "scheduler": {"database", "queue", "tokens"},
    "dag-processor": {"database"},
    "triggerer": {"database", "emulators"},
    "worker-1": {"queue", "emulators"},
    "worker-2": {"queue", "emulators"},
    "metrics": set(),
    "postgres": {"postgres"},
    "redis": {"redis"},
    "gcs": {"emulators"},
    "gcs-server": set(),
    "tpu": {"emulators"},
}


def call(*command: str, **environment: str) -> str:
    ended = subprocess.run(
        [str(SCRIPTS / command[0]), *command[1:]],
        cwd=REPOSITORY,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@cache
def compose(profile: str) -> dict[str, Any]:
    """docker-compose.yaml as docker-compose reads it: checked against the schema, all values filled in."""
    text = call(
        *("docker-compose", "--profile", profile, "config", "--format", "json"), QARIB_PROFILE=profile
    )
    return dict(json.loads(text))


def test_dockerfile() -> None:
    call("hadolint", "--failure-threshold", "style", "Dockerfile")


@pytest.mark.parametrize("profile", ["emulators", "gcp"])
def test_every_service_is_hardened(profile: str) -> None:
    services = compose(profile)["services"]
    assert ({"gcs", "gcs-server", "tpu"} <= set(services)) == (profile == "emulators")
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert int(service["mem_limit"]) > 0, name
        assert service["logging"]["options"]["max-size"], name
        assert {port["host_ip"] for port in service.get("ports", [])} <= {"127.0.0.1"}, name
        assert not [key for key in service.get("environment", {}) if key.endswith(("PASSWORD", "_KEY"))], name
    environment = services["worker-1"]["environment"]
    assert ("STORAGE_EMULATOR_HOST" in environment) == (profile == "emulators")


def test_every_service_has_only_its_own_secrets() -> None:
    services = compose("emulators")["services"]
    assert set(services) == set(SECRETS_OF)
    for name, service in services.items():
        mounted = {
            volume["target"].removeprefix("/secrets/"): volume
            for volume in service.get("volumes", ())
            if volume["target"].startswith("/secrets")
        }
        assert set(mounted) == SECRETS_OF[name], name
        writable = {folder for folder in mounted if not mounted[folder].get("read_only")}
        assert writable <= ({"api"} if name == "api-server" else set()) or name == "secrets", name
        # What its settings read is there, and nothing else is.
        text = json.dumps(
            [service.get(key) for key in ("environment", "command", "entrypoint", "healthcheck")]
        )
        read = set(re.findall(r"/secrets/(\w+)/", text))
        assert read <= SECRETS_OF[name], name
        assert SECRETS_OF[name] - {"emulators"} <= read or name == "secrets", name


def test_only_airflows_servers_reach_its_database() -> None:
    services = compose("emulators")["services"]

    def on(network: str) -> set[str]:
        return {name for name, service in services.items() if network in service.get("networks", {})}

    airflow = {"init", "api-server", "scheduler", "dag-processor", "triggerer"}
    assert on("database") == {"postgres", *airflow}
    assert on("queue") == {"redis", "scheduler", "worker-1", "worker-2"}
    assert not {"postgres", "redis"} & on("default")
    networks = compose("emulators")["networks"]
    assert {name for name in networks if networks[name].get("internal")} == {"database", "queue"}
    # The secrets' folders are in the image, with the owner that a new volume copies.
    dockerfile = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    assert all(f"/secrets/{folder}" in dockerfile for folder in FOLDERS)


def test_airflow_starts_after_what_it_needs() -> None:
    services = compose("emulators")["services"]
    for name in ("scheduler", "dag-processor", "triggerer", "worker-1", "worker-2"):
        conditions = {other: need["condition"] for other, need in services[name]["depends_on"].items()}
        assert conditions["api-server"] == "service_healthy"
        assert conditions["postgres"] == "service_healthy"
        assert conditions["init"] == "service_completed_successfully"


def test_secrets_are_made_once(tmp_path: Path) -> None:
    for folder in FOLDERS:
        (tmp_path / folder).mkdir()
    command = [sys.executable, str(REPOSITORY / "deploy" / "compose" / "make_secrets.py")]
    environment = os.environ | {"QARIB_SECRETS": str(tmp_path)}
    subprocess.run(command, env=environment, check=True)
    files = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert {str(path.relative_to(tmp_path)) for path in files} == FILES
    # The second time after a death between two files: what was there stays, what was missing is made.
    lost = tmp_path / "queue" / "broker_url"
    lost.unlink()
    subprocess.run(command, env=environment, check=True)
    assert {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == files
    password = (tmp_path / "postgres" / "password").read_text()
    assert f":{password}@postgres" in (tmp_path / "database" / "sql_alchemy_conn").read_text()
    assert (tmp_path / "database" / "fernet_key").stat().st_mode & 0o777 == 0o400
    assert not [path for path in files if password in files[path] and path.parent.name not in PASSWORD_OF]


def test_secrets_of_an_earlier_version_are_kept_by_those_who_need_them(tmp_path: Path) -> None:
    """All of Airflow's were in one volume, which is now the API server's."""
    for folder in FOLDERS:
        (tmp_path / folder).mkdir()
    former = tmp_path / "api"
    (former / "passwords.json").write_text('{"admin": "the same"}')
    for name in ("fernet_key", "jwt_secret", "sql_alchemy_conn", "result_backend", "broker_url"):
        (former / name).write_text(f"former {name}")
    command = [sys.executable, str(REPOSITORY / "deploy" / "compose" / "make_secrets.py")]
    subprocess.run(command, env=os.environ | {"QARIB_SECRETS": str(tmp_path)}, check=True)
    assert (tmp_path / "database" / "fernet_key").read_text() == "former fernet_key"
    assert (tmp_path / "tokens" / "jwt_secret").read_text() == "former jwt_secret"
    assert (former / "passwords.json").read_text() == '{"admin": "the same"}'
    assert {path.name for path in former.iterdir()} == {"passwords.json", "secret_key"}


def test_secrets_have_their_mode_from_the_first_byte(tmp_path: Path) -> None:
    for folder in FOLDERS:
        (tmp_path / folder).mkdir()
    script = REPOSITORY / "deploy" / "compose" / "make_secrets.py"
    code = (
        "import os, pathlib, runpy, sys; os.umask(0)\n"
        "def check():\n"
        "    for path in pathlib.Path(os.environ['QARIB_SECRETS']).rglob('*'):\n"
        "        others = path.parent.name in ('postgres', 'redis')\n"
        "        modes = (0o444,) if others else (0o400, 0o600)\n"
        "        assert path.is_dir() or path.stat().st_mode & 0o777 in modes\n"
        "sys.addaudithook(lambda event, _: check() if event in ('open', 'os.rename', 'os.chmod') else None)\n"
        "runpy.run_path(sys.argv[1], run_name='__main__')\n"
    )
    environment = os.environ | {"QARIB_SECRETS": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", code, str(script)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == len(FILES)


def test_the_emulators_token_reaches_a_service_and_no_setting_of_it(tmp_path: Path) -> None:
    (tmp_path / "emulators").mkdir()
    (tmp_path / "emulators" / "token").write_text("T0KEN\n")
    show = 'printf "%s %s" "${STORAGE_EMULATOR_HOST-none}" "${CLOUD_TPU_EMULATOR_HOST-none}"'
    command = [str(REPOSITORY / "deploy" / "compose" / "with_emulators"), "sh", "-c", show]
    path = {"PATH": os.environ["PATH"], "QARIB_SECRETS": str(tmp_path)}

    def shown(service: str, profile: str) -> str:
        """The variables in a service, which has those of its settings."""
        settings = compose(profile)["services"][service]
        assert settings["entrypoint"] == ["/opt/qarib/deploy/compose/with_emulators"]
        assert any(one["target"] == "/secrets/emulators" for one in settings["volumes"])
        environment = {key: value for key, value in settings["environment"].items() if "EMULATOR" in key}
        ended = subprocess.run(command, env=path | environment, capture_output=True, text=True, check=True)
        return ended.stdout

    assert shown("worker-1", "emulators") == "http://gcs:4443/T0KEN T0KEN@tpu:9470"
    assert shown("tpu", "emulators").startswith("http://gcs:4443/T0KEN ")
    assert shown("worker-1", "gcp") == "none none"
    services = compose("emulators")["services"]
    assert services["gcs-server"]["network_mode"] == "service:gcs"
    assert "-host=127.0.0.1" in services["gcs-server"]["command"]


def test_kubernetes_values() -> None:
    """Their shape, and that what they name is in the image; the chart's schema was compared by hand."""
    folder = REPOSITORY / "deploy" / "kubernetes"
    values = yaml.safe_load((folder / "values.yaml").read_text())
    names = {environment["name"] for environment in values["env"]}
    assert names >= {"QARIB_BUCKET", "QARIB_WORKSPACE", "QARIB_CONVERT_POOL"}
    (mount,) = values["volumeMounts"]
    assert mount["mountPath"] == next(e["value"] for e in values["env"] if e["name"] == "QARIB_WORKSPACE")
    claim = yaml.safe_load((folder / "storage.yaml").read_text())
    assert values["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    settings: dict[str, Any] = {}
    exec(values["airflowLocalSettings"], settings)
    assert callable(settings["pod_mutation_hook"])
    ((version, _),) = locked(REPOSITORY / "requirements" / "airflow.txt")["apache-airflow"]
    assert values["airflowVersion"] == version
    container = yaml.safe_load((folder / "init-job.yaml").read_text())["spec"]["template"]["spec"][
        "containers"
    ][0]
    assert container["image"] == ":".join(values["images"]["airflow"].values())


def test_a_pod_asks_for_what_its_step_needs(airflow_database: Path) -> None:
    from airflow.dag_processing.dagbag import DagBag
    from kubernetes.client import V1Container, V1EnvVar, V1ObjectMeta, V1Pod, V1PodSpec
    from qarib_airflow.deployment.pods import NOT_OF_TASKS, SMALL, STEPS, pod_mutation_hook

    def pod(dag_id: str, task_id: str) -> V1Pod:
        containers = [V1Container(name="base"), V1Container(name="other")]
        containers[0].env = [V1EnvVar(name=name) for name in (*NOT_OF_TASKS, "QARIB_BUCKET")]
        annotations = {"dag_id": dag_id, "task_id": task_id}
        pod = V1Pod(metadata=V1ObjectMeta(annotations=annotations), spec=V1PodSpec(containers=containers))
        pod_mutation_hook(pod)
        return pod

    first, second = pod("qarib_pretrain", "shard.convert").spec.containers
    assert first.resources.requests == STEPS["shard.convert"]
    assert first.resources.limits == {"memory": STEPS["shard.convert"]["memory"]}
    assert second.resources is None
    assert [one.name for one in first.env] == ["QARIB_BUCKET"]
    assert "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN" in NOT_OF_TASKS
    assert len(pod("another", "shard.convert").spec.containers[0].env) == len(NOT_OF_TASKS) + 1
    assert pod("qarib_pretrain", "preflight").spec.containers[0].resources.requests == SMALL
    assert pod("another", "shard.convert").spec.containers[0].resources is None
    dag = DagBag(str(REPOSITORY / "dags" / "qarib_pretrain.py")).dags["qarib_pretrain"]
    assert set(STEPS) <= set(dag.task_ids)
