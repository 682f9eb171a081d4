"""Retrieval metrics as pure functions of similarities and of who belongs to whom.

Captions are ragged: an image may have any number. Ties count against the positive, so constant embeddings score
nothing at all rather than everything. All figures are fractions, except the median rank (from 1).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Places = NDArray[np.int64]

KS = (1, 5, 10)


def positive_ranks(similarity: Floats, positive: NDArray[np.bool_]) -> list[Places]:
    """Ranks of each query's positives among all candidates, best first, from 1; one array a query.

    A candidate that is not positive and equally similar stands before the positive. Positives of equal similarity
    follow each other.

    Args:
        similarity: float32 [queries, candidates].
        positive: bool, same shape; every query has at least one.
    """
    ranks = []
    for scores, is_positive in zip(similarity, positive, strict=True):
        negatives = np.sort(scores[~is_positive])
        own = np.sort(scores[is_positive])[::-1]
        before = len(negatives) - np.searchsorted(negatives, own, side="left")
        ranks.append((before + np.arange(1, len(own) + 1)).astype(np.int64))
    return ranks


def per_query(ranks: list[Places]) -> dict[str, NDArray[np.float64]]:
    """Figures of every query from the ranks of its positives, each array float64 [queries].

    `recall@k`: 1 if the best positive is among the k best (any positive counts). `rank`: of the best positive.
    `mrr`: 1/rank. `map`: average precision over the whole ranking. `map@r`: (1/R) sum over the positives within the
    first R places of the precision there, R being the number of positives.
    """
    best = np.array([r[0] for r in ranks], dtype=np.float64)
    precisions = [np.arange(1, len(r) + 1) / r for r in ranks]
    figures = {f"recall@{k}": (best <= k).astype(np.float64) for k in KS}
    figures["rank"] = best
    figures["mrr"] = 1 / best
    figures["map"] = np.array([p.mean() for p in precisions])
    figures["map@r"] = np.array([p[r <= len(r)].sum() / len(r) for p, r in zip(precisions, ranks, strict=True)])
    return figures


def summarise(figures: dict[str, NDArray[np.float64]]) -> dict[str, float]:
    """Mean of every figure; of `rank` the median and the mean."""
    summary = {name: float(values.mean()) for name, values in figures.items() if name != "rank"}
    return summary | {"median_rank": float(np.median(figures["rank"])), "mean_rank": float(figures["rank"].mean())}


def _blocks(queries: Floats, candidates: Floats, size: int = 1024) -> Iterator[tuple[slice, Floats]]:
    for start in range(0, len(queries), size):
        rows = slice(start, min(start + size, len(queries)))
        yield rows, queries[rows] @ candidates.T


def evaluate(images: Floats, captions: Floats, owner: Places) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Figures of every query both ways, from embeddings, in blocks so that memory stays small.

    Args:
        images: unit float32 [images, d].
        captions: unit float32 [captions, d].
        owner: int64 [captions], the image of each caption.

    Returns:
        `text_to_image` (a query a caption) and `image_to_text` (a query an image), as from `per_query`.
    """
    if len(owner) != len(captions) or (len(owner) and not 0 <= owner.min() <= owner.max() < len(images)):
        raise ValueError(f"owner names {len(owner)} captions of {len(images)} images, got {len(captions)} captions")
    if len(np.unique(owner)) != len(images):
        raise ValueError("an image without a caption cannot be a query; take it out first")
    candidates = np.arange(len(images))
    to_image: list[Places] = []
    for rows, similarity in _blocks(captions, images):
        to_image += positive_ranks(similarity, owner[rows, None] == candidates[None, :])
    to_text: list[Places] = []
    for rows, similarity in _blocks(images, captions):
        to_text += positive_ranks(similarity, candidates[rows, None] == owner[None, :])
    return {"text_to_image": per_query(to_image), "image_to_text": per_query(to_text)}
