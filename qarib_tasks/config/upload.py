"""The settings of where a run publishes; `config.py` joins them with those of the steps."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from qarib_tasks.config.identity import neither
from qarib_tasks.config.loading import STRICT

PLACE = neither("changes where files are, not what is in them")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class UploadConfig:
    """Step 4: where the run publishes, and the names of the folders in it."""

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
            pattern=r"^$|^[^/].*/$",
            title="Prefix",
            description="Folder in the bucket, ending with a slash; empty for the bucket's root.",
        ),
        PLACE,
    ] = ""
    pretraining_data: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9_.-]+/$", title="Folder of the TFRecords"),
        PLACE,
    ] = "pretraining_data/"
    bert_model: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9_.-]+/$", title="Folder of the checkpoints"),
        PLACE,
    ] = "bert_model/"
    bert_evals: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9_.-]+/$", title="Folder of the evaluations"),
        PLACE,
    ] = "bert_evals/"
    keep_local: Annotated[
        bool,
        Field(
            title="Keep local TFRecords",
            description="Off: TFRecords (770 GB of QARiB's) are removed once the bucket has them, verified.",
        ),
        neither("only removes local copies"),
    ] = True
    tolerated_missing_share: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            title="Missing shards tolerated",
            description="Share of the shards that the training may do without. The held-out part is always "
            "whole.",
        ),
        neither("says when a training may start; the shards that are missing are named in its manifest"),
    ] = 0.0
    license: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9.-]+$",
            title="Licence of the model",
            description="For the model card, as Hugging Face names it: apache-2.0, cc-by-nc-4.0, other. "
            "Which one it may be depends on the text that the model is trained on.",
        ),
        neither("is text in the model card"),
    ] = "other"
