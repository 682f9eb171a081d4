"""Text probe: how much of a caption can be had back from its embedding.

Knowledge-CLIP trains an autoencoder and counts captions that come back word by word. A linear probe of words asks the
same of the embedding itself, not of what a decoder has learnt of captions; near-misses ask what words alone do not
tell: which of two things is red.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from pipeline.concepts.names import words
from pipeline.errors import InputError
from pipeline.probes.linear import areas, predict

COMMON, RARE = 0.5, 0.005
"""Share of captions above which, and below which, a word is not probed."""
_CELLS = 4_000_000
"""Similarities of captions in memory at a time, 32 MB; likewise numbers of embeddings."""
_WORD = re.compile(r"\w+")


def vocabulary(training: Sequence[str], test: Sequence[str], count: int) -> list[str]:
    """The words that occur in most training captions, but not in half of them, and in some test captions, not all."""
    counts: Counter[str] = Counter()
    for caption in training:
        counts.update(words(caption))
    in_test = Counter(word for caption in test for word in set(words(caption)))
    lowest, highest = RARE * len(training), COMMON * len(training)
    probed = (word for word, n in counts.items() if lowest <= n <= highest and 0 < in_test[word] < len(test))
    return sorted(probed, key=lambda word: (-counts[word], word))[:count]


def _labels(captions: Sequence[str], vocabulary: Sequence[str]) -> NDArray[np.bool_]:
    found = [words(caption) for caption in captions]
    return np.array([[word in caption for word in vocabulary] for caption in found], dtype=bool)


@dataclass(frozen=True)
class Words:
    """The word probe.

    Attributes:
        training: which of them the captions that train the probe have, bool [n, words].
        test: which of them the test captions have, bool [c, words].
    """

    names: list[str]
    training: NDArray[np.bool_]
    test: NDArray[np.bool_]

    @classmethod
    def build(cls, training: Sequence[str], test: Sequence[str], count: int) -> Words:
        """The probe of at most `count` words of training and test captions.

        Raises:
            InputError: there is no word to probe.
        """
        names = vocabulary(training, test, count)
        if not names:
            raise InputError(
                f"no word stands in {RARE:.1%} to {COMMON:.0%} of {len(training)} training captions and in a test "
                "caption; expected more captions, or probe.enabled: false"
            )
        return cls(names, _labels(training, names), _labels(test, names))

    def read(
        self, training: NDArray[np.float32], test: NDArray[np.float32]
    ) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
        """How well the words are read from embeddings.

        Args:
            training: unit float32 [training captions, d].
            test: unit float32 [test captions, d].

        Returns:
            the area under the ROC curve of every word, and of every test caption, float64: `words`, its part in their
            mean area, and `exact`, 1 if all probed words that it has and none that it has not are read (at one half).
        """
        scores = predict(training, self.training, test)
        found, parts = areas(scores, self.test)
        exact = ((scores > 0.5) == self.test).all(axis=1)
        return found, {"words": parts.mean(axis=1), "exact": exact.astype(np.float64)}


@dataclass(frozen=True)
class NearMisses:
    """Caption-to-caption retrieval: of an image's captions, one asks for the next among near-misses.

    Near-misses of a caption are the captions of other images that have most words in common with it (tf-idf).

    Attributes:
        queries: the asking caption, int64 [q].
        wanted: the one it should find, int64 [q].
        others: the near-misses of the wanted one, int64 [q, near].
    """

    queries: NDArray[np.int64]
    wanted: NDArray[np.int64]
    others: NDArray[np.int64]

    @classmethod
    def build(cls, captions: Sequence[str], owner: NDArray[np.int64], near: int) -> NearMisses:
        """Pair the captions of every image that has several; what equals one of its own is no miss.

        Captions that differ in case alone are equal: most models do not see it.

        Args:
            captions: c strings, those of an image one after the other.
            owner: int64 [c], the image of each.
            near: near-misses of a caption; a caption that has fewer is not asked for.
        """
        captions = [caption.lower() for caption in captions]
        tfidf = TfidfVectorizer(analyzer=_WORD.findall).fit_transform(captions)
        by_image: dict[int, list[int]] = {}
        for row, image in enumerate(owner.tolist()):
            if captions[row] not in {captions[other] for other in by_image.get(image, [])}:
                by_image.setdefault(image, []).append(row)
        pairs = [
            pair for rows in by_image.values() if len(rows) > 1 for pair in zip(rows, rows[1:] + rows[:1], strict=True)
        ]
        first = {text: row for row, text in reversed(list(enumerate(captions)))}  # where each text stands first
        distinct = np.array(sorted(first.values()))
        number = {captions[row]: i for i, row in enumerate(distinct)}
        text_numbers = np.array([number[text] for text in captions])
        queries, wanted, others = [], [], []
        size = max(1, _CELLS // len(distinct))
        for start in range(0, len(pairs), size):
            block = pairs[start : start + size]
            alike = (tfidf[[w for _, w in block]] @ tfidf[distinct].T).toarray()
            for (query, target), row in zip(block, alike, strict=True):
                row[text_numbers[owner == owner[target]]] = -1
                nearest = np.argsort(-row, kind="stable")[:near]
                if len(nearest) == near and (row[nearest] >= 0).all():
                    queries.append(query)
                    wanted.append(target)
                    others.append(distinct[nearest])
        asking, right, wrong = (np.array(rows, dtype=np.int64) for rows in (queries, wanted, others))
        return cls(asking, right, wrong.reshape(-1, near))

    def found(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        """1 where the wanted caption is more similar to the asking one than all its near-misses, float64 [q].

        Args:
            embeddings: unit float32 [c, d].
        """
        candidates = np.concatenate([self.wanted[:, None], self.others], axis=1)
        hit = np.empty(len(candidates))
        size = max(1, _CELLS // (candidates.shape[1] * embeddings.shape[1]))
        for start in range(0, len(candidates), size):
            part = slice(start, start + size)
            # all candidates of a query in one go, so that ties tie
            similarity = np.einsum("qd,qnd->qn", embeddings[self.queries[part]], embeddings[candidates[part]])
            hit[part] = similarity[:, 0] > similarity[:, 1:].max(axis=1)
        return hit
