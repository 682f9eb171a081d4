"""K-means of the concepts stage beside a bare faiss.Kmeans: python -m benchmarks.concepts.

Prints how long finding concepts takes over what FAISS takes by itself for as many iterations, in turns; and how much
of the spread around the centres is left, since the stage begins with better centres. Vectors are drawn in groups, as
captions fall.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Annotated

import faiss
import numpy as np
import typer
from numpy.typing import NDArray

from pipeline.concepts.clusters import cluster, soft_labels

Floats = NDArray[np.float32]


def _vectors(count: int, dimension: int, groups: int) -> Floats:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((groups, dimension), dtype=np.float32)
    rows = centres[rng.integers(0, groups, count)] + rng.standard_normal((count, dimension), dtype=np.float32)
    faiss.normalize_L2(rows)
    return rows


def _bare(rows: Floats, concepts: int, iterations: int) -> Floats:
    kmeans = faiss.Kmeans(
        rows.shape[1], concepts, niter=iterations, seed=0, spherical=True, max_points_per_centroid=len(rows)
    )
    kmeans.train(rows)
    assert kmeans.centroids is not None, "it has been trained"
    return np.asarray(kmeans.centroids)


def main(
    captions: Annotated[int, typer.Option(help="Distinct captions.")] = 67_500,
    dimension: Annotated[int, typer.Option(help="Of the language model.")] = 384,
    concepts: Annotated[int, typer.Option(help="K.")] = 1000,
    iterations: Annotated[int, typer.Option(help="Of K-means.")] = 25,
    turns: Annotated[int, typer.Option(help="Both in turns, as often.")] = 3,
) -> None:
    """Time both and print the ratio."""
    rows = _vectors(captions, dimension, 2 * concepts)
    contestants: dict[str, Callable[[], Floats]] = {
        "bare": lambda: _bare(rows, concepts, iterations),
        "ours": lambda: cluster(rows, concepts, seed=0, iterations=iterations),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    centres: dict[str, Floats] = {}
    for _ in range(turns):
        for name, run in contestants.items():
            start = time.perf_counter()
            centres[name] = run()
            seconds[name].append(time.perf_counter() - start)
    ratio = median(own / bare for own, bare in zip(seconds["ours"], seconds["bare"], strict=True))
    print(f"{captions:,} captions x {dimension}, K = {concepts:,}, {iterations} iterations")
    for name, own in centres.items():
        left = 1 - float((rows * own[(rows @ own.T).argmax(axis=1)]).sum(axis=1).mean())
        print(f"{name}: {median(seconds[name]):.1f} s, mean cosine distance to the nearest centre {left:.4f}")
    print(f"over bare faiss.Kmeans: {ratio:.2f} (limit 1.2): {'met' if ratio <= 1.2 else 'NOT MET'}")
    start = time.perf_counter()
    soft_labels(rows, centres["ours"], temperature=0.07, top=16)
    print(f"soft labels: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    typer.run(main)
