"""Copies of evaluation images among those that may train: altered ones, copies of copies, and those found late."""

from collections.abc import Iterable, Iterator

from pipeline.curation.appearance import FRAME
from pipeline.curation.guard import Guard
from pipeline.curation.ledger import Ledger
from pipeline.curation.looking import altered
from pipeline.curation.seen import SeenImages
from pipeline.machine.processes import Processes

Frames = tuple[bytes, ...]
"""The frames of an image (`appearance.frames`), by which altered copies are found."""


class KeptFrames:
    """Frames of every image that is kept for training, by number, in the ledger's file."""

    def __init__(self, ledger: Ledger) -> None:
        self._db = ledger.db

    def add(self, number: int, frames: Frames) -> None:
        """Add those of an image."""
        self._db.execute("INSERT INTO frames (number, frames) VALUES (?, ?)", (number, b"".join(frames)))

    def pop(self, number: int) -> Frames:
        """Take those of an image out."""
        query = "DELETE FROM frames WHERE number = ? RETURNING frames"
        return _separate(self._db.execute(query, (number,)).fetchone()[0])

    def numbers(self) -> Iterator[int]:
        """Numbers in the order in which they were added."""
        yield from (number for (number,) in self._db.execute("SELECT number FROM frames ORDER BY place"))

    def __iter__(self) -> Iterator[tuple[int, Frames]]:
        for number, frames in self._db.execute("SELECT number, frames FROM frames ORDER BY place"):
            yield number, _separate(frames)


def _separate(frames: bytes) -> Frames:
    return tuple(frames[i : i + FRAME**2] for i in range(0, len(frames), FRAME**2))


class Leaks:
    """What is guarded: evaluation images, and from when it is found on, every copy of one as if it were one.

    Attributes:
        kept: frames of every image that is kept for training: a copy that is found later may resemble it.
    """

    def __init__(self, seen: SeenImages, ledger: Ledger, processes: Processes) -> None:
        self._seen, self._processes = seen, processes
        self._guard = Guard()
        self._new: dict[int, Frames] = {}
        """Frames of the copies that kept images were not yet compared with."""
        self.kept = KeptFrames(ledger)

    def guard(self, number: int, frames: Frames) -> None:
        """Guard an evaluation image."""
        self._guard.add(number, frames)

    def guard_copy(self, number: int, frames: Frames) -> None:
        """Guard a copy of an evaluation image as if it were one."""
        self._guard.add(number, frames)
        self._new[number] = frames

    def altered(self, frames: Iterable[tuple[int, Frames]]) -> Iterator[tuple[int, int]]:
        """Which of these images are altered copies of guarded ones, each with the first that it is a copy of."""
        return altered(self._processes, self._guard, frames, self._seen.file)

    def kept_by_mistake(self) -> list[tuple[int, int]]:
        """Kept images that copies of evaluation images show to be copies themselves, each with that copy."""
        return self._linked() or self._like_new()

    def _linked(self) -> list[tuple[int, int]]:
        """Kept images in one group with a copy of an evaluation image."""
        copies: dict[int, int] = {}
        for number in self._seen.leaks():
            copies.setdefault(self._seen.group(number), number)
        if not copies:
            return []
        return [(kept, copies[group]) for kept in self.kept.numbers() if (group := self._seen.group(kept)) in copies]

    def _like_new(self) -> list[tuple[int, int]]:
        """Kept images that are altered copies of the copies that were found since the last time."""
        if not self._new:
            return []
        guard = Guard()
        for number, frames in self._new.items():
            guard.add(number, frames)
        self._new.clear()
        return list(altered(self._processes, guard, self.kept, self._seen.file))
