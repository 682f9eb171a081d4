"""What a student trains on: images with captions, and everything frozen that a recipe may ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
    """Captions that are wrong for the image of the caption they were made from, or for the image they were given with.

    Attributes:
        texts: the hard negatives of every distinct caption of the pairs, or of every image.
        embeddings: the base's of all of them, unit float [h, d'], flat; None where the text tower is trained.
        by_image: which of both.
    """

    texts: Sequence[Sequence[str]]
    embeddings: Floats | None = None
    by_image: bool = False


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
class Phrases:
    """The phrases of every caption; p distinct ones in all.

    Attributes:
        texts: every one once.
        ids: int64, numbers into `texts`, of all captions one after the other.
        start: int64 [c + 1], where each caption's phrases begin in `ids`.
        embeddings: the base's, unit float [p, d'].
    """

    texts: Sequence[str]
    ids: Numbers
    start: Numbers
    embeddings: Floats

    def of(self, captions: Numbers) -> Numbers:
        """Numbers of the distinct phrases of some captions, given by their flat places; ascending."""
        return np.unique(self._ids_of(captions))

    def pairs(self, captions: Numbers) -> Numbers:
        """Which caption has which of these phrases, int64 [2, e]: places in `captions`, and in `of` them."""
        owner = np.repeat(np.arange(len(captions)), self.start[captions + 1] - self.start[captions])
        return np.stack([owner, np.unique(self._ids_of(captions), return_inverse=True)[1]])

    def _ids_of(self, captions: Numbers) -> Numbers:
        return self.ids[spread(self.start[captions], self.start[captions + 1] - self.start[captions])]


@dataclass
class Teacher:
    """What a frozen CLIP makes of all images and texts, unit float of its own width d_k.

    Attributes:
        scale: s_k, by which its similarities are multiplied.
        images: [n, d_k].
        captions: [c, d_k].
        views: of `Views`, [n * count, d_k]; None where there are none.
        crops: of `Regions`, [r - n, d_k]; None where the recipe looks at none.
        phrases: of `Phrases`, [p, d_k]; None likewise.
    """

    scale: float
    images: Floats
    captions: Floats
    views: Floats | None = None
    crops: Floats | None = None
    phrases: Floats | None = None

    def shuffled(self, seed: int) -> Teacher:
        """A control: every image, view and crop has the embedding of another one."""
        images, views, crops = (moved(rows, seed) for rows in (self.images, self.views, self.crops))
        assert images is not None, "a teacher embeds images"
        return replace(self, images=images, views=views, crops=crops)


@dataclass
class Views:
    """Augmented views of every image at the student's input size: uint8 [n * count, 3, side, side], image by image."""

    pixels: ImageRows
    count: int


def moved(rows: Floats | None, seed: int) -> Floats | None:
    """The same rows, every one at the place of another: along a random circle through all of them."""
    if rows is None:
        return None
    circle = np.random.default_rng([seed, 0]).permutation(len(rows))
    found = np.empty_like(rows)
    found[circle] = rows[np.roll(circle, 1)]
    return found


