"""Rewrites among the captions of training images, with all that is known of captions (LaCLIP, arXiv 2305.20088).

At every visit as many texts are drawn as without them, from captions and rewrites alike: of a caption and its N
rewrites each is drawn as often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.clip_targets import Phrases as Texts
from pipeline.artifacts.columns import says_something
from pipeline.distillation.pairs import Floats, Numbers, Pairs, Phrases, spread


class Joined:
    """Rows of two arrays as one, gathered when they are asked for: float [c + R, d].

    Args:
        places: int64 [c + R], rows of `own`, or of `others` as -1 - row.
    """

    def __init__(self, own: Floats, others: Floats, places: Numbers) -> None:
        self.own, self.others, self.places = own, others, places

    def __len__(self) -> int:
        return len(self.places)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and width."""
        return len(self), self.own.shape[1]

    def __getitem__(self, rows: Numbers) -> Floats:
        places = self.places[rows]
        found = np.empty((len(places), self.own.shape[1]), dtype=self.own.dtype)
        is_own = places >= 0
        found[is_own], found[~is_own] = self.own[places[is_own]], self.others[-1 - places[~is_own]]
        return found


def with_rewrites(
    pairs: Pairs, rewrites: Sequence[Sequence[str]], base: Texts, teachers: Sequence[Texts], space: Texts | None = None
) -> Pairs:
    """The same pairs with rewrites behind the captions of every image.

    A rewrite comes with the phrases of a caption of its image. One of an image without captions is left out, and so is
    one that says nothing, in whose place a caption stands when it is drawn.

    Args:
        pairs: without targets of pairs, knowledge or negatives, which are of captions alone.
        rewrites: of every image.
        base: the base's embeddings of rewrites, by their text.
        teachers: each teacher's.
        space: those of the CLIP in whose space targets are, if it is another.
    """
    assert pairs.knowledge is None and pairs.negatives is None, "these are of captions alone"
    own = np.diff(pairs.start)
    said = [
        [text for text in texts if says_something(text)] if n else [] for texts, n in zip(rewrites, own, strict=True)
    ]
    more = np.array([len(texts) for texts in said], dtype=np.int64)
    silent = np.array([len(texts) for texts in rewrites], dtype=np.int64) * (own > 0) - more
    captions = [[*texts, *others] for texts, others in zip(pairs.captions, said, strict=True)]
    start = np.concatenate([[0], np.cumsum(own + more)])
    ours, theirs = spread(start[:-1], own), spread(start[:-1] + own, more)
    image = np.repeat(np.arange(len(own)), more)
    nth = np.arange(len(theirs)) - np.repeat(np.cumsum(more) - more, more)
    flat = [text for texts in said for text in texts]

    def joined(known: Floats, texts: Texts) -> Any:
        places = np.empty(int(start[-1]), dtype=np.int64)
        places[ours], places[theirs] = np.arange(len(ours)), -1 - texts.rows(flat)
        return Joined(known, texts.vectors, places)

    phrases = pairs.phrases
    if phrases is not None:
        caption = np.empty(int(start[-1]), dtype=np.int64)
        caption[ours], caption[theirs] = np.arange(len(ours)), pairs.start[image] + nth % own[image]
        phrases = _repeated(phrases, caption)
    target_space = pairs.target_space
    if target_space is not None:
        assert space is not None, "targets are compared with texts in their own space"
        target_space = replace(target_space, captions=joined(target_space.captions, space))
    return replace(
        pairs,
        target_space=target_space,
        captions=captions,
        caption_embeddings=joined(pairs.caption_embeddings, base),
        teachers=[
            replace(teacher, captions=joined(teacher.captions, texts))
            for teacher, texts in zip(pairs.teachers, teachers, strict=True)
        ],
        phrases=phrases,
        originals=own,
        silent=silent,
    )


def _repeated(phrases: Phrases, caption: NDArray[np.int64]) -> Phrases:
    """The phrases of these captions, one after the other."""
    counts = (phrases.start[1:] - phrases.start[:-1])[caption]
    ids = phrases.ids[spread(phrases.start[caption], counts)]
    return replace(phrases, ids=ids, start=np.concatenate([[0], np.cumsum(counts)]))
