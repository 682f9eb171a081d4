"""What parameters are made of: a section that knows its names, and numbers within a range."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _no_truth(value: Any) -> Any:
    """Refuse true and false where a number is wanted; pydantic would read them as 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("expected a number, found true or false")
    return value


Number = BeforeValidator(_no_truth)
Fraction = Annotated[float, Number, Field(ge=0, le=1)]
Count = Annotated[int, Number, Field(ge=1)]
Positive = Annotated[float, Number, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Number, Field(ge=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A part of params.yaml; unknown names are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)
