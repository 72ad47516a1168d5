"""Settings of the model's shape."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from qarib_tasks.config.identity import MODEL
from qarib_tasks.config.loading import STRICT, Settings


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModelConfig(Settings):
    """The shape of the BERT model. With the vocabulary size it forms `bert_config.json`."""

    num_hidden_layers: Annotated[int, Field(ge=1, title="Layers"), MODEL] = 12
    hidden_size: Annotated[int, Field(ge=1, title="Hidden size"), MODEL] = 768
    num_attention_heads: Annotated[int, Field(ge=1, title="Attention heads"), MODEL] = 12
    intermediate_size: Annotated[int, Field(ge=1, title="Intermediate size"), MODEL] = 3072
    max_position_embeddings: Annotated[
        int, Field(ge=8, title="Positions", description="Maximum sequence length of the model."), MODEL
    ] = 512
    type_vocab_size: Annotated[int, Field(ge=2, title="Segment types"), MODEL] = 2
    hidden_act: Annotated[Literal["gelu"], Field(title="Activation"), MODEL] = "gelu"
    hidden_dropout_prob: Annotated[float, Field(ge=0, lt=1, title="Hidden dropout"), MODEL] = 0.1
    attention_probs_dropout_prob: Annotated[float, Field(ge=0, lt=1, title="Attention dropout"), MODEL] = 0.1
    initializer_range: Annotated[float, Field(gt=0, title="Initializer range"), MODEL] = 0.02

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of "
                f"num_attention_heads {self.num_attention_heads}"
            )

    @property
    def middle_layers(self) -> range:
        """The layers that token dropping shortens: half of them, before the last one."""
        return range((self.num_hidden_layers - 1) // 2, self.num_hidden_layers - 1)
