"""Bootstrap intervals over images, paired by query, for the difference between two models."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def paired_interval(
    base: NDArray[np.float64], other: NDArray[np.float64], image: NDArray[np.int64], *, samples: int, seed: int
) -> dict[str, float]:
    """95 % percentile interval of mean(other - base), images drawn with replacement.

    The queries of an image stay together: each draw weighs every query by how often its image was drawn. Where models
    were trained several times, each draw draws trainings with replacement, too: the same of both models, run i of one
    beside run i of the other.

    Args:
        base: float64 [queries], or [runs, queries].
        other: likewise, the same queries.
        image: int64 [queries], the image of each.
        samples: bootstrap samples.
        seed: of the draws.

    Returns:
        `value` (the plain difference of means), `low`, `high`.
    """
    difference = np.atleast_2d(other - base)
    count = int(image.max()) + 1
    sums = np.stack([np.bincount(image, weights=run, minlength=count) for run in difference])
    sizes = np.bincount(image, minlength=count).astype(np.float64)
    present = sizes > 0
    sums, sizes = sums[:, present], sizes[present]
    rng = np.random.default_rng(seed)
    runs = len(sums)
    means = np.empty(samples)
    for i in range(samples):
        drawn = rng.integers(0, len(sizes), len(sizes))
        of_runs = sums if runs == 1 else sums[rng.integers(0, runs, runs)]
        means[i] = of_runs[:, drawn].sum() / (runs * sizes[drawn].sum())
    low, high = np.quantile(means, [0.025, 0.975])
    return {"value": float(difference.mean()), "low": float(low), "high": float(high)}
