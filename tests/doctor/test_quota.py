"""Quota: which metric counts, and which of its limits."""

from __future__ import annotations

from typing import Any

import pytest

from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.doctor.apis import GoogleApis
from qarib_tasks.doctor.quota import check_addresses, check_quota, limit_in, metric_pattern
from tests.support.google.stand_in import SPOT, GoogleStandIn

ME = "user:me@example.org"
ZONES = ("us-central1-a", "us-west4-a")


@pytest.mark.parametrize(
    ("chip", "chips", "tier", "metric"),
    [
        ("v5e", 8, "spot", "tpu-v5s-litepod-serving-preemptible"),
        ("v5e", 16, "spot", "tpu-v5s-litepod-preemptible"),
        ("v5e", 4, "on_demand", "tpu-v5s-litepod-serving"),
        ("v6e", 8, "reserved", "tpu-v6e-reserved"),
        ("v4", 8, "spot", "tpu-v4s-pod-preemptible"),
        ("v5p", 4, "on_demand", "tpu-v5p"),
    ],
)
def test_the_metric_of_a_type(chip: str, chips: int, tier: str, metric: str) -> None:
    pattern = metric_pattern(chip, chips, tier)
    assert pattern.fullmatch(f"tpu.googleapis.com/{metric}")
    assert not pattern.fullmatch(f"tpu.googleapis.com/{metric}-reserved-preemptible")


def limit(unit: str, *buckets: dict[str, Any], places: list[str] | None = None) -> dict[str, Any]:
    return {"unit": unit, "quotaBuckets": list(buckets)} | ({"supportedLocations": places} if places else {})


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ([limit("1/{project}/{zone}", {"effectiveLimit": "4"})], 4),
        # The zone's own bucket goes before the default; without a number it is zero.
        ([limit("z", {"effectiveLimit": "4"}, {"dimensions": {"zone": "us-west4-a"}})], 0),
        ([limit("z", {"effectiveLimit": "4"}, {"dimensions": {"zone": "us-east1-d"}})], 4),
        # Zone and region both count.
        (
            [
                limit(
                    "z",
                    {"effectiveLimit": "-1"},
                    {"dimensions": {"zone": "us-west4-a"}, "effectiveLimit": "16"},
                ),
                limit("r", {"dimensions": {"region": "us-west4"}, "effectiveLimit": "8"}),
            ],
            8,
        ),
        ([limit("z", {"effectiveLimit": "-1"})], -1),
        ([limit("z", {"effectiveLimit": "4"}, places=["us-east1-d"])], None),
        ([], None),
    ],
)
def test_the_limit_that_holds(limits: list[dict[str, Any]], expected: int | None) -> None:
    assert limit_in({"consumerQuotaLimits": limits}, "us-west4-a") == expected


def test_each_zone_has_a_line(apis: GoogleApis, google: GoogleStandIn) -> None:
    google.world.limits = {SPOT: {"us-central1-a": 4, "us-west4-a": 8}}
    found = check_quota(apis, "my-project", "1", ME, TpuConfig(zones=ZONES))
    assert [(one.where, one.state) for one in found] == [("us-central1-a", "fault"), ("us-west4-a", "ok")]
    assert "is 4, v5litepod-8 has 8" in found[0].what


def test_cores_may_be_what_counts(apis: GoogleApis, google: GoogleStandIn) -> None:
    google.world.limits = {"tpu.googleapis.com/tpu-v5p": {"us-central1-a": 4}}
    tpu = TpuConfig(accelerator_type="v5p-8", provisioning="on_demand", zones=ZONES[:1])
    (one,) = check_quota(apis, "my-project", "1", ME, tpu)
    assert (one.state, "8 cores" in one.what) == ("warning", True)


def test_unknown_metrics_and_no_permission(apis: GoogleApis, google: GoogleStandIn) -> None:
    google.world.limits = {}
    (one,) = check_quota(apis, "my-project", "1", ME, TpuConfig())
    assert (one.state, "gcloud alpha services quota list" in one.do) == ("warning", True)
    google.world.denied.add("serviceusage.services.consumerQuotaMetrics.list")
    (one,) = check_quota(apis, "my-project", "1", ME, TpuConfig())
    assert one.do.endswith("roles/serviceusage.serviceUsageViewer")
    assert check_quota(apis, "my-project", "1", ME, TpuConfig(accelerator_type="v99-8")) == []


@pytest.mark.parametrize(
    ("kind", "addresses", "state"),
    [("v5litepod-8", (8, 8), "fault"), ("v5litepod-8", (7, 8), "ok"), ("v5litepod-16", (5, 8), "fault")],
)
def test_each_machine_needs_an_address(
    apis: GoogleApis, google: GoogleStandIn, kind: str, addresses: tuple[float, float], state: str
) -> None:
    google.world.addresses = addresses
    tpu = TpuConfig(accelerator_type=kind, zones=("us-central1-a", "us-central1-b"))
    (one,) = check_addresses(apis, "my-project", ME, tpu)
    assert (one.where, one.state) == ("us-central1", state)
    google.world.denied.add("compute.regions.get")
    assert [one.state for one in check_addresses(apis, "my-project", ME, tpu)] == ["warning"]
