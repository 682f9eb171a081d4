"""Parameters of the sample world and of curation."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.images import decoding
from pipeline.params.section import MOST, Count, Number, Section, Whole, Word

Drawn = Annotated[int, Field(ge=60, le=MOST), Number]


class Sample(Section):
    """Size of the sample world."""

    mscoco: Drawn
    flickr30k: Drawn
    conceptual_captions: Drawn
    test: Count = Field(description="images of Flickr30k's Karpathy test split")
    side_files: bool = Field(default=False, description="write rewrites, negatives and boxes beside the corpora")
    uncaptioned: Whole = Field(default=0, description="images without captions that MSCOCO has besides")
    base_pairs: Annotated[int, Field(ge=64, le=MOST), Number] = Field(
        description="images that the sample's own models train on"
    )
    zeroshot_val: Count = Field(description="images of each of the 100 classes, for choosing")
    zeroshot_test: Count = Field(description="images of each of the 100 classes, for the result")
    attributes_train: Count = Field(description="images with attributes that a probe learns from")
    attributes_test: Count = Field(description="images with attributes that it is measured on")


class CurateImages(Section):
    """Which images are kept; sides after EXIF rotation."""

    min_side: Count = Field(description="pixels of the shorter side")
    max_pixels: Annotated[Count, Field(le=decoding.MOST_PIXELS)] = Field(
        description="width times height in the header; more is not decoded, and nothing decodes more than the default"
    )
    max_aspect: Annotated[float, Field(ge=1, le=decoding.MOST_LONG), Number] = Field(
        description="longer side over shorter side"
    )


class CurateCaptions(Section):
    """Which captions are kept."""

    min_words: Count
    max_words: Count

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_words > self.max_words:
            raise ValueError(f"min_words is {self.min_words}, more than max_words, {self.max_words}")
        return self


class CurateDuplicates(Section):
    """What counts as the same image, and what becomes of a copy's captions."""

    radius: Annotated[int, Field(ge=0, le=20), Number] = Field(
        description="bits of 64 that two perceptual hashes may differ in before the images are compared in colour"
    )
    prefer: list[str] = Field(description="of copies the one in the first of these sources stays")
    captions: Literal["merge", "drop"] = Field(description="merge: a copy's captions go to the image that is kept")


class CurateSimilarity(Section):
    """Which captions are too unlike their images, by what `dclip similarities` has written of a first pass."""

    path: Word = Field(default="data/similarity", description="that table, or the folder that holds it")
    by: Word = Field(default="base", description="whose similarities count: base, or one of teachers")
    drop: Annotated[float, Field(ge=0, lt=1), Number] = Field(
        default=0.0, description="worst share of the captions that could train, which is dropped"
    )
    below: Annotated[float, Field(ge=-1, le=1), Number] = Field(
        default=-1.0, description="captions with a lower similarity are dropped; -1: none"
    )


class Curate(Section):
    """What is kept, and in which split."""

    test: dict[str, Literal["karpathy", "published"] | Annotated[float, Field(gt=0, lt=1), Number]] = Field(
        description="where test images are from, by source: karpathy (its split file), published (its split), a share"
    )
    validation: Annotated[float, Field(gt=0, lt=1), Number] = Field(description="share of the kept that goes to val")
    samples_per_shard: Count = Field(description="at most; shards of a split are equal in length")
    images: CurateImages
    captions: CurateCaptions
    duplicates: CurateDuplicates
    similarity: CurateSimilarity = CurateSimilarity()
