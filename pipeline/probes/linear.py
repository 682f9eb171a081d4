"""The linear probe, and how well it tells what has a label from what has not."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.linear_model import RidgeCV

Floats = NDArray[np.float32]
Labels = NDArray[np.bool_]

PENALTIES = np.logspace(-4, 3, 15)
"""Penalties of the ridge for unit embeddings; each label gets the best, by leaving out one row after the other."""


def predict(training: Floats, labels: Labels, test: Floats) -> NDArray[np.float64]:
    """Ridge regression of every label on frozen embeddings: float64 [test rows, labels], about 0 without, 1 with.

    Args:
        training: unit float32 [n, d].
        labels: bool [n, labels].
        test: unit float32 [m, d].
    """
    probe = RidgeCV(alphas=PENALTIES, alpha_per_target=True)
    probe.fit(training.astype(np.float64), labels.astype(np.float64))
    found: NDArray[np.float64] = np.asarray(probe.predict(test.astype(np.float64)))
    return found.reshape(len(test), -1)


def areas(scores: NDArray[np.float64], labels: Labels) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The area under the ROC curve of every label, and what each row adds to it.

    The area is the share of pairs of a row with the label and a row without in which the former scores higher (ties
    count half): 0.5 by chance. A row's part is its pseudo-value (DeLong et al. 1988): the area plus how much more than
    it the row's own pairs are told apart, over the share of rows like it. Parts average to the area, and vary as the
    area does, so that intervals can be had from them as from any mean over rows.

    Args:
        scores: float64 [n, labels].
        labels: bool, same shape; each with and without rows.

    Returns:
        areas, float64 [labels], and parts, float64 [n, labels].

    Raises:
        ValueError: a label that all rows have, or none has.
    """
    found, parts = np.empty(labels.shape[1]), np.empty(labels.shape)
    for j, (score, label) in enumerate(zip(scores.T, labels.T, strict=True)):
        n, with_it = len(label), int(label.sum())
        if not 0 < with_it < n:
            raise ValueError(f"label {j} stands on {with_it} of {n} rows; expected some, and not all")
        ranks = rankdata(score)
        # Below a row with the label stand `ranks - ranks among its like` of those without, ties half.
        separated = np.empty(n)
        separated[label] = (ranks[label] - rankdata(score[label])) / (n - with_it)
        separated[~label] = 1 - (ranks[~label] - rankdata(score[~label])) / with_it
        found[j] = separated[label].mean()
        share = np.where(label, with_it / n, 1 - with_it / n)
        parts[:, j] = found[j] + (separated - found[j]) / share
    return found, parts
