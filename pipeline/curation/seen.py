"""Every image that was seen so far: what became of it, which one it is a copy of, and which others show the same."""

from array import array
from collections.abc import Sequence
from enum import IntEnum

from pipeline.curation.held_out import HeldOut
from pipeline.curation.inspection import Inspection
from pipeline.curation.ledger import Ledger
from pipeline.curation.lookalikes import Lookalikes
from pipeline.sources import File


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
        self.lookalikes = Lookalikes(radius)
        self.fates = bytearray()
        self.originals = array("q")
        self.ledger_numbers = array("q")
        """The number of every image in the ledger; of one that is held out, -1 - its place among those."""
        self._first_with_bytes: dict[bytes, int] = {}
        self._parents = array("q")
        """For every image an earlier one that shows the same, or itself: the groups as a forest."""

    def __len__(self) -> int:
        return len(self.fates)

    def add(self, images: list[tuple[int, Inspection]], fate: Fate) -> list[int]:
        """Number images, each given with its number in the ledger; returns for each the first with the same bytes."""
        self.lookalikes.add([image for _, image in images])
        first = []
        for number, (ledger_number, image) in enumerate(images, len(self)):
            first.append(self._first_with_bytes.setdefault(image.sha256, number))
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

    def group(self, number: int) -> int:
        """The first image of the group of an image: all that `link` ties together, directly or through others."""
        while (parent := self._parents[number]) != number:
            self._parents[number] = number = self._parents[parent]
        return number

    def link(self, a: int, b: int) -> None:
        """Put two images that show the same, and with them their groups, into one group."""
        a, b = self.group(a), self.group(b)
        self._parents[max(a, b)] = min(a, b)
