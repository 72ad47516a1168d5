"""The project's quota of chips, for the TPU's type, in each zone."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.counting import counted
from qarib_tasks.doctor.apis import GoogleApis, RefusedError
from qarib_tasks.doctor.bucket import region_of
from qarib_tasks.doctor.project import not_shown
from qarib_tasks.doctor.result import Result, fault, ok, warning
from qarib_tasks.errors import ConfigError
from qarib_tasks.machines.chips import chips_of, machines_of

SERVICE = "tpu.googleapis.com"
_UNLIMITED = -1
_TIERS = {"spot": "-preemptible", "reserved": "-reserved", "on_demand": ""}
# Types of one machine of v5e have a quota of their own.
_METRICS = {"v5e": "v5s-litepod", "v5e alone": "v5s-litepod-serving"}


def check_quota(apis: GoogleApis, project: str, number: str, member: str, tpu: TpuConfig) -> list[Result]:
    """Compare the project's limits with the chips that the type has."""
    try:
        chips, chip = chips_of(tpu.accelerator_type)
    except ConfigError:
        return []  # The check of the type says it.
    path = f"v1beta1/projects/{number or project}/services/{SERVICE}/consumerQuotaMetrics"
    try:
        metrics = list(apis.pages("serviceusage", path, "metrics", view="FULL", pageSize=100))
    except RefusedError as error:
        role = "roles/serviceusage.serviceUsageViewer"
        return [not_shown("quota", error, project, member, role)]
    pattern = metric_pattern(chip.name, chips, tpu.provisioning)
    found = [metric for metric in metrics if pattern.fullmatch(str(metric.get("metric", "")))]
    if not found:
        what = f"not checked: the API lists no quota of {tpu.provisioning} {chip.name} chips"
        do = f"gcloud alpha services quota list --service={SERVICE} --consumer=projects/{project}"
        return [warning("quota", what, project, do)]
    # Google counts the older generations' cores, and of some either.
    cores = chips * chip.cores_per_chip
    results = []
    for zone in tpu.zones:
        limits = [limit_in(metric, zone) for metric in found]
        known = [limit for limit in limits if limit is not None]
        name = str(found[0]["metric"])
        if not known:
            results.append(warning("quota", f"not checked: {name} has no limit for this zone", zone))
            continue
        limit = _UNLIMITED if _UNLIMITED in known else max(known)
        of = f"{tpu.provisioning} {chip.name} ({name})"
        do = (
            f"Ask for {counted(cores, 'chip')} or more at https://console.cloud.google.com/iam-admin/quotas"
            f"?project={quote(project)}&metric={quote(name, safe='')}, or leave {zone} out of zones; "
            f"gcloud alpha services quota list --service={SERVICE} "
            f"--consumer={shlex.quote(f'projects/{project}')} --filter={shlex.quote(f'metric:{name}')}"
        )
        if limit != _UNLIMITED and limit < chips:
            what = f"the limit of {of} is {limit:,}, {tpu.accelerator_type} has {chips:,}"
            results.append(fault("quota", what, zone, do))
        elif limit != _UNLIMITED and limit < cores:
            what = f"the limit of {of} is {limit:,}: too low if Google counts the {cores:,} cores"
            results.append(warning("quota", what, zone, do))
        else:
            shown = "unlimited" if limit == _UNLIMITED else f"{limit:,}"
            results.append(ok("quota", f"{shown} of {of}", zone))
    return results


def check_addresses(apis: GoogleApis, project: str, member: str, tpu: TpuConfig) -> list[Result]:
    """Compare the region's free external addresses with the machines of the type."""
    subject, name = "addresses", "IN_USE_ADDRESSES"
    try:
        machines = machines_of(tpu.accelerator_type)
    except ConfigError:
        return []
    results = []
    for region in dict.fromkeys(region_of(zone) for zone in tpu.zones):
        try:
            found = apis.get("compute", f"compute/v1/projects/{project}/regions/{region}")
        except RefusedError as error:
            results.append(not_shown(subject, error, project, member, "roles/compute.networkViewer"))
            continue
        quotas = [one for one in found.get("quotas", ()) if one.get("metric") == name]
        free = int(quotas[0].get("limit", 0) - quotas[0].get("usage", 0)) if quotas else machines
        if free < machines:
            what = f"{free:,} external addresses are free, {tpu.accelerator_type} needs {machines:,}"
            do = (
                "Set external_ips: false, or ask for more at https://console.cloud.google.com/iam-admin/quotas"
                f"?project={quote(project)}&metric=compute.googleapis.com%2Fin_use_addresses; "
                f"gcloud compute regions describe {region} --project={shlex.quote(project)}"
            )
            results.append(fault(subject, what, region, do))
        else:
            results.append(ok(subject, f"at least {free:,} external addresses are free", region))
    return results


def metric_pattern(chip: str, chips: int, provisioning: str) -> re.Pattern[str]:
    """The names of the quota's metric: `tpu.googleapis.com/tpu-v5s-litepod-serving-preemptible`."""
    alone = chip == "v5e" and chips <= 8
    name = _METRICS["v5e alone"] if alone else _METRICS.get(chip, f"{chip}s?")
    pod = "" if chip == "v5e" else "(-pod)?"
    return re.compile(rf"{re.escape(SERVICE)}/tpu-{name}{pod}{_TIERS[provisioning]}")


def limit_in(metric: Mapping[str, Any], zone: str) -> int | None:
    """The smallest limit that a metric has in a zone, its region, and in all; None if it has none there."""
    found = [
        _of_limit(limit, zone, region_of(zone))
        for limit in metric.get("consumerQuotaLimits", ())
        if _applies(limit, zone)
    ]
    known = [value for value in found if value is not None]
    bounded = [value for value in known if value != _UNLIMITED]
    return min(bounded) if bounded else (_UNLIMITED if known else None)


def _applies(limit: Mapping[str, Any], zone: str) -> bool:
    places: Sequence[str] = limit.get("supportedLocations", ())
    return not places or zone in places or region_of(zone) in places


def _of_limit(limit: Mapping[str, Any], zone: str, region: str) -> int | None:
    """The bucket with the most dimensions that are this zone's. They are ordered so."""
    value = None
    for bucket in limit.get("quotaBuckets", ()):
        dimensions = bucket.get("dimensions", {})
        if dimensions.get("zone", zone) == zone and dimensions.get("region", region) == region:
            # A limit of zero is left out of the answer.
            value = int(bucket.get("effectiveLimit", 0))
    return value
