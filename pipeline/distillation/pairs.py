"""What a student trains on: images with captions, and everything frozen that a recipe may ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Numbers = NDArray[np.int64]


class ImageRows(Protocol):
    """The image tower's input by row: uint8 pixels [n, 3, side, side], or cached float embeddings [n, d]."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Numbers, /) -> NDArray: ...


@dataclass
class Negatives:
    """Captions that are wrong for the image of the caption they were made from.

    Attributes:
        texts: for every distinct caption of the pairs, its hard negatives.
        embeddings: the base's of all of them, unit float [h, d'], flat; None where the text tower is trained.
    """

    texts: Sequence[Sequence[str]]
    embeddings: Floats | None = None


@dataclass
class Regions:
    """Regions of every image, at the student's input size; r in all. The first of an image is the image itself.

    Attributes:
        crops: all others, uint8 [r - n, 3, side, side].
        embeddings: the base's of all, unit float [r, d'].
        start: int64 [n + 1], where each image's regions begin.
    """

    crops: ImageRows
    embeddings: Floats
    start: Numbers

    def draw(self, rows: Numbers, rng: np.random.Generator) -> Numbers:
        """A region of each of these images, int64 [B]: a crop, every one as likely, or the image if it has none."""
        crops = self.start[rows + 1] - self.start[rows] - 1
        place: Numbers = np.minimum(crops, 1) + (rng.random(len(rows)) * crops).astype(np.int64)
        return self.start[rows] + place

    def pixels(self, images: NDArray[np.uint8], rows: Numbers, drawn: Numbers) -> NDArray[np.uint8]:
        """uint8 [B, 3, side, side] of the regions drawn of these rows, whose own pixels are `images`."""
        found = images.copy()
        cut = drawn > self.start[rows]
        found[cut] = self.crops[(drawn - rows - 1)[cut]]
        return found


@dataclass
class Knowledge:
    """What the concepts stage says of every caption.

    Attributes:
        language: the language model's embeddings, unit float [c, d_L].
        concepts: each caption's concepts, int [c, m].
        shares: of them, float [c, m].
        count: K, how many concepts there are.
    """

    language: Floats
    concepts: NDArray[np.int32]
    shares: Floats
    count: int


