"""All checks of a deployment, in an order in which a later one needs what an earlier one found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qarib_tasks.doctor.apis import CredentialsError, GoogleApis, UnreachableError, stand_in
from qarib_tasks.doctor.bucket import check_bucket, check_emulated_bucket, check_machine
from qarib_tasks.doctor.cluster.kubernetes import check_kubernetes, cluster_api
from qarib_tasks.doctor.cluster.nodes import check_cluster
from qarib_tasks.doctor.connection import check_clock, check_credentials, member
from qarib_tasks.doctor.deployment import Deployment
from qarib_tasks.doctor.image import check_image
from qarib_tasks.doctor.machine import check_disk, check_versions
from qarib_tasks.doctor.network import check_network
from qarib_tasks.doctor.project import (
    COMPUTE,
    CONTAINER,
    REGISTRY,
    STORAGE,
    TPU,
    check_project,
    check_roles,
    check_service_account,
    check_services,
    default_account,
)
from qarib_tasks.doctor.quota import check_addresses, check_quota
from qarib_tasks.doctor.result import Result, is_broken, of_error, ok, warning
from qarib_tasks.doctor.tpu import check_offers
from qarib_tasks.doctor.wheelhouse import check_wheelhouse
from qarib_tasks.errors import QaribError
from qarib_tasks.tpu.wheelhouse.locks import FOLDER

# Of the machines, see `tpu.machine.startup.Launch`.
MACHINE_PYTHON = "3.12"
_OF_PROJECT = ("project", "APIs")
_OF_TPU = ("roles", "service account", "quota", "network")


def examine(deployment: Deployment) -> Iterator[Result]:
    """Every line, as soon as it is known. An error of a check is a line, too."""
    emulated = [name for name, is_one in _emulators(deployment).items() if is_one]
    if emulated:
        yield ok("emulators", ", ".join(emulated))
    lock = FOLDER / "airflow.txt"
    versions = check_versions(lock, deployment.on_tpu)
    yield from versions
    yield from check_disk(deployment.workspace, deployment.run)
    if deployment.on_tpu and not deployment.tpu.image:
        tpu_lock = Path(deployment.environment.get("QARIB_TPU_REQUIREMENTS") or FOLDER / "tpu.txt")
        yield from check_wheelhouse(
            tpu_lock, MACHINE_PYTHON, not deployment.tpu.external_ips, deployment.environment
        )
    if not is_broken(versions):
        yield from _of_google(deployment)


def _emulators(deployment: Deployment) -> dict[str, bool]:
    return {
        "Cloud TPU": deployment.emulates_tpu and deployment.on_tpu,
        "Cloud Storage": deployment.emulates_storage,
    }


def _of_google(deployment: Deployment) -> Iterator[Result]:
    try:
        base = stand_in(deployment.environment)
    except QaribError as error:
        yield of_error("connection", error)
        return
    asks_tpu = deployment.on_tpu and (bool(base) or not deployment.emulates_tpu)
    asks_storage = bool(base) or not deployment.emulates_storage
    asks_cluster = deployment.on_cluster and (bool(base) or not deployment.emulates_cluster)
    credentials, project = None, "emulator"
    if asks_tpu or asks_storage or asks_cluster:
        try:
            credentials, project, lines = _connect(deployment, base)
        except QaribError as error:
            yield of_error("credentials", error)
            return
        yield from lines
        if credentials is None:
            return
        apis = GoogleApis(credentials, base)
        asked = {"tpu": asks_tpu, "storage": asks_storage, "cluster": asks_cluster}
        yield from _ask(deployment, apis, project, member(credentials), **asked)
    if deployment.on_cluster and not asks_cluster:
        what = "not checked, because the stand-in for Kubernetes has none: project, image, cluster, nodes"
        yield warning("emulators", what, do="Unset GKE_EMULATOR_HOST to check a cluster of Google's")
        api = cluster_api({}, "", deployment.environment)
        yield from check_kubernetes(api, deployment.tpu, "serviceAccount:emulator")
    if not asks_storage:
        yield from check_emulated_bucket(deployment.bucket, deployment.prefix, deployment.storage_client())
    if deployment.on_tpu:
        if not asks_tpu:
            hidden = ", ".join(_OF_TPU if asks_storage else (*_OF_PROJECT, *_OF_TPU))
            what = f"not checked, because the emulator of Cloud TPU has none: {hidden}"
            yield warning(
                "emulators", what, do="Unset CLOUD_TPU_EMULATOR_HOST to check a project of Google's"
            )
        yield from _offers(deployment, None if deployment.emulates_tpu else credentials, project)


def _connect(deployment: Deployment, base: str) -> tuple[Any, str, list[Result]]:
    """The credentials, None if a line says why they cannot be used, their project, and the lines."""
    lines = check_clock(GoogleApis(None, base))
    if any(line.subject == "route" and line.state == "fault" for line in lines):
        left = "not checked, because Google does not answer: credentials, project, bucket"
        return None, "", [*lines, warning("connection", left)]
    try:
        credentials, project = deployment.login()
        found, _ = check_credentials(credentials)
    except CredentialsError as error:
        found, credentials, project = [of_error("credentials", error)], None, ""
    if is_broken(found):
        left = "not checked without credentials: project, bucket, TPU"
        return None, "", [*lines, *found, warning("connection", left)]
    return credentials, project, [*lines, *found]


def _ask(
    deployment: Deployment,
    apis: GoogleApis,
    project: str,
    member: str,
    *,
    tpu: bool,
    storage: bool,
    cluster: bool,
) -> Iterator[Result]:
    zones = deployment.tpu.zones if deployment.on_tpu or cluster else ()
    settings = deployment.tpu
    try:
        results, number = check_project(apis, project, member)
        yield from results
        if is_broken(results):
            return
        needed = [*([STORAGE] if storage else []), *([TPU, COMPUTE] if tpu else [])]
        needed += [CONTAINER] if cluster else []
        needed += [REGISTRY] if settings.image and (tpu or cluster) else []
        yield from check_services(apis, project, number, member, needed)
        if storage:
            yield from check_bucket(apis, deployment.bucket, project, number, member, zones)
        if tpu:
            yield from check_roles(apis, project, member)
            yield from check_service_account(apis, project, number, member, settings.service_account)
            machine = settings.service_account or default_account(number)
            if storage and deployment.bucket and machine:
                yield from check_machine(apis, deployment.bucket, machine)
            yield from check_network(apis, project, member, settings)
            if settings.external_ips:
                yield from check_addresses(apis, project, member, settings)
            yield from check_quota(apis, project, number, member, settings)
            if settings.image:
                yield from check_image(apis, settings.image, member, machine)
        if cluster:
            yield from check_image(apis, settings.image, member, "")
            results, found = check_cluster(apis, settings, member)
            yield from results
            if found:
                api = cluster_api(found, apis.token, deployment.environment)
                yield from check_kubernetes(api, settings, member)
    except UnreachableError as error:
        yield of_error("route", error)
    except QaribError as error:
        yield of_error("connection", error)


def _offers(deployment: Deployment, credentials: Any, project: str) -> Iterator[Result]:
    try:
        client = deployment.tpu_client(credentials, project)
    except QaribError as error:
        yield of_error("TPU type", error)
        return
    try:
        yield from check_offers(client, deployment.tpu)
    finally:
        client.close()
