"""What is planted in whom: everything that real corpora contain beside good images with good captions.

An image has at most one thing the matter with it, and an image that is copied, or that has a twin, has nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np

from pipeline.artifacts.schema import Reason
from pipeline.sample_world import captions
from pipeline.sample_world.faulty_captions import FAULTS, faulty_caption
from pipeline.sample_world.forms import ALTERATIONS, random_alteration
from pipeline.sample_world.items import STREAMS, Item
from pipeline.sample_world.scenes import Scene, twin
from pipeline.sample_world.vocabulary import SEEN_COLOURS
from pipeline.sources import conceptual_captions, flickr30k, mscoco

Planted = dict[str, dict[str, list[Any]]]
"""By source and name: keys of images, places of captions, [original, copy] or [original, twin], and of `mojibake`
[place, repaired text]. A pair stands under the source of the copy."""

_COCO, _FLICKR, _WEB = mscoco.SOURCE, flickr30k.SOURCE, conceptual_captions.SOURCE

IMAGES: dict[str, float] = {
    **dict.fromkeys((Reason.UNREADABLE_IMAGE, Reason.MISSING_IMAGE), 0.01),
    **dict.fromkeys((Reason.EMPTY_FILE, Reason.NOT_AN_IMAGE, Reason.OVERSIZED_IMAGE, Reason.SMALL_IMAGE), 0.003),
    **dict.fromkeys((Reason.EXTREME_SHAPE, Reason.ANIMATED_IMAGE), 0.003),
    **dict.fromkeys(("grey", "cmyk", "palette", "grey16", "exif", "transparent"), 0.003),
}
"""Share of a corpus by form, at least one image each; the last six are odd, but good."""
WEB_MISSING = 0.05
"""Share of Conceptual Captions that can no longer be downloaded."""
TWINS = 0.02
CAPTIONS = 0.005
"""Share of images with a faulty caption, by fault."""
MALFORMED = 0.005
"""Rows that no image has, as a share of the images, in corpora of lines."""


@dataclass(frozen=True)
class Copies:
    """Images of corpus `source` that show what an image of corpus `original` shows; `share` is of `source`."""

    name: Reason
    original: str
    source: str
    share: float
    near: bool
    """Altered, or else the same bytes."""


COPIES = (
    Copies(Reason.NEAR_DUPLICATE, _COCO, _COCO, 0.02, near=True),
    Copies(Reason.NEAR_DUPLICATE, _FLICKR, _FLICKR, 0.01, near=True),
    Copies(Reason.NEAR_DUPLICATE, _COCO, _FLICKR, 0.01, near=True),
    Copies(Reason.NEAR_DUPLICATE, _WEB, _WEB, 0.008, near=True),
    Copies(Reason.NEAR_DUPLICATE, _COCO, _WEB, 0.006, near=True),
    Copies(Reason.NEAR_DUPLICATE, _FLICKR, _WEB, 0.006, near=True),
    Copies(Reason.DUPLICATE_IMAGE, _COCO, _COCO, 0.005, near=False),
    Copies(Reason.DUPLICATE_IMAGE, _FLICKR, _FLICKR, 0.005, near=False),
    Copies(Reason.DUPLICATE_IMAGE, _WEB, _WEB, 0.005, near=False),
    Copies(Reason.DUPLICATE_IMAGE, _COCO, _WEB, 0.01, near=False),
    Copies(Reason.DUPLICATE_IMAGE, _FLICKR, _WEB, 0.01, near=False),
    *(
        Copies(Reason.EVALUATION_COPY, original, source, 0.005, near=near)
        for original, source in ((_FLICKR, _COCO), (_COCO, _FLICKR), (_COCO, _WEB), (_FLICKR, _WEB))
        for near in (False, True)
    ),
)


class Pool:
    """A corpus's training images in random order, from which none is taken twice."""

    def __init__(self, items: list[Item], rng: np.random.Generator) -> None:
        self.size, self.rng = len(items), rng
        self._order = [items[int(i)] for i in rng.permutation(len(items))]

    def take(self, share: float, least: int = 1) -> list[Item]:
        """`share` of the corpus, but at least `least` images."""
        return [self._order.pop() for _ in range(max(least, round(share * self.size)))]

    def take_one(self) -> Item:
        """Take one image, to be copied."""
        return self._order.pop()


