"""An Airflow home that is nobody's, and a Cloud Storage emulator."""

from __future__ import annotations

import gc
import json
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from qarib_tasks.train.libraries import import_quickly

if TYPE_CHECKING:
    from qarib_tasks.runs.run import Run

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(REPOSITORY / folder) for folder in ("plugins", "dags", "scripts")]

import_quickly()

# The same examples at each run, and no limit of time: what fails, fails because of the change that is tested.
# For new examples: pytest --hypothesis-profile=default
settings.load_profile("ci")

# Before anything imports Airflow.
for name in [name for name in os.environ if name.startswith(("AIRFLOW", "QARIB"))]:
    del os.environ[name]
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="qarib-airflow-")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(REPOSITORY / "dags")
os.environ["AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT"] = "300"  # a busy machine is not an error of a DAG
# A program of the tests runs for milliseconds. Without these, XLA compiles it for seconds.
os.environ["XLA_FLAGS"] = " ".join(
    (
        "--xla_backend_optimization_level=0",
        "--xla_cpu_use_fusion_emitters=false",
        "--xla_cpu_parallel_codegen_split_count=1",
        "--xla_llvm_disable_expensive_passes=true",
    )
)


# The longest first, of the fast and the slow tests, so that with several processes the last ones end at about
# the same time.
LONG = (
    "tests/end_to_end/",
    "tests/train/hosts/test_hosts.py",
    "tests/security/test_other_user.py",
    "tests/train/test_kill.py",
    "tests/corpus/test_collect_memory.py",
    "tests/train/model/test_steps.py",
    "tests/train/test_loop.py",
    "tests/scripts/test_campaign.py",
    "tests/plugins/page/test_trial.py",
    "tests/tracking/test_mlflow.py",
    "tests/train/model/test_tpu_compile.py",
    "tests/train/results/test_export.py",
    "tests/plugins/tpu/test_operators.py",
    "tests/train/test_stop.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: [not item.nodeid.startswith(file) for file in LONG])


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect no garbage while the tests import the libraries: these stay."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish() -> None:
    """Leave the libraries out of each garbage collection, too: Keras collects for each model."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    shutil.rmtree(os.environ["AIRFLOW_HOME"], ignore_errors=True)


@pytest.fixture(scope="session")
def emulator_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running Cloud Storage emulator, with its token; a folder made in its `buckets` is a bucket."""
    from ports import free_ports

    from qarib_tasks.emulators import gcs
    from qarib_tasks.emulators.access import new_token

    (port,), token = free_ports(1), new_token()
    process = gcs.start(tmp_path_factory.mktemp("emulator") / "buckets", port, token)
    yield gcs.address(port, token)
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def airflow_database() -> Path:
    """Airflow's own tables, for `dag.test()`; returns an empty copy, beside its key, for a `LocalStack`."""
    from airflow.utils.db import initdb
    from cryptography.fernet import Fernet

    initdb()
    home = Path(os.environ["AIRFLOW_HOME"])
    with closing(sqlite3.connect(home / "airflow.db")) as database:
        database.execute("VACUUM INTO ?", (str(home / "empty.db"),))
    (home / "empty.cfg").write_text(f"[core]\nfernet_key = {Fernet.generate_key().decode()}\n")
    return home / "empty.db"


@pytest.fixture
def bucket_name(
    emulator_address: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> str:
    """A new, empty bucket; the environment and the connection google_cloud_default point to the emulator."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator_address)
    extra = {"is_anonymous": True, "project": "emulator"}
    monkeypatch.setenv(
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT",
        json.dumps({"conn_type": "google_cloud_platform", "extra": extra}),
    )
    client = storage.Client(project="emulator", credentials=AnonymousCredentials())
    name = f"test-{abs(hash(request.node.nodeid)):x}"
    client.create_bucket(name)
    return name


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A named pipe: processes that hold it open are all gone when its reader sees its end."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a converted dataset. Tests copy it."""
    from tests.support.datasets import convert_all, request_published

    folder = tmp_path_factory.mktemp("converted")
    convert_all(request_published(folder))
    return folder


@pytest.fixture
def published_run(converted: Path, tmp_path: Path, bucket_name: str) -> Run:
    """The run of that dataset in a workspace of its own, published to a bucket of its own."""
    from tests.support.datasets import publish, request_published

    shutil.copytree(converted / "work", tmp_path / "work")
    run = request_published(tmp_path, bucket_name)
    publish(run)
    return run
