"""Parameters of the corpora, the sample world and curation."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from pipeline import sources
from pipeline.images import decoding
from pipeline.params.section import MOST, Count, Number, Section, Whole, Word


def _known_corpus(name: str) -> str:
    if name not in sources.CORPORA:
        raise ValueError(f"there is no corpus {name!r}; expected {', '.join(map(repr, sources.CORPORA))}")
    return name


Drawn = Annotated[int, Field(ge=60, le=MOST), Number]
Corpus = Annotated[str, AfterValidator(_known_corpus)]


class Columns(Section):
    """Side files of a corpus, below its folder, joined by the id or the key of its images; for training alone."""

    rewrites: list[Word] = Field(
        default=[], description="captions in other words, of which one may stand for a caption"
    )
    negatives: list[Word] = Field(default=[], description="captions that are wrong for their image")
    boxes: list[Word] = Field(default=[], description="boxes with a phrase and a score, or COCO's annotations")


class Sources(Section):
    """Which corpora, and from where."""

    sample: list[Literal["world"]] = Field(description="[world] to generate the sample world, [] for real corpora")
    path: Word = Field(description="folder that holds a folder for every corpus named in quota")
    quota: dict[Corpus, Count] = Field(
        description="images of train and val together, by corpus; a corpus that is not named is not read"
    )
    columns: dict[Corpus, Columns] = Field(default={}, description="side files, by corpus")
    captions: dict[Corpus, Literal["required", "optional"]] = Field(
        default={},
        description="optional: images without a caption train, too; by corpus, required by default",
    )

    @model_validator(mode="after")
    def _read(self) -> Self:
        for name in (*self.columns, *self.captions):
            if name not in self.quota:
                raise ValueError(f"sources.columns or sources.captions names {name}, which sources.quota does not read")
        return self


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
    prefer: list[Corpus] = Field(description="of copies the one in the first of these corpora stays")
    captions: Literal["merge", "drop"] = Field(description="merge: a copy's captions go to the image that is kept")


class Curate(Section):
    """What is kept, and in which split."""

    test: dict[str, Literal["karpathy"] | Annotated[float, Field(gt=0, lt=1), Number]] = Field(
        description="where test images come from: by corpus, karpathy (its split file) or a fraction of its images"
    )
    validation: Annotated[float, Field(gt=0, lt=1), Number] = Field(description="share of the kept that goes to val")
    samples_per_shard: Count = Field(description="at most; shards of a split are equal in length")
    images: CurateImages
    captions: CurateCaptions
    duplicates: CurateDuplicates
