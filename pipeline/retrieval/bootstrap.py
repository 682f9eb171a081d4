"""Bootstrap intervals over images, paired by query, for the difference between two models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Interval = dict[str, float]

_CELLS = 4_000_000
"""Counts of draws in memory at a time, 32 MB."""


def paired_intervals(
    base: Mapping[str, Floats], other: Mapping[str, Floats], image: NDArray[np.int64], *, samples: int, seed: int
) -> dict[str, Interval]:
    """95 % percentile intervals of mean(other - base) of several figures, images drawn with replacement.

    The queries of an image stay together: each draw weighs every query by how often its image was drawn. All figures
    see the same draws.

    Args:
        base: by figure float64 [queries].
        other: likewise, the same figures of the same queries.
        image: int64 [queries], the image of each.
        samples: bootstrap samples.
        seed: of the draws.

    Returns:
        by figure `value` (the plain difference of means), `low`, `high`.
    """
    differences = {name: other[name] - values for name, values in base.items()}
    sizes = np.bincount(image).astype(np.float64)
    present = sizes > 0
    sums = np.stack([np.bincount(image, weights=values)[present] for values in differences.values()], axis=1)
    sizes = sizes[present]
    means = np.concatenate([drawn @ sums / (drawn @ sizes)[:, None] for drawn in _drawn(len(sizes), samples, seed)])
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return {
        name: {"value": float(values.mean()), "low": float(low[i]), "high": float(high[i])}
        for i, (name, values) in enumerate(differences.items())
    }


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
        samples: bootstrap samples.
        seed: of the draws.
    """
    difference = np.atleast_2d(other - base)
    runs = len(difference)
    if runs == 1:
        nothing = {"": np.zeros_like(difference[0])}
        return paired_intervals(nothing, {"": difference[0]}, image, samples=samples, seed=seed)[""]
    sizes = np.bincount(image).astype(np.float64)
    present = sizes > 0
    sums = np.stack([np.bincount(image, weights=run)[present] for run in difference], axis=1)
    sizes = sizes[present]
    of_runs = np.random.default_rng([seed, 1]).multinomial(runs, [1 / runs] * runs, size=samples).astype(np.float64)
    drawn_sums = [(drawn @ sums, drawn @ sizes) for drawn in _drawn(len(sizes), samples, seed)]
    of_images, weight = np.concatenate([s for s, _ in drawn_sums]), np.concatenate([w for _, w in drawn_sums])
    means = (of_images * of_runs).sum(axis=1) / (runs * weight)
    low, high = np.quantile(means, [0.025, 0.975])
    return {"value": float(difference.mean()), "low": float(low), "high": float(high)}
