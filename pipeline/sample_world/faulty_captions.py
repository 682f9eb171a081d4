"""Captions as real corpora have them beside the good ones: unusable, repeated, or to be repaired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np

from pipeline.artifacts.schema import Reason
from pipeline.sample_world.scenes import Scene

FAULTS: tuple[str, ...] = (
    *(Reason.EMPTY_CAPTION, Reason.NOT_UTF8, Reason.NO_WORDS, Reason.SHORT_CAPTION, Reason.LONG_CAPTION),
    *(Reason.DUPLICATE_CAPTION, "mojibake"),
)
LONG = 120
"""Words of a caption that is too long."""
_EMPTY = ("", " ", "   ")
_NOT_UTF8 = (b"a caf\xe9 with a red star", b"\xff\xfe a blue ring")
_WORDLESS = ("http://pictures.example/img_0042.jpg", "!!! 42 ---", " . ", "(1) https://pictures.example/7 #3")
_ABROAD = ("seen in a café", "drawn in Zürich", "as naïve art", "from a séance")


@dataclass(frozen=True)
class FaultyCaption:
    """A caption that follows an image's own; `name` is what planted.json calls it."""

    name: str
    text: bytes
    repaired: str | None = None
    """What it should have been, where that can be told from it."""


def faulty_caption(rng: np.random.Generator, name: str, captions: Sequence[str], scene: Scene) -> FaultyCaption:
    """A caption with the fault of this name, one of `FAULTS`, of an image with these good captions.

    Of several ways to go wrong one is drawn; what is repeated is the first caption.
    """

    def one(options: Sequence[str]) -> str:
        return options[int(rng.integers(len(options)))]

    first, thing = captions[0], scene.things[0]
    match name:
        case Reason.EMPTY_CAPTION:
            text = one(_EMPTY)
        case Reason.NOT_UTF8:
            return FaultyCaption(name, _NOT_UTF8[int(rng.integers(len(_NOT_UTF8)))])
        case Reason.NO_WORDS:
            text = one(_WORDLESS)
        case Reason.SHORT_CAPTION:
            text = one((thing.colour, thing.shape, f"{thing.shape}!"))
        case Reason.LONG_CAPTION:
            text = " ".join(islice(cycle(" and ".join(captions).split()), LONG))
        case Reason.DUPLICATE_CAPTION:
            text = one((first, f"  {first} ", first.upper(), f"{first.capitalize()}.", f"{first} ."))
        case "mojibake":
            if rng.random() < 0.5:
                whole = f"{first} {one(_ABROAD)}"
                return FaultyCaption(name, whole.encode().decode("latin-1").encode(), whole)
            return FaultyCaption(name, f"{first} &amp; nothing else".encode(), f"{first} & nothing else")
        case _:
            raise ValueError(f"unknown fault {name!r}; there are {', '.join(FAULTS)}")
    return FaultyCaption(name, text.encode())
