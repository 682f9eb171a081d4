"""What a student trains on, and its batches in a fixed order: the same for the same seed, from any step on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.machine.ahead import ahead
from pipeline.training.distributed import Group

Floats = NDArray[np.floating]
Numbers = NDArray[np.int64]


class Pictures(Protocol):
    """The image tower's input by row: uint8 pixels [n, 3, side, side], or cached float vectors [n, d]."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Numbers, /) -> NDArray: ...


@dataclass
class Negatives:
    """Captions that are wrong for the picture of the caption they were made from.

    Attributes:
        texts: for every distinct caption of the pairs, its hard negatives.
        vectors: the base's of all of them, unit float [h, d'], flat; None where the text tower is trained.
    """

    texts: Sequence[Sequence[str]]
    vectors: Floats | None = None


@dataclass
class Regions:
    """Regions of every picture, at the student's input size; r in all. The first of a picture is the picture itself.

    Attributes:
        crops: all others, uint8 [r - n, 3, side, side].
        vectors: the base's of all, unit float [r, d'].
        start: int64 [n + 1], where each picture's regions begin.
    """

    crops: Pictures
    vectors: Floats
    start: Numbers

    def draw(self, rows: Numbers, rng: np.random.Generator) -> Numbers:
        """A region of each of these pictures, int64 [B]: a crop, every one as likely, or the picture if it has none."""
        crops = self.start[rows + 1] - self.start[rows] - 1
        place: Numbers = np.minimum(crops, 1) + (rng.random(len(rows)) * crops).astype(np.int64)
        return self.start[rows] + place

    def pixels(self, pictures: NDArray[np.uint8], rows: Numbers, drawn: Numbers) -> NDArray[np.uint8]:
        """uint8 [B, 3, side, side] of the regions drawn of these rows, whose own pixels are `pictures`."""
        found = pictures.copy()
        cut = drawn > self.start[rows]
        found[cut] = self.crops[(drawn - rows - 1)[cut]]
        return found


