"""How many wordpieces are masked: one rule for the converter, the trainer and the estimate of a TPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from qarib_tasks.config.conversion import ConvertConfig, masked_positions
from qarib_tasks.config.presets import resolve
from qarib_tasks.config.training.job import TrainingJob
from qarib_tasks.conversion.examples import predictions_of
from qarib_tasks.runs.run import Run
from qarib_tasks.tpu.prepare import shape_of


@pytest.mark.parametrize(
    ("length", "share", "most", "expected"),
    [(64, 0.15, 20, 10), (64, 0.15, 5, 5), (8, 0.01, 20, 1), (10, 0.25, 20, 2), (14, 0.25, 20, 4)],
)
def test_share_minimum_and_cap(length: int, share: float, most: int, expected: int) -> None:
    assert masked_positions(length, share, most) == expected


@pytest.mark.parametrize("settings", [{}, {"max_predictions_per_seq": 3}, {"masked_lm_prob": 0.001}])
def test_converter_trainer_and_estimate_agree(
    settings: dict[str, float],
) -> None:
    from qarib_tasks.train.data.batches import Parser

    config = ConvertConfig(**settings)  # type: ignore[arg-type]
    most = predictions_of(config)[-1]
    job = TrainingJob(training_data="t", heldout_data="h", vocab_file="v", output="o", **settings)  # type: ignore[arg-type]
    assert Parser(job, 100).predictions == most
    run = Run(resolve({"preset": "qarib", "workspace": "/w", "convert": settings}), "d", "m")
    assert shape_of(run).predictions == most


def test_a_job_has_the_defaults_of_the_conversion_and_the_upload() -> None:
    from qarib_tasks.config.loading import fields_of
    from qarib_tasks.config.upload import UploadConfig

    job = TrainingJob(training_data="t", heldout_data="h", vocab_file="v", output=str(Path("o")))
    for config in (ConvertConfig(), UploadConfig()):
        for name in fields_of(type(config)):
            if hasattr(job, name):
                assert getattr(job, name) == getattr(config, name)
