"""Parameters of what is computed once: regions, spans, embeddings, the teacher, concepts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.artifacts.schema import SpanKind
from pipeline.params.section import Batch, Count, Fraction, Number, Pixels, Positive, Section, Whole, Word


class Regions(Section):
    """Detection and crops."""

    boxes: Literal["detector", "given"] = Field(
        default="detector",
        description="given: training images that were given boxes have these, and the detector looks at all others",
    )
    confidence: Fraction = Field(description="lowest score of a box")
    iou: Fraction = Field(description="overlap above which non-maximum suppression drops a box")
    image_size: Annotated[int, Field(ge=32, le=1 << 14, multiple_of=32), Number] = Field(
        description="pixels of the detector's input"
    )
    batch: Batch
    max_regions: Whole = Field(description="most boxes an image, by score x area; region 0 comes on top")
    min_side: Whole = Field(
        description="a box whose longer side has fewer pixels of the original image is no region; 0 leaves none out"
    )
    margin: Annotated[float, Field(ge=0, le=100), Number] = Field(
        description="share of a box's longer side added around it"
    )
    crop_side: Pixels = Field(description="crops are made no larger than this many pixels")
    crop_quality: Annotated[int, Field(ge=1, le=100), Number]


class Spans(Section):
    """Phrases."""

    parser: Word = Field(description="a spaCy model's name or path, or rules")
    max_phrases: Count = Field(description="most phrases a caption")


class Features(Section):
    """Frozen CLIP embeddings."""

    spans: Annotated[list[SpanKind], Field(min_length=1)] = Field(description="which spans to embed")


class Teacher(Section):
    """The meta-teacher."""

    of: Word = Field(description="whose features it reads: base, or one of teachers")
    spans: SpanKind = Field(description="what its text stream reads; tokens as published")
    inputs: Literal["regions", "image", "text"] = Field(
        description="regions and spans; or, as controls, the whole image alone and spans; or spans only"
    )
    heads: Annotated[int, Field(ge=1, le=1024), Number]
    depth: Annotated[int, Field(ge=1, le=1024), Number]
    feed_forward: Annotated[int, Field(ge=0, le=1024), Number] = Field(
        description="hidden width over dimension; 0 as published"
    )
    pool_temperature: Positive
    temperature: Positive
    caption_dropout: Annotated[float, Field(ge=0, lt=1), Number]
    epochs: Count
    batch: Annotated[int, Field(ge=2, le=1 << 16), Number]
    lr: Positive


class Language(Section):
    """A frozen language model."""

    kind: Literal["sentence_transformers", "transformers"] = Field(
        description="sentence_transformers: a model with a pooling of its own; transformers: any encoder or decoder"
    )
    name: Word = Field(description="a folder, an installed package that carries a model, or a name on the hub")
    sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = Field(
        description="of its model.safetensors; empty for a model whose weights are in several files"
    )
    layer: Annotated[int, Field(ge=-1024, le=1024), Number] = Field(
        description="whose hidden states are pooled: 0 is the input, -1 the last; for transformers"
    )
    pooling: Literal["mean", "last"] = Field(description="of the tokens that are not padding; for transformers")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(description="of its weights")


class Concepts(Section):
    """Knowledge-CLIP: language-model embeddings of captions, and the concepts they fall into."""

    enabled: bool
    model: Language
    batch: Batch = Field(description="captions of every forward")
    count: Count | Literal["auto"] = Field(description="concepts; auto: the root of the number of training captions")
    temperature: Positive = Field(description="of the soft labels")
    top: Count = Field(description="concepts of a caption that are kept")
    iterations: Count = Field(description="of K-means")