@dataclass
class Knowledge:
    """What the concepts stage says of every caption.

    Attributes:
        language: the language model's vectors, unit float [c, d_L].
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
    """Pictures with captions and everything frozen that a recipe may ask for; n pictures, c captions.

    Attributes:
        pixels: the pictures at the student's input size, uint8 [n, 3, side, side]; vectors for a linear student.
        captions: the captions of every picture, one at least.
        caption_vectors: the base's, unit float [c, d'], flat in the order of `captions`.
        image_vectors: the base's, unit float [n, d'], or None.
        targets: the teacher's z, unit float [n, d'] for images or [c, d'] for pairs, or None.
        names: of the pictures, for errors; their row numbers by default.
        negatives: hard negatives of `distinct`, or None.
        regions: regions of the pictures, or None.
        knowledge: of the captions, or None.

    Raises:
        ValueError: counts do not fit, or a picture has no caption.
    """

    pixels: Pictures
    captions: Sequence[Sequence[str]]
    caption_vectors: Floats
    image_vectors: Floats | None = None
    targets: Floats | None = None
    names: Sequence[str] = ()
    negatives: Negatives | None = None
    regions: Regions | None = None
    knowledge: Knowledge | None = None
    start: Numbers = field(init=False)
    """int64 [n + 1], where each picture's captions begin."""
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
        if len(self.pixels) != n or len(self.caption_vectors) != c:
            raise ValueError(
                f"{len(self.pixels)} pictures and {len(self.caption_vectors)} caption vectors, expected {n} and {c}"
            )
        if self.image_vectors is not None and len(self.image_vectors) != n:
            raise ValueError(f"{len(self.image_vectors)} image vectors, expected {n}")
        if self.targets is not None and len(self.targets) not in (n, c):
            raise ValueError(f"{len(self.targets)} targets, expected {n} of pictures or {c} of captions")
        if (given := self.regions) is not None:
            r = int(given.start[-1])
            if (len(given.start), len(given.vectors), len(given.crops)) != (n + 1, r, r - n):
                raise ValueError(
                    f"regions of {len(given.start) - 1} pictures with {len(given.vectors)} vectors and "
                    f"{len(given.crops)} crops, expected {n}, {r} and {r - n}"
                )
        if (of := self.knowledge) is not None and not len(of.language) == len(of.concepts) == len(of.shares) == c:
            raise ValueError(
                f"knowledge of {len(of.language)}, {len(of.concepts)} and {len(of.shares)} captions, expected {c}"
            )
        if not counts.all():
            raise ValueError(f"picture {int(np.flatnonzero(counts == 0)[0])} has no caption")
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
        """int64 [c], the picture of each caption."""
        return np.repeat(np.arange(len(self.captions)), np.diff(self.start))

    def belongs(self, rows: Numbers, ids: Numbers) -> NDArray[np.bool_]:
        """bool [B, C], whether text j (by its number) is a caption of picture rows[i], drawn or not."""
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


def epoch_order(pairs: Pairs, batch: int, captions: int | None, seed: int, epoch: int) -> list[tuple[Numbers, Numbers]]:
    """An epoch's batches: picture rows [batch], and which of their captions, flat, ordered by picture.

    Args:
        pairs: whose pictures, each once.
        batch: pictures a batch; what is left over is in other epochs.
        captions: how many captions of each picture are drawn, at most; None for all.
        seed: of the order, with `epoch`.
        epoch: from 1.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(pairs.captions))
    counts = np.diff(pairs.start)
    place = np.lexsort((rng.random(len(pairs.caption_ids)), pairs.owner))  # a random order within every picture
    taken = counts if captions is None else np.minimum(counts, captions)
    batches = (order[at : at + batch] for at in range(0, len(order) - batch + 1, batch))
    return [(rows, place[spread(pairs.start[rows], taken[rows])]) for rows in batches]


@dataclass
class Batch:
    """B pictures and C captions of theirs; pixels and tokens are this process's part, all else is the whole batch's.

    Attributes:
        names: of the pictures.
        pixels: [B / processes, ...] of the pictures, then, where there are regions, as many of those.
        tokens: int64 [T / processes, context] of the distinct texts and negatives; None where the text is frozen.
        text_places: int64 [C], each caption's row of the embedded tokens.
        negative_places: int64 [H], each hard negative's; H is 0 where there are none.
        owner: int64 [C], each caption's picture in the batch.
        positives: bool [B, C].
        base_text: the base's f_T, float32 [C, d'].
        base_image: the base's f_I, float32 [B, d'], or None.
        target: the teacher's z, float32 [B, d'] or [C, d'], or None.
        negatives: the base's f_T of hard negatives, [H, d'], or None.
        allowed: bool [B, H], false where a negative is a caption of the picture; None without negatives.
        noise: float32 [B, d'], N(0, 1/d'), the same in every process.
        base_region: the base's vector of a region of each picture, float32 [B, d'], or None.
        language: the language model's vectors, float32 [C, d_L], or None.
        concepts: int64 [C, m], or None.
        shares: float32 [C, m], or None.
    """

    names: list[str]
    pixels: Tensor
    tokens: Tensor | None
    text_places: Tensor
    negative_places: Tensor
    owner: Tensor
    positives: Tensor
    base_text: Tensor
    base_image: Tensor | None
    target: Tensor | None
    negatives: Tensor | None
    allowed: Tensor | None
    noise: Tensor
    base_region: Tensor | None
    language: Tensor | None
    concepts: Tensor | None
    shares: Tensor | None

    def to(self, device: str) -> Batch:
        """The same batch on a device."""
        return self._each(lambda value: value.to(device, non_blocking=True))

    def pinned(self) -> Batch:
        """The same batch in memory that a GPU can read while it computes."""
        return self._each(lambda value: value.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        changed: dict[str, Any] = {name: change(v) for name, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **changed)


def _float(values: Floats, rows: Numbers) -> Tensor:
    return torch.from_numpy(values[rows].astype(np.float32))


@dataclass(frozen=True)
class Loader:
    """Batches of pairs, gathered by threads while the model computes.

    Attributes:
        pairs: training data.
        tokenize: texts to token ids; None where the text tower is frozen.
        batch: pictures a batch, over all processes.
        captions: captions of a picture in a batch, at most; None for all.
        seed: of order, captions and noise.
        per_image: whether targets are of pictures (or of pairs).
        group: the processes that share a batch.
        device: where batches go.
        threads: that gather, or decode.
    """

    pairs: Pairs
    tokenize: Callable[[list[str]], Tensor] | None
    batch: int
    captions: int | None
    seed: int
    per_image: bool
    group: Group
    device: str
    threads: int

    def __call__(self, epoch: int, steps: int, skip: int = 0) -> Iterator[Batch]:
        """The batches `skip`, `skip` + 1, ... below `steps` of an epoch, on the device."""
        order = epoch_order(self.pairs, self.batch, self.captions, self.seed, epoch)[:steps]
        _ = self.tokens  # once, before threads ask for them

        def load(number: int) -> Batch:
            found = self.gather(*order[number], np.random.default_rng([self.seed, epoch, number]))
            return found.pinned() if self.device.startswith("cuda") else found

        for found in ahead(load, range(skip, len(order)), threads=self.threads, depth=self.threads + 1):
            yield found.to(self.device)

    def gather(self, rows: Numbers, captions: Numbers, rng: np.random.Generator) -> Batch:
        """One batch: picture rows, flat places of their captions, and a generator for its noise."""
        pairs = self.pairs
        ids = pairs.caption_ids[captions]
        width = pairs.caption_vectors.shape[1]
        place = np.zeros(len(pairs.captions), dtype=np.int64)
        place[rows] = np.arange(len(rows))
        wrong = pairs.negatives_of(ids)
        numbers = np.concatenate([ids, pairs.negative_ids[wrong]])
        tokens, places = (None, numbers) if self.tokens is None else self._part(self.tokens, numbers)
        frozen = None if pairs.negatives is None else pairs.negatives.vectors
        noise = rng.standard_normal((len(rows), width), dtype=np.float32) * np.float32(width**-0.5)
        pixels, base_region = self._pixels(rows, rng)
        known = pairs.knowledge
        return Batch(
            names=[pairs.names[i] if len(pairs.names) else f"row {i}" for i in rows],
            pixels=pixels,
            tokens=tokens,
            text_places=torch.from_numpy(places[: len(ids)]),
            negative_places=torch.from_numpy(places[len(ids) :]),
            owner=torch.from_numpy(place[pairs.owner[captions]]),
            positives=torch.from_numpy(pairs.belongs(rows, ids)),
            base_text=_float(pairs.caption_vectors, captions),
            base_image=None if pairs.image_vectors is None else _float(pairs.image_vectors, rows),
            target=None if pairs.targets is None else _float(pairs.targets, rows if self.per_image else captions),
            negatives=None if frozen is None else _float(frozen, wrong),
            allowed=None
            if pairs.negatives is None
            else torch.from_numpy(~pairs.belongs(rows, pairs.negative_ids[wrong])),
            noise=torch.from_numpy(noise),
            base_region=base_region,
            language=None if known is None else _float(known.language, captions),
            concepts=None if known is None else torch.from_numpy(known.concepts[captions].astype(np.int64)),
            shares=None if known is None else _float(known.shares, captions),
        )  # fmt: skip

    def _pixels(self, rows: Numbers, rng: np.random.Generator) -> tuple[Tensor, Tensor | None]:
        """This process's part of the pictures and of a region of each; the base's vectors of all regions drawn."""
        part, regions = self.group.part(len(rows)), self.pairs.regions
        found = np.ascontiguousarray(self.pairs.pixels[rows[part]])
        if regions is None:
            return torch.from_numpy(found), None
        drawn = regions.draw(rows, rng)
        found = np.concatenate([found, regions.pixels(found, rows[part], drawn[part])])
        return torch.from_numpy(found), _float(regions.vectors, drawn)

    @cached_property
    def tokens(self) -> Tensor | None:
        """Token ids of every text by its number, int32 [texts, context]; None where the text tower is frozen."""
        return None if self.tokenize is None else self.tokenize(self.pairs.numbered).int()

    def _part(self, tokens: Tensor, numbers: Numbers) -> tuple[Tensor, Numbers]:
        """Token ids of this process's part of the distinct texts, int64, and each text's place among all of them."""
        distinct, places = np.unique(numbers, return_inverse=True)
        rows = self.group.padded(tokens[torch.from_numpy(distinct)].long())
        return rows[self.group.part(len(rows))], places
