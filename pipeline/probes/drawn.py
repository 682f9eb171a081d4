"""Which training captions the text probes learn from."""

import numpy as np
from numpy.typing import NDArray


def drawn(count: int, most: int, seed: int) -> NDArray[np.int64]:
    """Ascending rows of at most `most` of `count` captions, drawn evenly where there are more."""
    return np.sort(np.random.default_rng(seed).choice(count, size=min(most, count), replace=False))
