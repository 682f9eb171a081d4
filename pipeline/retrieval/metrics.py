"""Retrieval metrics as pure functions of similarities and of who belongs to whom.

Captions are ragged: an image may have any number. Ties count against the positive, so constant embeddings score
nothing at all rather than everything. All figures are fractions, except ranks (from 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import InputError

Floats = NDArray[np.float32]
Places = NDArray[np.int64]

KS = (1, 5, 10)

SAME = 3e-7
"""Similarities no further apart are equal: a product of equal rows differs in the last bits with where they stand."""

_CELLS = 8_000_000
"""Similarities in memory at a time, 32 MB; more where that were fewer than `_LEAST` queries."""
_FEW = 16
"""Positives of a query that are counted one after the other."""
_LEAST = 32
"""Queries of a block: fewer read all candidates from memory for hardly any arithmetic."""


@dataclass(frozen=True)
class Positives:
    """Which candidates belong to which query: those of query i are rows[start[i]:start[i + 1]].

    Attributes:
        start: int64 [queries + 1].
        rows: int64 [positives], candidates.
    """

    start: Places
    rows: Places

    @classmethod
    def for_captions(cls, owner: Places) -> Positives:
        """The positives of captions that ask for their image; `owner`: int64 [captions]."""
        return cls(np.arange(len(owner) + 1), owner)

    @classmethod
    def for_images(cls, owner: Places, images: int) -> Positives:
        """The positives of images that ask for their captions, given the image of each caption."""
        start = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=images))])
        return cls(start, np.argsort(owner, kind="stable"))

    def part(self, first: int, last: int) -> Positives:
        """Those of the queries from `first` up to `last`."""
        bounds = self.start[first : last + 1]
        return Positives(bounds - bounds[0], self.rows[bounds[0] : bounds[-1]])

    @property
    def counts(self) -> Places:
        """How many each query has, int64 [queries]."""
        return np.diff(self.start)


def positive_ranks(similarity: Floats, positives: Positives) -> Places:
    """Ranks of every query's positives among all candidates, best first, from 1: int64 [positives].

    A candidate that is not positive and equally similar, but for rounding, stands before the positive. Positives of
    equal similarity follow each other.

    Args:
        similarity: finite float32 [queries, candidates].
        positives: of the queries; each has at least one.
    """
    counts = positives.counts
    query = np.repeat(np.arange(len(counts)), counts)
    slot = np.arange(len(query)) - positives.start[query]
    own_QR = np.full((len(counts), int(counts.max())), -np.inf, dtype=np.float32)
    own_QR[query, slot] = similarity[query, positives.rows]
    own_QR = -np.sort(-own_QR, axis=1)  # the most similar first
    least_QR = own_QR - np.float32(SAME)
    # Positives do not stand before one another.
    before_QR = _at_least(similarity, least_QR, counts) - _at_least(own_QR, least_QR, counts)
    ranks: Places = before_QR[query, slot] + 1 + slot
    return ranks


def _at_least(rows: Floats, least_QR: Floats, counts: Places) -> Places:
    """How many of a query's row are at least as much as each of its first `counts` limits, which descend: [Q, R]."""
    found_QR = np.zeros(least_QR.shape, dtype=np.int64)
    for place in range(min(_FEW, least_QR.shape[1])):
        has = np.flatnonzero(counts > place)
        having = rows if len(has) == len(counts) else rows[has]
        found_QR[has, place] = np.count_nonzero(having >= least_QR[has, place, None], axis=1)
    for i in np.flatnonzero(counts > _FEW):  # a pass a query instead of one a limit
        limits = least_QR[i, : counts[i]][::-1]
        reached = np.bincount(np.searchsorted(limits, rows[i], side="right"), minlength=len(limits) + 1)
        found_QR[i, : counts[i]] = reached[:0:-1].cumsum()
    return found_QR


def per_query(ranks: Places, positives: Positives) -> dict[str, NDArray[np.float64]]:
    """Figures of every query from the ranks of its positives, each array float64 [queries].

    `recall@k`: 1 if the best positive is among the k best (any positive counts). `rank`: of the best positive.
    `mrr`: 1/rank. `map`: average precision over the whole ranking. `map@r`: (1/R) sum over the positives within the
    first R places of the precision there, R being the number of positives.

    Args:
        ranks: int64 [positives], of every query best first.
    """
    first, counts = positives.start[:-1], positives.counts
    best = ranks[first].astype(np.float64)
    precision = (np.arange(len(ranks)) - np.repeat(first, counts) + 1) / ranks
    figures = {f"recall@{k}": (best <= k).astype(np.float64) for k in KS}
    figures["rank"] = best
    figures["mrr"] = 1 / best
    figures["map"] = np.add.reduceat(precision, first) / counts
    figures["map@r"] = np.add.reduceat(precision * (ranks <= np.repeat(counts, counts)), first) / counts
    return figures


