"""Bootstrap intervals over images, paired by query, for the difference between two models."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Interval = dict[str, float]

_CELLS = 4_000_000
"""Counts of draws in memory at a time, 32 MB."""


def drawn_means(
    figures: Mapping[str, Floats], image: NDArray[np.int64], *, samples: int, seed: int
) -> dict[str, Floats]:
    """Means of figures over queries whose images are drawn with replacement, float64 [samples] of each.

    The queries of an image stay together: each draw weighs every query by how often its image was drawn. As many
    images, samples and the same seed give the same draws, of whatever figures and queries.

    Args:
        figures: by name float64 [queries].
        image: int64 [queries], the image of each.
    """
    sizes = np.bincount(image).astype(np.float64)
    present = sizes > 0
    sums = np.stack([np.bincount(image, weights=values)[present] for values in figures.values()], axis=1)
    sizes = sizes[present]
    means = np.concatenate([drawn @ sums / (drawn @ sizes)[:, None] for drawn in _drawn(len(sizes), samples, seed)])
    return dict(zip(figures, means.T, strict=True))


def interval(value: float, means: Floats) -> Interval:
    """`value`, and the 95 % percentile interval, `low` to `high`, of its means over the draws."""
    low, high = np.quantile(means, [0.025, 0.975])
    return {"value": float(value), "low": float(low), "high": float(high)}


def _drawn(images: int, samples: int, seed: int) -> Iterator[Floats]:
    """How often each image is drawn, float64 [some samples, images], until there are `samples`."""
    rng = np.random.default_rng(seed)
    size = max(1, _CELLS // images)
    for start in range(0, samples, size):
        count = min(size, samples - start)
        rows = rng.integers(0, images, (count, images)) + images * np.arange(count)[:, None]
        yield np.bincount(rows.ravel(), minlength=count * images).reshape(count, images).astype(np.float64)


def paired_interval(base: Floats, other: Floats, image: NDArray[np.int64], *, samples: int, seed: int) -> Interval:
    """The interval of one figure; where models were trained several times, of all runs of both.

    Each draw draws trainings with replacement, too: the same of both models, run i of one beside run i of the other.

    Args:
        base: float64 [queries], or [runs, queries].
        other: likewise, the same queries.
        image: int64 [queries], the image of each.
    """
    difference = np.atleast_2d(other - base)
    runs = len(difference)
    if runs == 1:
        means = drawn_means({"": difference[0]}, image, samples=samples, seed=seed)[""]
        return interval(float(difference.mean()), means)
    sizes = np.bincount(image).astype(np.float64)
    present = sizes > 0
    sums = np.stack([np.bincount(image, weights=run)[present] for run in difference], axis=1)
    sizes = sizes[present]
    run_counts = np.random.default_rng([seed, 1]).multinomial(runs, [1 / runs] * runs, size=samples).astype(np.float64)
    drawn_sums = [(drawn @ sums, drawn @ sizes) for drawn in _drawn(len(sizes), samples, seed)]
    image_sums, weight = np.concatenate([s for s, _ in drawn_sums]), np.concatenate([w for _, w in drawn_sums])
    means = (image_sums * run_counts).sum(axis=1) / (runs * weight)
    return interval(float(difference.mean()), means)
