"""The cluster as Google's API shows it: running, with an identity for the pods, and nodes of the type."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.counting import counted
from qarib_tasks.doctor.apis import GoogleApis, RefusedError
from qarib_tasks.doctor.project import not_shown
from qarib_tasks.doctor.result import Result, fault, of_error, ok, warning
from qarib_tasks.errors import ConfigError
from qarib_tasks.machines.chips import chips_of, machines_of
from qarib_tasks.tpu.gke.manifest import topology

# Google's machine types; the number of chips and `t` follow.
_MACHINES = {
    "v4": "ct4p-hightpu-",
    "v5e": "ct5lp-hightpu-",
    "v5p": "ct5p-hightpu-",
    "v6e": "ct6e-standard-",
    "tpu7x": "tpu7x-standard-",
}


def check_cluster(apis: GoogleApis, tpu: TpuConfig, member: str) -> tuple[list[Result], dict[str, Any]]:
    """Return the lines, and the cluster as the API answers it; empty if it is not shown."""
    _, project, _, location, _, name = tpu.gke_cluster.split("/")
    where = f"--location={location} --project={shlex.quote(project)}"
    try:
        found = apis.get("container", f"v1/{tpu.gke_cluster}")
    except RefusedError as error:
        if error.code == 404:
            do = f"gcloud container clusters list --project={shlex.quote(project)}; then set gke_cluster"
            return [fault("cluster", "does not exist", tpu.gke_cluster, do)], {}
        return [not_shown("cluster", error, project, member, "roles/container.developer")], {}
    results = []
    if found.get("status") == "RUNNING":
        results.append(ok("cluster", f"runs, version {found.get('currentMasterVersion', '?')}", name))
    else:
        what = f"its state is {found.get('status', 'unknown')}: {found.get('statusMessage', '')}"
        do = f"gcloud container clusters describe {name} {where}"
        results.append(fault("cluster", what.rstrip(": "), name, do))
    if not found.get("autopilot", {}).get("enabled") and not found.get("workloadIdentityConfig"):
        do = f"gcloud container clusters update {name} {where} --workload-pool={project}.svc.id.goog"
        what = "has no Workload Identity: the pods cannot act as gke_service_account"
        results.append(fault("pods' identity", what, name, do))
    return [*results, *check_nodes(found, tpu, f"--cluster={name} {where}")], found


def check_nodes(cluster: Mapping[str, Any], tpu: TpuConfig, options: str) -> list[Result]:
    """Compare the node pools with what a manifest of this type selects.

    Args:
        options: of gcloud, that name the cluster.
    """
    if cluster.get("autopilot", {}).get("enabled"):
        return [ok("nodes", "Autopilot makes them")]
    pools: Sequence[Mapping[str, Any]] = cluster.get("nodePools", ())
    try:
        fitting = [one for one in pools if _fits(one, tpu)]
        do = _create(tpu, options)
    except ConfigError as error:
        return [of_error("nodes", error)]
    if not fitting:
        if cluster.get("autoscaling", {}).get("enableNodeAutoprovisioning"):
            what = (
                f"no pool has {tpu.accelerator_type}; node auto-provisioning may make one within its limits"
            )
            return [warning("nodes", what, do=f"To be sure: {do}")]
        return [fault("nodes", f"no node pool has {tpu.accelerator_type}, {tpu.provisioning}", do=do)]
    results = [ok("nodes", f"{counted(len(fitting), 'pool')}: {', '.join(one['name'] for one in fitting)}")]
    zones = {zone for one in fitting for zone in one.get("locations", ())}
    if missing := [zone for zone in tpu.zones if zone not in zones]:
        what = f"no pool of {tpu.accelerator_type} is in {', '.join(missing)}"
        results.append(warning("nodes", what, do=f"Leave {', '.join(missing)} out of zones, or: {do}"))
    return results


def _fits(pool: Mapping[str, Any], tpu: TpuConfig) -> bool:
    number, chip = chips_of(tpu.accelerator_type)
    config = pool.get("config", {})
    if bool(config.get("spot")) != (tpu.provisioning == "spot"):
        return False
    if chip.is_gpu:
        return any(
            one.get("acceleratorType") == chip.name and int(one.get("acceleratorCount", 0)) >= number
            for one in config.get("accelerators", ())
        )
    if config.get("machineType") != _machine(tpu):
        return False
    shape = pool.get("placementPolicy", {}).get("tpuTopology", "")
    # A pool of single hosts need not say its topology.
    return shape == topology(number, chip) or (not shape and machines_of(tpu.accelerator_type) == 1)


def _machine(tpu: TpuConfig) -> str:
    number, chip = chips_of(tpu.accelerator_type)
    if chip.name not in _MACHINES:
        raise ConfigError(
            f"GKE has no nodes with {chip.name}",
            where="accelerator_type",
            do=f"Use one of {', '.join(_MACHINES)}",
        )
    return f"{_MACHINES[chip.name]}{number // machines_of(tpu.accelerator_type)}t"


def _create(tpu: TpuConfig, options: str) -> str:
    """Return the command that makes a pool of the type, which has no node until a pod needs one."""
    number, chip = chips_of(tpu.accelerator_type)
    hosts = machines_of(tpu.accelerator_type)
    if chip.is_gpu:
        nodes = f"--accelerator=type={chip.name},count={number},gpu-driver-version=latest"
    else:
        nodes = f"--machine-type={_machine(tpu)} --tpu-topology={topology(number, chip)}"
    spot = " --spot" if tpu.provisioning == "spot" else ""
    return (
        f"gcloud container node-pools create qarib-{tpu.accelerator_type} {options} "
        f"--node-locations={tpu.zones[0]} {nodes}{spot} --num-nodes=0 --enable-autoscaling "
        f"--min-nodes=0 --max-nodes={hosts}"
    )
