"""Concepts: spherical K-means over the language model's embeddings of captions, and every caption's share in each."""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.tables import NORM_TOLERANCE
from pipeline.errors import InputError


@dataclass(frozen=True)
class SoftLabels:
    """Every caption's largest shares.

    Attributes:
        concepts: which concepts, the largest share first, int32 [n, m].
        shares: of them, float32 [n, m]; they sum to 1.
    """

    concepts: NDArray[np.int32]
    shares: NDArray[np.float32]


def cluster(embeddings: NDArray[np.float32], count: int, *, seed: int, iterations: int) -> NDArray[np.float32]:
    """Unit centres of spherical K-means, float32 [count, d]; the same for the same seed and number of threads.

    It begins with captions far from each other (AFK-MC2, the fast k-means++), since centres drawn at random leave
    groups together. FAISS gives an empty cluster a place beside a large one's centre; it stays empty where the
    embeddings are equal.

    Args:
        embeddings: unit float32 [n, d].
        count: K.
        seed: of the captions that it begins with.
        iterations: of Lloyd's algorithm.

    Raises:
        InputError: K exceeds the captions, or the captions of a concept have no direction in common.
    """
    if count > len(embeddings):
        raise InputError(
            f"concepts.count is {count}, and there are {len(embeddings)} distinct captions; expected at most that many"
        )
    every_caption = {"min_points_per_centroid": 1, "max_points_per_centroid": len(embeddings)}
    start = {"seed": seed, "init_method": faiss.ClusteringInitMethod_AFK_MC2}
    kmeans = faiss.Kmeans(embeddings.shape[1], count, niter=iterations, spherical=True, **every_caption, **start)
    kmeans.train(np.ascontiguousarray(embeddings))
    assert kmeans.centroids is not None, "it has been trained"
    centres = np.asarray(kmeans.centroids, dtype=np.float32)
    if (np.abs(np.linalg.norm(centres, axis=1) - 1) > NORM_TOLERANCE).any():
        raise InputError(f"captions of a concept have no direction in common; raise concepts.count, which is {count}")
    return centres


def soft_labels(
    embeddings: NDArray[np.float32], centres: NDArray[np.float32], *, temperature: float, top: int
) -> SoftLabels:
    """softmax_k(<x, c_k> / T) of every caption, cut to its largest `top` shares and made to sum to 1 again.

    Args:
        embeddings: unit float32 [n, d].
        centres: unit float32 [K, d].
        temperature: T.
        top: m; K if there are fewer concepts.
    """
    index = faiss.IndexFlatIP(centres.shape[1])
    index.add(np.ascontiguousarray(centres))
    similarity, concepts = index.search(np.ascontiguousarray(embeddings), min(top, len(centres)))
    weights = np.exp((similarity - similarity[:, :1]) / temperature)
    shares = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return SoftLabels(concepts.astype(np.int32), shares)
