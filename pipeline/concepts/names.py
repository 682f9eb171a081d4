"""What a person needs to name a concept: the captions nearest to its centre, and the words that set it apart."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"[^\W\d_]{2,}")
_LIFT = 1.6
"""How much commoner a word is in a concept than everywhere, at least; "on" and "with" hardly ever are."""
_PRIOR = 1.0
"""Captions of each kind that are added to every count, so that a word that occurs once is no sign of anything."""


def words(caption: str) -> set[str]:
    """The distinct words of a caption, lower case, two letters or more."""
    return set(_WORD.findall(caption.lower()))


def nearest(
    embeddings: NDArray[np.float32], centre: NDArray[np.float32], members: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """The members nearest to a centre, nearest first; of equal ones the first.

    Args:
        embeddings: unit float32 [n, d] of all captions.
        centre: unit float32 [d].
        members: rows of `embeddings`, int64 [k].
        count: how many, at most.
    """
    similarity = embeddings[members] @ centre
    return members[np.argsort(-similarity, kind="stable")[:count]]


def distinctive_words(
    captions: Sequence[str], nearest: NDArray[np.int64], concepts: int, count: int
) -> list[list[str]]:
    """The words of every concept that are most telling: p(word | concept) log(p(word | concept) / p(word)).

    That is the word's part of the mutual information between a caption's concept and its words. Counted are captions,
    not occurrences. A word that is hardly commoner there than everywhere is none of them.

    Args:
        captions: all captions.
        nearest: the concept of each, int64 [n].
        concepts: how many there are.
        count: words a concept, at most.

    Returns:
        for each concept its words, the most telling first; none for an empty one.
    """
    everywhere: Counter[str] = Counter()
    within: list[Counter[str]] = [Counter() for _ in range(concepts)]
    members = np.bincount(nearest, minlength=concepts)
    for caption, concept in zip(captions, nearest.tolist(), strict=True):
        own = words(caption)
        everywhere.update(own)
        within[concept].update(own)
    found = []
    for concept, counts in enumerate(within):
        share = {
            word: ((n + _PRIOR * everywhere[word] / len(captions)) / (members[concept] + _PRIOR), everywhere[word])
            for word, n in counts.items()
        }
        telling = {word: p * np.log(p * len(captions) / total) for word, (p, total) in share.items()}
        commoner = (word for word, (p, total) in share.items() if p * len(captions) >= _LIFT * total)
        best = sorted(commoner, key=lambda word: (-telling[word], word))
        found.append(best[:count])
    return found
