"""Whether the zones offer the TPU's type and a runtime version that fits it."""

from __future__ import annotations

import shlex

from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.doctor.result import Result, fault, of_error, ok, warning
from qarib_tasks.errors import ConfigError
from qarib_tasks.machines.chips import chips_of
from qarib_tasks.tpu.api.client import CloudTpuClient
from qarib_tasks.tpu.api.errors import TpuError

# That Google's pages name for a generation.
_OLDER = "tpu-ubuntu2204-base"
RUNTIMES = {
    **{"v2": _OLDER, "v3": _OLDER, "v4": _OLDER},
    **{"v5e": "v2-alpha-tpuv5-lite", "v5p": "v2-alpha-tpuv5", "v6e": "v2-alpha-tpuv6e"},
}


def check_offers(client: CloudTpuClient, tpu: TpuConfig) -> list[Result]:
    """Check each zone."""
    try:
        chip = chips_of(tpu.accelerator_type)[1].name
    except ConfigError as error:
        return [of_error("TPU type", error)]
    results: list[Result] = []
    for zone in tpu.zones:
        try:
            types, versions = client.accelerator_types(zone), client.runtime_versions(zone)
        except TpuError as error:
            results.append(of_error("TPU type", error))
            continue
        results += [_type(zone, tpu.accelerator_type, types, client.project)]
        results += [_runtime(zone, chip, tpu.runtime_version, versions, client.project)]
    return results


def _type(zone: str, wanted: str, offered: list[str], project: str) -> Result:
    if wanted in offered:
        return ok("TPU type", f"offers {wanted}", zone)
    do = f"Leave {zone} out of zones. {_list('accelerator-types', zone, project)}"
    return fault("TPU type", f"has no {wanted}, but {_some(offered)}", zone, do)


def _runtime(zone: str, chip: str, wanted: str, offered: list[str], project: str) -> Result:
    fitting = RUNTIMES.get(chip, "")
    do = f"Set runtime_version: {fitting or 'one of these'}. {_list('versions', zone, project)}"
    if wanted not in offered:
        return fault("runtime version", f"has no {wanted}, but {_some(offered)}", zone, do)
    if wanted == fitting:
        return ok("runtime version", f"has {wanted}", zone)
    if wanted in RUNTIMES.values():
        others = " and ".join(name for name, version in RUNTIMES.items() if version == wanted)
        return fault("runtime version", f"{wanted} is for {others}, not for {chip}", zone, do)
    return warning("runtime version", f"has {wanted}; Google's pages name {fitting} for {chip}", zone, do)


def _list(what: str, zone: str, project: str) -> str:
    return f"gcloud compute tpus {what} list --zone={shlex.quote(zone)} --project={shlex.quote(project)}"


def _some(names: list[str]) -> str:
    return ", ".join(sorted(names)[:12]) or "nothing"
