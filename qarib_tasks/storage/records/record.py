"""The base of the schemas of our JSON records, and the types of their values."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from qarib_tasks.storage.records.read import DIGITS

Seconds = Annotated[float, Field(ge=0, lt=1e11)]
Loss = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Score = Annotated[float, Field(ge=-1, le=1)]  # a correlation can be negative
Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]  # No path has a NUL character.
Count = Annotated[int, Field(ge=0, lt=10**DIGITS)]


class Record(BaseModel):
    """The part of a record that is relied on. Other names stay as they are."""

    model_config = ConfigDict(strict=True, extra="allow", defer_build=True)
