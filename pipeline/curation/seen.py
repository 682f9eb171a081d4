"""Every image that was seen so far: what became of it, which one it is a copy of, and which others show the same."""

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from pipeline.curation.held_out import HeldOut
from pipeline.curation.inspection import Inspection
from pipeline.curation.ledger import Ledger
from pipeline.curation.lookalikes import Lookalikes
from pipeline.sources import File

MOST = 100
"""Copies of an image that later ones are compared with: whatever shows the same is like one of these."""


class Fate(IntEnum):
    """What became of an image that others are compared with."""

    OPEN = 0
    GUARD = 1
    KEPT = 2
    COPY = 3


class SeenImages:
    """The images that could be read, numbered from 0 in the order in which they were decided on.

    Attributes:
        fates: of every image, a `Fate`.
        originals: of every image, the kept or evaluation image that it is a copy of, itself if it is none.
    """

    def __init__(self, ledger: Ledger, held_out: Sequence[HeldOut], radius: int) -> None:
        self._ledger, self._held_out = ledger, held_out
        self.lookalikes = Lookalikes(radius, ledger.path.parent)
        self.fates = bytearray()
        self.originals = array("q")
        self.ledger_numbers = array("q")
        """The number of every image in the ledger; of one that is held out, -1 - its place among those."""
        self._copies: Counter[int] = Counter()
        """Of every original, how many of its copies there are by now."""
        self._parents = array("q")
        """For every image an earlier one that shows the same, or itself: the groups as a forest."""

    def __len__(self) -> int:
        return len(self.fates)

    def add(self, images: list[tuple[int, Inspection]], fate: Fate) -> list[int]:
        """Number images, each given with its number in the ledger; returns for each the first with the same bytes."""
        self.lookalikes.add([image for _, image in images])
        first = []
        for number, (ledger_number, image) in enumerate(images, len(self)):
            first.append(self._ledger.first_with_bytes(image.sha256, number))
            self.ledger_numbers.append(ledger_number)
            self.fates.append(fate)
            self.originals.append(number)
            self._parents.append(number)
        return first

    def file(self, number: int) -> File:
        """The file of an image."""
        known = self.ledger_numbers[number]
        return self._ledger.file(known) if known >= 0 else self._held_out[-1 - known].file

    def name(self, number: int) -> str:
        """What an image is called in the detail of a rejection: its key, or the name of one that is held out."""
        known = self.ledger_numbers[number]
        return self._ledger.key(known) if known >= 0 else self._held_out[-1 - known].name

    def is_leak(self, number: int) -> bool:
        """Whether an image is a copy of an evaluation image."""
        return self.fates[number] == Fate.COPY and self.fates[self.originals[number]] == Fate.GUARD

    def leaks(self) -> list[int]:
        """All that `is_leak` is true of, in order."""
        fates, originals = np.frombuffer(self.fates, np.uint8), np.frombuffer(self.originals, np.int64)
        copies: NDArray[np.int64] = np.flatnonzero(fates == Fate.COPY)
        return [int(number) for number in copies[fates[originals[copies]] == Fate.GUARD]]

    def copies(self, originals: Iterable[int]) -> dict[int, list[int]]:
        """For each of some originals the other images that are copies of it, in order."""
        found: dict[int, list[int]] = {original: [] for original in originals}
        all_originals = np.frombuffer(self.originals, np.int64)
        for number in np.flatnonzero(np.isin(all_originals, list(found))):
            if number != (original := int(all_originals[number])):
                found[original].append(int(number))
        return found

    def forget(self, same_bytes: Iterable[int], others: Iterable[int]) -> list[int]:
        """Leave copies among the images that were added last out of all comparisons to come; returns them.

        That is every image with the bytes of an earlier one, and of `others` those of whose original there are enough.
        """
        gone = list(same_bytes)
        for number in others:
            self._copies[original := self.originals[number]] += 1
            if self._copies[original] > MOST:
                gone.append(number)
        self.lookalikes.forget(gone)
        return gone

    def group(self, number: int) -> int:
        """The first image of the group of an image: all that `link` ties together, directly or through others."""
        while (parent := self._parents[number]) != number:
            self._parents[number] = number = self._parents[parent]
        return number

    def link(self, a: int, b: int) -> None:
        """Put two images that show the same, and with them their groups, into one group."""
        a, b = self.group(a), self.group(b)
        self._parents[max(a, b)] = min(a, b)