def summarise(figures: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    """Mean of every figure; of `rank` the median and the mean."""
    summary = {name: float(values.mean()) for name, values in figures.items() if name != "rank"}
    return summary | {"median_rank": float(np.median(figures["rank"])), "mean_rank": float(figures["rank"].mean())}


def recalls(found: Places, positives: Positives) -> dict[str, NDArray[np.float64]]:
    """recall@k of every query, float64 [queries], from what a search has found.

    An index orders equal candidates as it likes; `positive_ranks` lets them count against the query.

    Args:
        found: int64 [queries, at least max(KS)], candidates, best first, -1 where there is none.
    """
    query = np.repeat(np.arange(len(found)), positives.counts)
    hit = np.zeros(found.shape, dtype=bool)
    np.logical_or.at(hit, query, found[query] == positives.rows[:, None])
    figures: dict[str, NDArray[np.float64]] = {}
    for k in KS:
        figures[f"recall@{k}"] = np.asarray(hit[:, :k].any(axis=1), dtype=np.float64)
    return figures


def _figures(queries: Floats, candidates: Floats, positives: Positives) -> dict[str, NDArray[np.float64]]:
    """`per_query` of a direction, a block of queries in memory at a time."""
    asked, given = torch.from_numpy(queries), torch.from_numpy(candidates)
    ranks = np.empty(len(positives.rows), dtype=np.int64)
    size = max(_LEAST, _CELLS // max(1, len(candidates)))
    for start in range(0, len(queries), size):
        part = positives.part(start, min(start + size, len(queries)))
        block = slice(positives.start[start], positives.start[start] + len(part.rows))
        ranks[block] = positive_ranks((asked[start : start + size] @ given.T).numpy(), part)
    return per_query(ranks, positives)


def evaluate(images: Floats, captions: Floats, owner: Places) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Figures of every query both ways, from embeddings, in blocks so that memory stays small.

    Args:
        images: unit float32 [images, d].
        captions: unit float32 [captions, d].
        owner: int64 [captions], the image of each caption.

    Returns:
        `text_to_image` (a query a caption) and `image_to_text` (a query an image), as from `per_query`.

    Raises:
        ValueError: an owner that is no image, or an image without a caption.
        InputError: an embedding that is not finite.
    """
    images, captions = (np.ascontiguousarray(rows, dtype=np.float32) for rows in (images, captions))
    _check_owner(images, captions, owner)
    if len(np.unique(owner)) != len(images):
        raise ValueError("an image without a caption cannot be a query; take it out first")
    for what, rows in (("image", images), ("caption", captions)):
        if not (finite := np.isfinite(rows).all(axis=1)).all():
            raise InputError(f"the embedding of {what} {int((~finite).argmax())} is not finite: the model has diverged")
    return {
        "text_to_image": _figures(captions, images, Positives.for_captions(owner)),
        "image_to_text": _figures(images, captions, Positives.for_images(owner, len(images))),
    }


def _check_owner(images: Floats, captions: Floats, owner: Places) -> None:
    if len(owner) != len(captions) or (len(owner) and not 0 <= owner.min() <= owner.max() < len(images)):
        raise ValueError(f"owner names {len(owner)} captions of {len(images)} images, got {len(captions)} captions")


def folds(images: Floats, captions: Floats, owner: Places, size: int) -> dict[str, dict[str, float]]:
    """The mean of `summarise` over folds of `size` images each, as COCO-1K is over five; the order is the images'.

    Args:
        images: unit float32 [images, d].
        captions: unit float32 [captions, d].
        owner: int64 [captions].
        size: images of a fold; what is left at the end is in none.

    Raises:
        ValueError: there are fewer than `size` images, or an owner is none of them.
    """
    _check_owner(images, captions, owner)
    if not 0 < size <= len(images):
        raise ValueError(f"a fold of {size} images of {len(images)}")
    found: list[dict[str, dict[str, float]]] = []
    for start in range(0, len(images) - size + 1, size):
        inside = (owner >= start) & (owner < start + size)
        figures = evaluate(images[start : start + size], captions[inside], owner[inside] - start)
        found.append({direction: summarise(values) for direction, values in figures.items()})
    return {
        direction: {name: float(np.mean([fold[direction][name] for fold in found])) for name in figures}
        for direction, figures in found[0].items()
    }
