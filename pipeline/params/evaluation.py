"""Parameters of the measurements."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.params.section import Count, Number, Section, Word


class Index(Section):
    """How images and captions are searched; the figures of `evaluate` are of an exact search in any case."""

    name: Literal["exact", "ivf", "hnsw", "pq"] = Field(
        description="ivf looks into some of many lists, hnsw follows a graph, pq is ivf with codes of a few bytes"
    )
    nlist: Count | None = Field(default=None, description="lists of ivf and pq; none: 4 x the root of the embeddings")
    nprobe: Count = Field(default=16, description="lists that a search looks into")
    hnsw_m: Annotated[int, Field(ge=2, le=4096), Number] = Field(default=32, description="links of an embedding")
    hnsw_ef_search: Count = Field(default=64, description="candidates that a search of the graph keeps")
    pq_m: Annotated[int, Field(ge=1, le=4096), Number] = Field(
        default=32, description="bytes of a code; divides the dimension"
    )


class Zeroshot(Section):
    """Zero-shot images by class, with val and test parts."""

    path: Word


class Evaluate(Section):
    """Intervals and examples."""

    bootstrap: Count = Field(description="bootstrap samples")
    examples: Count = Field(description="retrievals shown in the report")


class Probe(Section):
    """What is read from embeddings."""

    enabled: bool
    attributes: Word = Field(description="folder of images with attributes, as CUB-200-2011 or AWA2 is published")
    captions: Count = Field(description="training captions that the text probes learn from, at most")
    words: Count = Field(description="words that are probed, the commonest ones")
    near_misses: Count = Field(description="near-misses among which a caption is to be found")
