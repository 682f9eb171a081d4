"""What of a batch's images a student is shown: a view and a region of each, drawn, and the same under every teacher.

A teacher's embedding of another crop, or of the whole image, would be a wrong target for what the student sees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.distillation.batches import TeacherBatch
from pipeline.distillation.pairs import Floats, Numbers, Pairs, Teacher, Views


@dataclass(frozen=True)
class Shown:
    """B images and C captions of theirs; what is not drawn, as the recipe asks for none of it, is empty.

    Attributes:
        rows: the images, int64 [B].
        captions: flat places of the captions, int64 [C].
        regions: flat places of a region of each image, int64 [B].
        crops: those of them that are crops, as places in the batch, int64 [K], and in all crops, int64 [K].
        views: a view of each image, 1 to `Views.count`, or 0 for the image itself, int64 [B].
        phrases: numbers of the distinct phrases of the captions, int64 [P].
    """

    rows: Numbers
    captions: Numbers
    regions: Numbers
    crops: tuple[Numbers, Numbers]
    views: Numbers
    phrases: Numbers

    @classmethod
    def drawn(cls, pairs: Pairs, rows: Numbers, captions: Numbers, rng: np.random.Generator) -> Shown:
        """A region of each image, every crop as likely, and then a view, the image itself as likely as any other."""
        none = np.zeros(0, dtype=np.int64)
        regions, crops, views = none, (none, none), none
        if pairs.regions is not None:
            regions = pairs.regions.draw(rows, rng)
            cut = np.flatnonzero(regions > pairs.regions.start[rows])
            crops = cut, (regions - rows - 1)[cut]
        if pairs.views is not None:
            views = rng.integers(pairs.views.count + 1, size=len(rows))
        phrases = none if pairs.phrases is None else pairs.phrases.of(captions)
        return cls(rows, captions, regions, crops, views, phrases)

    def views_of(self, views: Views, pixels: NDArray[np.uint8], part: slice) -> NDArray[np.uint8]:
        """The pixels of a part of the images, with the drawn views in their place."""
        some = np.flatnonzero(self.views[part])
        found = pixels.copy()
        found[some] = views.pixels[self._places(views.count)[part][some]]
        return found

    def by(self, teacher: Teacher) -> TeacherBatch:
        """A teacher's embeddings of what is shown."""
        image = teacher.images[self.rows]
        region = None if teacher.crops is None else _widened(_replaced(image, *self.crops, teacher.crops))
        seen = np.flatnonzero(self.views)
        if teacher.views is not None and len(seen):
            places = self._places(len(teacher.views) // len(teacher.images))
            image = _replaced(image, seen, places[seen], teacher.views)
        phrase = None if teacher.phrases is None else _widened(teacher.phrases[self.phrases])
        return TeacherBatch(teacher.scale, _widened(image), _widened(teacher.captions[self.captions]), region, phrase)

    def _places(self, count: int) -> Numbers:
        """The places of the drawn views among all; those of images themselves are of no use."""
        return self.rows * count + self.views - 1


def _replaced(values: Floats, some: Numbers, places: Numbers, others: Floats) -> Floats:
    """A copy of `values` with rows of `others` at some of its places."""
    found = values.copy()
    found[some] = others[places]
    return found


def _widened(values: Floats) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).float()