def plant(world: dict[str, list[Item]], seed: int) -> Planted:
    """Spoil some of the images of every corpus, and some of their captions; what is not chosen stays as it is.

    There are at least 60 images of every source, besides those of Flickr30k that are marked as its test split.
    Returns what was planted in images; for captions see `note_caption`.
    """
    planted: Planted = {source: defaultdict(list) for source in world}
    # A last number of 0 would give the stream that drew the scenes.
    pools = {
        source: Pool([i for i in items if not i.evaluation], np.random.default_rng([seed, STREAMS[source], 1]))
        for source, items in world.items()
    }
    for source, pool in pools.items():
        _plant_forms(source, pool, planted[source])
        _plant_evaluation(source, pool, planted[source])
        _plant_twins(pool, planted[source])
        _plant_captions(source, pool)
    _plant_copies(world, pools, planted)
    return planted


def _plant_forms(source: str, pool: Pool, planted: dict[str, list[Any]]) -> None:
    for form, share in IMAGES.items():
        for item in pool.take(WEB_MISSING if (source, form) == (_WEB, Reason.MISSING_IMAGE) else share):
            item.form = form
            planted[form].append(item.key)


def _plant_evaluation(source: str, pool: Pool, planted: dict[str, list[Any]]) -> None:
    """Val and test images of COCO, val images of Flickr30k, whose test images are others."""
    chosen = pool.take(0.04, least=4) if source == _COCO else pool.take(0.02) if source == _FLICKR else []
    for k, item in enumerate(chosen):
        item.evaluation = "test" if source == _COCO and k % 2 else "val"
        planted[Reason.EVALUATION_IMAGE].append(item.key)


def _plant_twins(pool: Pool, planted: dict[str, list[Any]]) -> None:
    for item in pool.take(TWINS):
        original = pool.take_one()
        item.scene = twin(pool.rng, original.scene, SEEN_COLOURS)
        item.captions = captions.detailed(pool.rng, item.scene)
        planted["twins"].append([original.key, item.key])


def _plant_captions(source: str, pool: Pool) -> None:
    for name in FAULTS:
        if (source, name) == (_COCO, Reason.NOT_UTF8):  # JSON cannot hold it
            continue
        for item in pool.take(CAPTIONS):
            item.faulty = faulty_caption(pool.rng, name, item.captions, item.scene)


def _plant_copies(world: dict[str, list[Item]], pools: dict[str, Pool], planted: Planted) -> None:
    evaluated = {
        _COCO: cycle([i for i in world[_COCO] if i.evaluation]),
        _FLICKR: cycle([i for i in world[_FLICKR] if i.evaluation == "test"]),
    }
    alterations = cycle(ALTERATIONS)
    for copies in COPIES:
        rng = pools[copies.source].rng
        for item in pools[copies.source].take(copies.share):
            evaluation = copies.name is Reason.EVALUATION_COPY
            original = next(evaluated[copies.original]) if evaluation else pools[copies.original].take_one()
            item.scene, item.captions = original.scene, _in_other_words(rng, original.scene, original.captions)
            item.alteration = random_alteration(rng, next(alterations)) if copies.near else None
            planted[copies.source][copies.name].append([original.key, item.key])


def _in_other_words(rng: np.random.Generator, scene: Scene, known: list[str]) -> list[str]:
    """Captions of a scene, of which one of the first two at least is not `known` yet."""
    while True:
        found = captions.detailed(rng, scene)
        if not {*found[:2]} <= {*known}:
            return found


def note_caption(planted: dict[str, list[Any]], item: Item, place: str) -> None:
    """Enter where the last of an item's captions stands, if that is a faulty one."""
    if item.faulty:
        repaired = item.faulty.repaired
        planted[item.faulty.name].append(place if repaired is None else [place, repaired])
