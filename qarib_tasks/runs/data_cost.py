"""What the data of a run take besides its training: room in the bucket, work before the training, traffic."""

from __future__ import annotations

from dataclasses import dataclass

from qarib_tasks.config.run import RunConfig
from qarib_tasks.machines.planning.estimate import Range
from qarib_tasks.runs.disk_space import BYTES_PER_LINE, GB, dataset_size, tfrecord_bytes

# US dollars per GB and month of standard storage in a region: us-central1 and us-west4, the lowest and the
# highest of regions with TPUs in the US (cloud.google.com/storage/pricing, 2026-09-20).
STORAGE = Range(0.020, 0.023)
CACHE_BYTES = 20 << 30  # of shards that a TPU's machine keeps on its disk
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
        crossing: bytes that the training reads from the bucket in another region. Of shards that fit on the
            TPU's disk, each is read once.
        where: the bucket's location and the regions of the TPU's zones that differ from it.
        always: whether all do.
    """

    stored: float
    monthly: Range
    worker_hours: float
    crossing: float = 0.0
    where: tuple[str, tuple[str, ...]] | None = None
    always: bool = True

    def __str__(self) -> str:
        low, high = (f"{end:,.2f}" for end in self.monthly.ends)
        dollars = low if low == high else f"{low} to {high}"
        if self.monthly.high < 0.01:
            dollars = "less than 0.01"
        hours = f"{self.worker_hours:,.1f} hours"
        if self.worker_hours < 1:
            hours = f"{60 * self.worker_hours:,.1f} minutes"
        text = (
            f"The data: about {self.stored / GB:,.2f} GB in the bucket, {dollars} US dollars per month; "
            f"{hours} of one core before the training"
        )
        if self.where:
            location, regions = self.where
            places = " or ".join(regions)
            is_, use = ("is", f"a bucket in {places}, or ") if self.always else ("can be", "")
            text += (
                f". The training reads about {self.crossing / GB:,.2f} GB from a bucket in {location}; the "
                f"TPU {is_} in {places}. Google charges for traffic between regions. Use {use}zones of the "
                "bucket's region"
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
    crossing = 0.0
    if where and text:
        read = config.train.train_batch_size * config.train.train_steps
        epochs = read / dataset_size(config, text).examples
        crossing = stored * (epochs if stored > CACHE_BYTES else min(epochs, 1.0))
    always = where is not None and len(where[1]) == len(regions_of(config.tpu.zones))
    return DataCost(stored, STORAGE.times(stored / GB), seconds / 3600, crossing, where, always)


def apart(location: str | None, zones: tuple[str, ...]) -> tuple[str, tuple[str, ...]] | None:
    """Return the bucket's location and the zones' regions from which data cross regions, if there are any."""
    if not location:
        return None
    others = tuple(region for region in regions_of(zones) if region != location.lower())
    return (location, others) if others else None


def regions_of(zones: tuple[str, ...]) -> tuple[str, ...]:
    """Return the regions of zones, each once."""
    return tuple(dict.fromkeys(zone.rpartition("-")[0] for zone in zones))
