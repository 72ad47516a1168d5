"""The types, zones and images of the emulated Cloud TPU service, and its checks of requests.

Sizes are from Google's pages on each TPU generation. A slice has one machine (virtual machine, "host",
"worker") per four chips, except for the small v5e and v6e slices, which have one machine. The error messages
are those that users of the service have reported.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# google.rpc.Code
INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED = 3, 5, 6, 7
RESOURCE_EXHAUSTED, FAILED_PRECONDITION, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 8, 9, 12, 13, 14


class ApiError(Exception):
    """An error that the service answers.

    Args:
        code: of google.rpc.Code.
        details: messages of google.rpc.error_details_pb2.
    """

    def __init__(self, code: int, message: str, details: Iterable[Any] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = list(details)

    @property
    def status(self) -> Any:
        """The error as a google.rpc.Status."""
        from google.rpc import status_pb2  # type: ignore[import-untyped,unused-ignore]

        status = status_pb2.Status(code=self.code, message=self.message)
        for detail in self.details:
            status.details.add().Pack(detail)
        return status


@dataclass(frozen=True)
class Slice:
    """An accelerator type.

    Attributes:
        chips: number of chips in the slice.
        machines: number of virtual machines; each is a worker.
        generation: name in `AcceleratorConfig.Type`.
        bounds: chips along x, y, z on one machine, in the format of `tpu-env`.
        quota: the middle part of the quota's name.
    """

    chips: int
    machines: int
    generation: str
    topology: str
    quota: str

    @property
    def bounds(self) -> str:
        return {1: "1,1,1", 4: "2,2,1", 8: "2,4,1"}[self.chips // self.machines]


SLICES = {
    "v2-8": Slice(4, 1, "V2", "2x2", "V2"),
    "v3-8": Slice(4, 1, "V3", "2x2", "V3"),
    "v4-8": Slice(4, 1, "V4", "2x2x1", "V4"),
    "v4-16": Slice(8, 2, "V4", "2x2x2", "V4"),
    "v4-32": Slice(16, 4, "V4", "2x2x4", "V4"),
    "v5litepod-1": Slice(1, 1, "V5LITE_POD", "1x1", "V5sLitepod"),
    "v5litepod-4": Slice(4, 1, "V5LITE_POD", "2x2", "V5sLitepod"),
    "v5litepod-8": Slice(8, 1, "V5LITE_POD", "2x4", "V5sLitepod"),
    "v5litepod-16": Slice(16, 4, "V5LITE_POD", "4x4", "V5sLitepod"),
    "v5litepod-32": Slice(32, 8, "V5LITE_POD", "4x8", "V5sLitepod"),
    "v5p-8": Slice(4, 1, "V5P", "2x2x1", "V5P"),
    "v5p-16": Slice(8, 2, "V5P", "2x2x2", "V5P"),
    "v6e-1": Slice(1, 1, "V6E", "1x1", "V6E"),
    "v6e-4": Slice(4, 1, "V6E", "2x2", "V6E"),
    "v6e-8": Slice(8, 1, "V6E", "2x4", "V6E"),
    "v6e-16": Slice(16, 4, "V6E", "4x4", "V6E"),
}
_GENERATIONS = {
    "us-central1-a": ("V5LITE_POD", "V5P"),
    "us-central1-b": ("V2", "V3", "V6E"),
    "us-central1-c": ("V2", "V3"),
    "us-central2-b": ("V4",),
    "us-east1-d": ("V6E",),
    "us-east5-a": ("V5LITE_POD", "V5P", "V6E"),
    "us-east5-b": ("V6E",),
    "us-west4-a": ("V5LITE_POD",),
    "europe-west4-a": ("V2", "V3", "V6E"),
    "europe-west4-b": ("V5LITE_POD", "V5P"),
    "asia-east1-c": ("V2", "V6E"),
}
ZONES = {zone: [n for n, s in SLICES.items() if s.generation in of] for zone, of in _GENERATIONS.items()}
RUNTIME_VERSIONS = ("tpu-ubuntu2204-base", "v2-alpha-tpuv5", "v2-alpha-tpuv5-lite", "v2-alpha-tpuv6e")

_DOCUMENTED_ID = re.compile(r"[A-Za-z0-9_.~+%-]+")
# The pattern of Compute Engine's instance names. The service's limit of the length is not documented.
_STRICT_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_LABEL = (re.compile(r"[a-z][a-z0-9_-]{0,62}"), re.compile(r"[a-z0-9_-]{0,63}"))
_METADATA_KEY = re.compile(r"[a-zA-Z0-9_-]{1,127}")
METADATA_VALUE_BYTES, METADATA_BYTES = 262_144, 512 * 1024


def error_id() -> str:
    """Return a mark like the one that the service puts at the end of many of its messages."""
    return f"[EID: {random.getrandbits(60):#x}]"


def bad_request(text: str) -> ApiError:
    return ApiError(INVALID_ARGUMENT, f"Cloud TPU received a bad request. {text} {error_id()}")


def not_found(name: str) -> ApiError:
    from google.rpc import error_details_pb2  # type: ignore[import-untyped,unused-ignore]

    info = error_details_pb2.ResourceInfo(resource_name=name)
    return ApiError(NOT_FOUND, f"Resource '{name}' was not found", [info])


def stock_out(zone: str) -> ApiError:
    return ApiError(
        RESOURCE_EXHAUSTED,
        f'There is no more capacity in the zone "{zone}"; you can try in another zone where Cloud TPU Nodes '
        f"are offered (see https://cloud.google.com/tpu/docs/regions) {error_id()}",
    )


def quota_exceeded(kind: Slice, zone: str, limit: int) -> ApiError:
    from google.rpc import error_details_pb2  # type: ignore[import-untyped,unused-ignore]

    name = f"TPU{kind.quota}ServingPerProjectPerZoneForTPUAPI"
    failure = error_details_pb2.QuotaFailure()
    failure.violations.add(
        subject="project:100000000001", description=f"Quota '{name}' exhausted. Limit {limit} in zone {zone}"
    )
    text = f"Quota limit '{name}' has been exceeded. Limit: {limit} in zone {zone}."
    return ApiError(RESOURCE_EXHAUSTED, text, [failure])


def check_zone(zone: str) -> None:
    if zone not in ZONES:
        raise bad_request(f'The requested zone "{zone}" is not supported.')


def check_id(kind: str, name: str, *, strict: bool) -> None:
    pattern = _STRICT_ID if strict else _DOCUMENTED_ID
    if not pattern.fullmatch(name):
        raise bad_request(f'Invalid {kind} "{name}": it must match {pattern.pattern}.')


def check_labels(labels: Mapping[str, str]) -> None:
    for key, value in labels.items():
        if not _LABEL[0].fullmatch(key) or not _LABEL[1].fullmatch(value):
            raise bad_request(f'Invalid label "{key}={value}".')
    if len(labels) > 64:
        raise bad_request(f"{len(labels)} labels, 64 are allowed.")


def check_node(zone: str, node: Any) -> Slice:
    """Check a requested node, a `google.cloud.tpu_v2alpha1.Node`, and return its slice.

    Raises:
        ApiError: the service refuses such a node.
    """
    name = node.accelerator_type
    if name and node.accelerator_config:
        raise bad_request("Only one of accelerator_type and accelerator_config may be set.")
    if node.accelerator_config:
        generation, topology = node.accelerator_config.type_.name, node.accelerator_config.topology
        found = [n for n in ZONES[zone] if SLICES[n].generation == generation]
        name = next((n for n in found if SLICES[n].topology == topology), f"{generation} {topology}")
    name = name or "v2-8"
    if name not in ZONES[zone]:
        raise bad_request(
            f'The requested accelerator configuration for accelerator type, "{name}", could not be found in '
            f'the zonal accelerator configurations for "{zone}".; the accelerator {name} was not found in '
            f"zone {zone}"
        )
    if node.runtime_version not in RUNTIME_VERSIONS:
        raise bad_request(f'The runtime version "{node.runtime_version}" was not found in zone {zone}.')
    check_labels(node.labels)
    if len(node.description) > 512:
        raise bad_request("The description is longer than 512 characters.")
    check_metadata(node.metadata)
    node.accelerator_type = name
    return SLICES[name]


def check_metadata(metadata: Mapping[str, str]) -> None:
    for key, value in metadata.items():
        if not _METADATA_KEY.fullmatch(key):
            raise bad_request(f'Invalid metadata key "{key}".')
        if len(value.encode()) > METADATA_VALUE_BYTES:
            raise bad_request(f'The metadata value of "{key}" is longer than {METADATA_VALUE_BYTES} bytes.')
    if sum(len(key.encode()) + len(value.encode()) for key, value in metadata.items()) > METADATA_BYTES:
        raise bad_request(f"The metadata is longer than {METADATA_BYTES} bytes in all.")
