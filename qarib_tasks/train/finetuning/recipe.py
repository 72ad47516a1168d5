"""The recipe of a fine-tuning: the same for every model, so that results can be compared."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from qarib_tasks.config.training.recipe import TrainConfig


@dataclass(frozen=True)
class Recipe:
    """Attributes:
    rates: peak learning rates, of which the development texts choose one.
    warmup_share: share of the steps in which the rate rises; then it falls to 0.
    development_share: share of the training texts that are development texts.
    dropout: of the classifier, also if the model was pre-trained with another one, or none.
    length: the longest text in wordpieces; the rest is cut.
    precision, xla: see `TrainConfig`.
    """

    rates: tuple[float, ...] = (2e-5, 3e-5, 5e-5)
    batch_size: int = 32
    epochs: int = 3
    warmup_share: float = 0.1
    development_share: float = 0.1
    dropout: float = 0.1
    length: int = 128
    precision: str = TrainConfig.precision
    xla: bool = TrainConfig.xla

    def steps_of_epoch(self, texts: int) -> int:
        return -(-texts // self.batch_size)

    def training(self, texts: int) -> TrainConfig:
        """Return the settings of a training on this number of texts, at the first of the rates."""
        steps = self.epochs * self.steps_of_epoch(texts)
        return TrainConfig(
            train_batch_size=self.batch_size,
            learning_rate=self.rates[0],
            train_steps=steps,
            num_warmup_steps=int(self.warmup_share * steps),
            precision="bfloat16" if self.precision == "bfloat16" else "float32",
            xla=self.xla,
        )

    def recorded(self) -> dict[str, Any]:
        """Return what decides whether two results are of the same recipe, apart from the rates."""
        values = asdict(self)
        for name in ("rates", "xla"):
            del values[name]
        return values