@dataclass
class Pairs:
    """Images with captions and everything frozen that a recipe may ask for; n images, c captions.

    Attributes:
        pixels: the images at the student's input size, uint8 [n, 3, side, side]; embeddings for a linear student.
        captions: the captions of every image; some may have none.
        caption_embeddings: the base's, unit float [c, d'], flat in the order of `captions`.
        image_embeddings: the base's, unit float [n, d'], or None.
        targets: the teacher's z, unit float [n, d_z] for images or [c, d_z] for pairs, or None.
        target_space: the CLIP whose features that teacher reads; None for the base.
        names: of the images, for errors; their row numbers by default.
        teachers: what frozen CLIPs make of all of it.
        originals: int64 [n], how many of each image's captions are its own, which come first; the others are rewrites,
            of which one may be drawn instead. By default all are.
        silent: int64 [n], how many rewrites of an image say nothing: where one is drawn, a caption stands in its place.

    Raises:
        ValueError: counts do not fit, or no image has a caption.
    """

    pixels: ImageRows
    captions: Sequence[Sequence[str]]
    caption_embeddings: Floats
    image_embeddings: Floats | None = None
    targets: Floats | None = None
    target_space: Teacher | None = None
    names: Sequence[str] = ()
    negatives: Negatives | None = None
    regions: Regions | None = None
    knowledge: Knowledge | None = None
    phrases: Phrases | None = None
    teachers: Sequence[Teacher] = ()
    views: Views | None = None
    originals: Numbers | None = None
    silent: Numbers | None = None
    start: Numbers = field(init=False)
    """int64 [n + 1], where each image's captions begin."""
    distinct: list[str] = field(init=False)
    """Every caption once."""
    caption_ids: Numbers = field(init=False)
    """int64 [c], places in `distinct`."""
    negative_texts: list[str] = field(init=False)
    """All hard negatives, flat."""
    negative_ids: Numbers = field(init=False)
    phrase_ids: Numbers = field(init=False)
    """int64 [p], the number of every phrase."""
    numbered: list[str] = field(init=False)
    """Every caption, hard negative and phrase once, by its number."""
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
        if (known := self.knowledge) is not None:
            found = [len(known.language), len(known.concepts), len(known.shares)]
            if found != [c] * 3:
                raise ValueError(f"knowledge of {found[0]}, {found[1]} and {found[2]} captions, expected {c}")
        if c == 0:
            raise ValueError(f"none of {n} images has a caption")
        self._check_teachers(n, c)
        self._number_negatives(number)
        phrases = [] if self.phrases is None else self.phrases.texts
        self.phrase_ids = np.array([number.setdefault(text, len(number)) for text in phrases], dtype=np.int64)
        self.numbered = list(number)

    def _check_teachers(self, n: int, c: int) -> None:
        parts = {"images": n, "captions": c, "views": None if self.views is None else n * self.views.count}
        parts["crops"] = None if self.regions is None else len(self.regions.crops)
        parts["phrases"] = None if self.phrases is None else len(self.phrases.texts)
        for number, teacher in enumerate(self.teachers):
            for name, expected in parts.items():
                rows = getattr(teacher, name)
                found = None if rows is None else len(rows)
                if expected is not None and found != expected:
                    raise ValueError(f"teacher {number} has embeddings of {found} {name}, expected {expected}")

    def _number_negatives(self, number: dict[str, int]) -> None:
        """A negative that is also a caption has the caption's number, so that it can be told where it is right."""
        given = self.negatives or Negatives([[] for _ in self.distinct])
        texts, expected = given.texts, len(self.captions if given.by_image else self.distinct)
        if len(texts) != expected:
            raise ValueError(
                f"negatives of {len(texts)} {'images' if given.by_image else 'captions'}, expected {expected}"
            )
        self.negative_texts = [text for group in texts for text in group]
        self.negative_ids = np.array([number.setdefault(t, len(number)) for t in self.negative_texts], dtype=np.int64)
        self.negative_start = np.concatenate([[0], np.cumsum([len(group) for group in texts], dtype=np.int64)])

    def negatives_of(self, rows: Numbers, ids: Numbers) -> Numbers:
        """Flat places of the hard negatives of images, or of captions, given by their numbers; equal ones once."""
        ids = np.unique(rows if self.negatives is not None and self.negatives.by_image else ids)
        places = spread(self.negative_start[ids], self.negative_start[ids + 1] - self.negative_start[ids])
        _, first = np.unique(self.negative_ids[places], return_index=True)
        return places[np.sort(first)]

    @cached_property
    def owner(self) -> Numbers:
        """int64 [c], the image of each caption."""
        return np.repeat(np.arange(len(self.captions)), np.diff(self.start))

    @property
    def heads(self) -> dict[str, int]:
        """Widths of what a student learns beside its towers: arguments of `Student`."""
        found = {}
        if self.target_space is not None:
            found["target_dimension"] = self.target_space.captions.shape[1]
        if self.knowledge is not None:
            found |= {"language_dimension": self.knowledge.language.shape[1], "concepts": self.knowledge.count}
        return found

    def drawn(self, most: int | None, rng: np.random.Generator) -> tuple[Numbers, Numbers, Numbers]:
        """For every image as many of its captions and rewrites, at random, as it has captions, or `most`.

        Returns:
            flat places of captions, image by image, int64; where each image's begin, int64 [n], and how many of them
            are drawn, int64 [n].
        """
        counts = np.diff(self.start)
        own = counts if self.originals is None else self.originals
        slots = counts if self.silent is None else counts + self.silent
        first = np.cumsum(slots) - slots
        owner = np.repeat(np.arange(len(slots)), slots)
        place = np.lexsort((rng.random(len(owner)), owner))  # a random order within every image
        if self.silent is not None:
            inside = place - first[owner]
            place = self.start[owner] + np.where(inside < counts[owner], inside, inside % np.maximum(own, 1)[owner])
        return place, first, own if most is None else np.minimum(own, most)

    def belongs(self, rows: Numbers, ids: Numbers) -> NDArray[np.bool_]:
        """bool [B, C], whether text j (by its number) is a caption of image rows[i], drawn or not."""
        counts = np.diff(self.start)[rows]
        equal = self.caption_ids[spread(self.start[rows], counts)][:, None] == ids[None, :]
        found = np.zeros((len(rows), len(ids)), dtype=np.bool_)
        captioned = np.flatnonzero(counts)
        starts = (np.cumsum(counts) - counts)[captioned]
        if len(captioned):
            found[captioned] = np.logical_or.reduceat(equal, starts, axis=0)
        return found


def spread(starts: Numbers, counts: Numbers) -> Numbers:
    """starts[0], starts[0] + 1, ... of counts[0] numbers, then those of starts[1], and so on."""
    offset = np.cumsum(counts) - counts
    return np.repeat(starts - offset, counts) + np.arange(int(counts.sum()))
