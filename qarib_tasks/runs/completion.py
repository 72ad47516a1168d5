"""Completing a dataset: its manifest, and the files that are published with it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from qarib_tasks.config.identity import recorded_settings
from qarib_tasks.dataset.audit import MAX_LISTED, audit, broken, listed, repair, tolerated
from qarib_tasks.errors import InputError
from qarib_tasks.layout import REPORT, is_heldout
from qarib_tasks.runs.run import Run
from qarib_tasks.storage.bucket import object_fault
from qarib_tasks.storage.manifest import FileRecord, Manifest, manifest_of
from qarib_tasks.storage.ownership import Earlier

log = logging.getLogger(__name__)


def finish_dataset(run: Run, objects: Mapping[str, Any] | None = None) -> Manifest:
    """Write the dataset's manifest, once every shard is complete, or as many as the config requires.

    The manifest's statistics list the others as `missing_shards`. No training reads those.

    Args:
        objects: the objects below the dataset's folder in the bucket, see `audit.audit`.

    Raises:
        InputError: too many shards are missing, failed or corrupt. The error lists them with the reasons.
    """
    dataset = run.dataset
    if run.only_training:
        return require_published(run, objects)
    states = audit(dataset, objects)
    if faults := broken(states):
        do = repair(dataset.dataset_id, run.config.workspace)
        what = f"{len(faults):,} of {len(states):,} shards are incomplete or damaged: {listed(faults, '; ')}"
        if not tolerated(faults, len(states), run.config.upload.tolerated_missing_share):
            raise InputError(what, where=dataset.dataset_id, do=do)
        log.warning("%s. upload.tolerated_missing_share allows this. %s", what, do)
    missing = [state.name for state in faults]
    names = [state.name for state in states if state.name not in missing]
    totals, outputs, share = {"examples": 0, "bytes": 0}, [], 0.0
    share_name = "packing_efficiency" if run.config.convert.format == "packed" else "random_next_share"
    for name in names:
        shard = Manifest.complete(manifest_of(dataset.tfrecord(name)))
        record = shard.output(dataset.tfrecord(name).name)
        outputs.append(FileRecord(dataset.tfrecord_name(name), record.bytes, record.sha256, record.crc32c))
        if not is_heldout(name):
            totals["examples"] += shard.statistics["examples"]
            share += _share(shard.statistics, share_name) * shard.statistics["examples"]
            totals["bytes"] += record.bytes
    outputs = [FileRecord.of(path) for path in dataset.vocabulary_files] + outputs
    sections = ("collect", "vocab", "split", "convert", "model")
    config: dict[str, Any] = {key: recorded_settings(getattr(run.config, key)) for key in sections}
    config["preset"] = run.config.preset
    if run.config.extends:
        config["extends"] = run.config.extends
    if run.config.partition:
        config["partition"] = run.config.partition
    corpus = Manifest.complete(manifest_of(dataset.data))
    manifest = Manifest(
        kind="dataset",
        id=dataset.dataset_id,
        config=config,
        inputs=corpus.inputs,
        outputs=outputs,
        statistics=totals
        | {
            "shards": sum(not is_heldout(name) for name in names),
            "missing_shards": missing,
            share_name: round(share / max(totals["examples"], 1), 4),
            **({"corpus_warnings": found} if (found := corpus.statistics.get("warnings")) else {}),
        },
    )
    # The audit has verified every file, so nothing large is read again.
    earlier = Earlier.read(dataset.manifest)
    if earlier.manifest and _same_but_for_its_time(earlier.manifest, manifest):
        return earlier.manifest
    earlier.keep_damaged()
    manifest.write(dataset.manifest)
    return manifest


def _share(statistics: Mapping[str, Any], name: str) -> float:
    if name == "random_next_share":
        return float(statistics["next_sentence_shares"]["random"])
    return float(statistics[name])


def _same_but_for_its_time(one: Manifest, other: Manifest) -> bool:
    texts = [
        json.dumps(asdict(replace(manifest, made_at="", made_by="")), sort_keys=True)
        for manifest in (one, other)
    ]
    return texts[0] == texts[1]


def require_published(run: Run, objects: Mapping[str, Any] | None) -> Manifest:
    """Check the bucket against the manifest of a complete dataset, and return the manifest.

    Raises:
        InputError: objects are missing or damaged. The error lists them.
    """
    manifest = Manifest.complete(run.dataset.manifest)
    if objects is None:
        return manifest
    found = [object_fault(objects, record.name, record.checksums) for record in manifest.outputs]
    if faults := [fault for fault in found if fault]:
        raise InputError(
            f"{len(faults):,} objects are missing or damaged: {'; '.join(faults[:MAX_LISTED])}",
            where=f"{run.address}{run.dataset.name}",
            do=repair(run.dataset_id, run.config.workspace),
        )
    return manifest


def dataset_files(run: Run) -> list[Path]:
    """Return the files of a dataset to publish in addition to its shards, with the manifest last."""
    dataset, corpus = run.dataset, manifest_of(run.dataset.data)
    return [
        *(
            dataset.root / record.name
            for record in Manifest.read(dataset.manifest).outputs
            if "/" not in record.name
        ),
        manifest_of(dataset.vocab),
        dataset.sources,
        *(
            dataset.root / record.name
            for record in Manifest.complete(corpus).outputs
            if record.name.endswith(REPORT)
        ),
        dataset.config,
        corpus,
        dataset.manifest,
    ]
