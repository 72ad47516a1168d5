"""Settings of step 4: the bucket, and the folders in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from qarib_tasks.config.identity import neither
from qarib_tasks.config.loading import STRICT, Settings
from qarib_tasks.layout import (
    BERT_EVALS,
    BERT_MODEL,
    CACHE,
    EXPORT,
    HELDOUT,
    LAUNCH,
    PRETRAINING_DATA,
    SHARDS,
    START_FROM,
    TASKS,
    TPU,
)

PREFIX = r"^$|^[^/].*/$"
# Of a folder that a run chooses: a plain name.
CHOSEN = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*/$"
# All other folders of a dataset and a model, and how their files' names end.
_OTHER_FOLDERS = (HELDOUT, SHARDS, *(f"{name}/" for name in (EXPORT, TASKS, CACHE, LAUNCH, TPU, START_FROM)))
_FILES = re.compile(r"\.(json|jsonl|yaml|txt|html|md|log|lease|lock|sources|tmp)/$", re.IGNORECASE)
PLACE = neither("changes where files are, not what is in them")


def chosen_faults(names: Mapping[str, str]) -> list[str]:
    """What is wrong with the folders that a run chooses, by the names of their settings."""
    faults = [
        f"{setting} {name!r} is the name of another folder or file of a dataset or model"
        for setting, name in names.items()
        if name.lower() in _OTHER_FOLDERS or _FILES.search(name)
    ]
    if len(set(names.values())) < len(names):
        faults.append(f"{', '.join(names)} must be different folders")
    return faults


def plain_prefix(prefix: str) -> str:
    """Return a prefix that names the same folder for every program.

    Raises:
        ValueError: it has `.` or `..` as a part, or a control character.
    """
    if {".", ".."} & set(prefix.split("/")) or any(ord(letter) < 32 for letter in prefix):
        raise ValueError(f"must be plain names with slashes between them (got {prefix!r})")
    return prefix


@dataclass(frozen=True, kw_only=True, config=STRICT)
class UploadConfig(Settings):
    """Step 4: where the run publishes, and the names of its folders."""

    bucket: Annotated[
        str,
        Field(
            pattern=r"^$|^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$",
            title="Bucket",
            description="Name of the bucket, without gs://.",
        ),
        PLACE,
    ] = ""
    prefix: Annotated[
        str,
        Field(
            pattern=PREFIX,
            title="Prefix",
            description="Folder in the bucket, ending with a slash. Empty: the root of the bucket.",
        ),
        AfterValidator(plain_prefix),
        PLACE,
    ] = ""
    pretraining_data: Annotated[
        str,
        Field(pattern=CHOSEN, title="TFRecords folder"),
        PLACE,
    ] = PRETRAINING_DATA
    bert_model: Annotated[
        str,
        Field(pattern=CHOSEN, title="Checkpoints folder"),
        PLACE,
    ] = BERT_MODEL
    bert_evals: Annotated[
        str,
        Field(pattern=CHOSEN, title="Evaluations folder"),
        PLACE,
    ] = BERT_EVALS
    keep_local: Annotated[
        bool,
        Field(
            title="Keep local TFRecords",
            description="If off, TFRecords (770 GB for QARiB) are removed after a verified upload.",
        ),
        neither("only removes local copies"),
    ] = True
    tolerated_missing_share: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            title="Missing shards allowed",
            description="Share of the shards that may be missing when training starts. The held-out part "
            "must "
            "always be complete.",
        ),
        neither("decides when training may start; the manifest names the missing shards"),
    ] = 0.0
    license: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9.-]+$",
            title="Model license",
            description="License in the model card, as Hugging Face names it: apache-2.0, cc-by-nc-4.0, "
            "other. "
            "The text that you train on decides which licenses are possible.",
        ),
        neither("is text in the model card"),
    ] = "other"

    def __post_init__(self) -> None:
        names = ("pretraining_data", "bert_model", "bert_evals")
        if faults := chosen_faults({name: getattr(self, name) for name in names}):
            raise ValueError("; ".join(faults))