@dataclass
class Pairs:
    """Images with captions and everything frozen that a recipe may ask for; n images, c captions.

    Attributes:
        pixels: the images at the student's input size, uint8 [n, 3, side, side]; embeddings for a linear student.
        captions: the captions of every image, one at least.
        caption_embeddings: the base's, unit float [c, d'], flat in the order of `captions`.
        image_embeddings: the base's, unit float [n, d'], or None.
        targets: the teacher's z, unit float [n, d'] for images or [c, d'] for pairs, or None.
        names: of the images, for errors; their row numbers by default.
        negatives: hard negatives of `distinct`, or None.
        regions: regions of the images, or None.
        knowledge: of the captions, or None.

    Raises:
        ValueError: counts do not fit, or an image has no caption.
    """

    pixels: ImageRows
    captions: Sequence[Sequence[str]]
    caption_embeddings: Floats
    image_embeddings: Floats | None = None
    targets: Floats | None = None
    names: Sequence[str] = ()
    negatives: Negatives | None = None
    regions: Regions | None = None
    knowledge: Knowledge | None = None
    start: Numbers = field(init=False)
    """int64 [n + 1], where each image's captions begin."""
    distinct: list[str] = field(init=False)
    """Every caption once."""
    caption_ids: Numbers = field(init=False)
    """int64 [c], places in `distinct`."""
    negative_texts: list[str] = field(init=False)
    """All hard negatives, flat."""
    negative_ids: Numbers = field(init=False)
    numbered: list[str] = field(init=False)
    """Every caption and hard negative once, by its number."""
    negative_start: Numbers = field(init=False)

    def __post_init__(self) -> None:
        counts = np.array([len(texts) for texts in self.captions], dtype=np.int64)
        self.start = np.concatenate([[0], np.cumsum(counts)])
        number: dict[str, int] = {}
        flat = [text for texts in self.captions for text in texts]
        self.caption_ids = np.array([number.setdefault(text, len(number)) for text in flat], dtype=np.int64)
        self.distinct = list(number)
        n, c = len(counts), len(flat)
        if len(self.pixels) != n or len(self.caption_embeddings) != c:
            raise ValueError(
                f"{len(self.pixels)} images and {len(self.caption_embeddings)} caption embeddings, expected {n} and {c}"
            )
        if self.image_embeddings is not None and len(self.image_embeddings) != n:
            raise ValueError(f"{len(self.image_embeddings)} image embeddings, expected {n}")
        if self.targets is not None and len(self.targets) not in (n, c):
            raise ValueError(f"{len(self.targets)} targets, expected {n} of images or {c} of captions")
        if (given := self.regions) is not None:
            r = int(given.start[-1])
            if (len(given.start), len(given.embeddings), len(given.crops)) != (n + 1, r, r - n):
                raise ValueError(
                    f"regions of {len(given.start) - 1} images with {len(given.embeddings)} embeddings and "
                    f"{len(given.crops)} crops, expected {n}, {r} and {r - n}"
                )
        if (of := self.knowledge) is not None and not len(of.language) == len(of.concepts) == len(of.shares) == c:
            raise ValueError(
                f"knowledge of {len(of.language)}, {len(of.concepts)} and {len(of.shares)} captions, expected {c}"
            )
        if not counts.all():
            raise ValueError(f"image {int(np.flatnonzero(counts == 0)[0])} has no caption")
        self._number_negatives(number)

    def _number_negatives(self, number: dict[str, int]) -> None:
        """A negative that is also a caption has the caption's number, so that it can be told where it is right."""
        texts: Sequence[Sequence[str]] = [[] for _ in self.distinct] if self.negatives is None else self.negatives.texts
        if len(texts) != len(self.distinct):
            raise ValueError(f"negatives of {len(texts)} captions, expected {len(self.distinct)}")
        self.negative_texts = [text for own in texts for text in own]
        self.negative_ids = np.array([number.setdefault(t, len(number)) for t in self.negative_texts], dtype=np.int64)
        self.numbered = list(number)
        self.negative_start = np.concatenate([[0], np.cumsum([len(own) for own in texts], dtype=np.int64)])

    def negatives_of(self, ids: Numbers) -> Numbers:
        """Flat places of the hard negatives of captions, given by their numbers; equal ones once."""
        own = np.unique(ids)
        places = spread(self.negative_start[own], self.negative_start[own + 1] - self.negative_start[own])
        _, first = np.unique(self.negative_ids[places], return_index=True)
        return places[np.sort(first)]

    @cached_property
    def owner(self) -> Numbers:
        """int64 [c], the image of each caption."""
        return np.repeat(np.arange(len(self.captions)), np.diff(self.start))

    @property
    def heads(self) -> dict[str, int]:
        """Widths of what a student learns beside its towers from the knowledge: arguments of `Student`."""
        known = self.knowledge
        return {} if known is None else {"language_dimension": known.language.shape[1], "concepts": known.count}

    def belongs(self, rows: Numbers, ids: Numbers) -> NDArray[np.bool_]:
        """bool [B, C], whether text j (by its number) is a caption of image rows[i], drawn or not."""
        own = spread(self.start[rows], self.start[rows + 1] - self.start[rows])
        starts = np.concatenate([[0], np.cumsum(np.diff(self.start)[rows])[:-1]])
        found: NDArray[np.bool_] = np.logical_or.reduceat(
            self.caption_ids[own][:, None] == ids[None, :], starts, axis=0
        )
        return found


def spread(starts: Numbers, counts: Numbers) -> Numbers:
    """starts[0], starts[0] + 1, ... of counts[0] numbers, then those of starts[1], and so on."""
    offset = np.cumsum(counts) - counts
    return np.repeat(starts - offset, counts) + np.arange(int(counts.sum()))
