"""What a corpus of the sample world consists of, before anything is planted or written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.artifacts.schema import Reason, make_key
from pipeline.sample_world import captions
from pipeline.sample_world.faulty_captions import FaultyCaption
from pipeline.sample_world.forms import Alteration, Box
from pipeline.sample_world.rendering import DrawnImage
from pipeline.sample_world.scenes import Scene, random_scene, sibling
from pipeline.sample_world.vocabulary import SEEN_COLOURS, SEEN_SHAPES
from pipeline.sources import conceptual_captions, flickr30k, mscoco

STREAMS = {mscoco.SOURCE: 2, flickr30k.SOURCE: 3, conceptual_captions.SOURCE: 4}
"""Stream of random numbers by corpus; 1 and 5 are the training sets'."""
SIBLINGS = 0.3
"""Share of scenes that differ from the one before in one attribute or one relation."""


@dataclass
class Item:
    """One image of a corpus before it is written."""

    key: str
    source_id: str
    scene: Scene
    captions: list[str]
    evaluation: Literal["val", "test"] | None = None
    form: str = "rgb"
    """One of `forms.FORMS`, or `missing_image`."""
    alteration: Alteration | None = None
    faulty: FaultyCaption | None = None

    @property
    def image(self) -> DrawnImage | None:
        """What to render, None if there is to be no file."""
        return None if self.form == Reason.MISSING_IMAGE else DrawnImage(self.scene, self.form, self.alteration)

    @property
    def boxes(self) -> list[Box]:
        """The box of every thing, in pixels of a whole file."""
        boxes = [thing.box for thing in self.scene.things]
        return [self.alteration.box(box) for box in boxes] if self.alteration else boxes

    def texts(self, limit: int | None = None) -> Iterator[bytes]:
        """Captions as they stand in the corpus: the first `limit` good ones, then the faulty one if there is one."""
        yield from (text.encode() for text in self.captions[:limit])
        if self.faulty:
            yield self.faulty.text


def random_items(seed: int, source: str, count: int, identity: Callable[[int], str]) -> list[Item]:
    """`count` images of a corpus, all of them good; the id of number i is `identity(i)`."""
    rng = np.random.default_rng([seed, STREAMS[source]])
    items: list[Item] = []
    for i in range(count):
        if items and rng.random() < SIBLINGS:
            scene = sibling(rng, items[-1].scene, SEEN_SHAPES, SEEN_COLOURS)
        else:
            scene = random_scene(rng, SEEN_SHAPES, SEEN_COLOURS)
        source_id = identity(i)
        items.append(Item(make_key(source, source_id), source_id, scene, captions.detailed(rng, scene)))
    return items
