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


class Probe(Section):
    """What is read from embeddings."""

    enabled: bool
    attributes: str = Field(description="folder of pictures with attributes, as CUB-200-2011 or AWA2 is published")
    captions: Count = Field(description="training captions that the text probes learn from, at most")
    words: Count = Field(description="words that are probed, the commonest ones")
    near: Count = Field(description="near-misses among which a caption is to be found")
