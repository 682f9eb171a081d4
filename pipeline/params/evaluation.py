"""Parameters of the measurements."""

from __future__ import annotations

from pydantic import Field

from pipeline.params.section import Count, Section


class Zeroshot(Section):
    """Zero-shot pictures by class, with val and test parts."""

    path: str


class Evaluate(Section):
    """Intervals and examples."""

    bootstrap: Count = Field(description="bootstrap samples")
    examples: Count = Field(description="retrievals shown in the report")
