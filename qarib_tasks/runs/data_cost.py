"""What the data of a run take besides its training: room in the bucket, work before the training, traffic."""

from __future__ import annotations

from dataclasses import dataclass

from qarib_tasks.config.run import RunConfig
from qarib_tasks.machines.planning.estimate import Range
from qarib_tasks.runs.disk_space import BYTES_PER_LINE, GB, tfrecord_bytes

# US dollars per GB and month of standard storage in a region: us-central1 and us-west4, the lowest and the
# highest of regions with TPUs in the US (cloud.google.com/storage/pricing, 2026-09-20).
STORAGE = Range(0.020, 0.023)
# Per core, see docs/scaling.md: collecting and splitting, bytes per second; converting at dupe_factor 5.
COLLECT, SPLIT = 12e6, 190e6
CONVERT = 7.2 / 512_000  # seconds per line


@dataclass(frozen=True)
class DataCost:
    """Estimates, within about a factor of three for usual text.

    Attributes:
        stored: bytes in the bucket.
        monthly: US dollars per month for these.
        worker_hours: of one core, before the training.
        crossing: bytes that the training reads from the bucket in another region.
        where: the bucket's location and the TPU's region, if they differ.
    """

    stored: float
    monthly: Range
    worker_hours: float
    crossing: float = 0.0
    where: tuple[str, str] | None = None

    def __str__(self) -> str:
        low, high = (f"{end:,.2f}" for end in self.monthly.ends)
        text = (
            f"The data: about {self.stored / GB:,.2f} GB in the bucket, "
            f"{low if low == high else f'{low} to {high}'} US dollars per month; "
            f"{self.worker_hours:,.1f} hours of one core before the training"
        )
        if self.where:
            text += (
                f". The training reads about {self.crossing / GB:,.2f} GB from a bucket in {self.where[0]}; "
                f"the TPU is in {self.where[1]}. Google charges for traffic between regions. Use a bucket in "
                f"{self.where[1]}, or zones of the bucket's region"
            )
        return text


def data_cost(config: RunConfig, text: float, location: str | None = None) -> DataCost:
    """Estimate what the data of a run take.

    Args:
        text: bytes of the sources' text, 0 for a dataset that exists.
        location: of the bucket, as Google gives it: US-CENTRAL1, or US for a multi-region; None if not known.
    """
    stored = tfrecord_bytes(config, text)
    lines = text / BYTES_PER_LINE
    seconds = text / COLLECT + text / SPLIT + lines * CONVERT * config.convert.dupe_factor / 5
    where = None if config.tpu.machine == "local" else apart(location, config.tpu.zones)
    return DataCost(stored, STORAGE.times(stored / GB), seconds / 3600, stored if where else 0.0, where)


def apart(location: str | None, zones: tuple[str, ...]) -> tuple[str, str] | None:
    """Return the bucket's location and the first zone's region, if data between them cross regions."""
    if not location or not zones:
        return None
    region, place = zones[0].rpartition("-")[0], location.lower()
    return None if place == region else (location, region)
