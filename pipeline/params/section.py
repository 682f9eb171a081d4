"""What parameters are made of: a section that knows its names, and numbers and words within bounds."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator


def _no_truth(value: Any) -> Any:
    """Refuse true and false where a number is wanted; pydantic would read them as 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("expected a number, found true or false")
    return value


MOST = 2**31 - 1
"""The largest whole number that FAISS, NumPy's seeds and every other library takes."""
LARGEST = 1e9

Number = BeforeValidator(_no_truth)
Fraction = Annotated[float, Field(ge=0, le=1), Number]
Count = Annotated[int, Field(ge=1, le=MOST), Number]
Whole = Annotated[int, Field(ge=0, le=MOST), Number]
Batch = Annotated[int, Field(ge=1, le=1 << 16), Number]
Pixels = Annotated[int, Field(ge=1, le=1 << 14), Number]
Threads = Annotated[int, Field(ge=1, le=1024), Number]
Positive = Annotated[float, Field(gt=0, le=LARGEST), Number]
Weight = Annotated[float, Field(ge=0, le=LARGEST), Number]
Word = Annotated[str, Field(min_length=1)]


def _words(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [word for pair in value.items() for part in pair for word in _words(part)]
    if isinstance(value, list):
        return [word for part in value for word in _words(part)]
    return [value] if isinstance(value, str) else []


class Section(BaseModel):
    """A part of params.yaml; unknown names are errors, and so are numbers that are not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="after")
    @classmethod
    def _can_be_a_path(cls, value: Any) -> Any:
        """Words are names of files, packages and models: what no file system takes is refused here."""
        for word in _words(value):
            if any(unicodedata.category(character) in ("Cc", "Cs") for character in word):
                raise ValueError(f"expected letters, found a control character in {word[:40]!r}")
            if len(word) > 1000 or any(len(part.encode()) > 255 for part in word.split("/")):
                raise ValueError(f"expected a name that can be a file's, found one of {len(word)} letters")
        return value
