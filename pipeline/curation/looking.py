"""Inspections of images and the close look at suspects, several side by side, with results in order."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Protocol, TypeVar

from pipeline.artifacts.schema import Reason
from pipeline.curation.altered import altered_copy
from pipeline.curation.guard import Frames, Guard, Placement
from pipeline.curation.inspection import ImageFault, ImageLimits, Inspection, inspect
from pipeline.machine.batches import batches
from pipeline.machine.processes import Processes
from pipeline.sources import File

T = TypeVar("T")
CHUNK = 32
"""Images a process inspects at a time."""
_SEARCHED = 16_384
"""Images whose frames are in memory at a time."""


class Foresight(Protocol):
    """Inspections that are made elsewhere, before they are asked for."""

    def expect(self, files: Iterable[File | None], limits: ImageLimits) -> None:
        """What will be inspected with these limits."""

    def find(self, files: list[File | None], limits: ImageLimits) -> list[Inspection | ImageFault | None]:
        """What was found of each file; None where it has to be looked at."""


class NoForesight:
    """Nothing is inspected before it is asked for."""

    def expect(self, files: Iterable[File | None], limits: ImageLimits) -> None:
        """Do nothing."""

    def find(self, files: list[File | None], limits: ImageLimits) -> list[Inspection | ImageFault | None]:
        """Nothing of any file."""
        return [None] * len(files)


def inspected(
    processes: Processes,
    things: Iterable[T],
    file: Callable[[T], File | None],
    limits: ImageLimits,
    foresight: Foresight,
) -> Iterator[tuple[T, Inspection | ImageFault]]:
    """Everything with what an inspection of its file found."""

    def chunks() -> Iterator[list[File | None]]:
        iterator = iter(things)
        while chunk := list(islice(iterator, CHUNK)):
            files = [file(one) for one in chunk]
            known = foresight.find(files, limits)
            waiting.append((chunk, known))
            yield [one for one, found in zip(files, known, strict=True) if found is None]

    waiting: list[tuple[list[T], list[Inspection | ImageFault | None]]] = []
    work = partial(_inspect_all, limits=limits)
    for found in processes.map(work, chunks()):
        chunk, known = waiting.pop(0)
        new = iter(found)
        yield from ((one, before or next(new)) for one, before in zip(chunk, known, strict=True))


def _inspect_all(files: list[File | None], limits: ImageLimits) -> list[Inspection | ImageFault]:
    missing = ImageFault(Reason.MISSING_IMAGE, "no such file was downloaded")
    return [missing if file is None else inspect(file, limits) for file in files]


def altered(
    processes: Processes, guard: Guard, images: Iterable[tuple[int, tuple[bytes, ...]]], file: Callable[[int], File]
) -> Iterator[tuple[int, int]]:
    """Which images are altered copies of guarded ones.

    Args:
        images: numbers and frames.
        file: of a number, of a guarded image too.

    Yields:
        number of an image, and of the first guarded image that it is found to be a copy of.
    """
    queues: dict[int, list[tuple[int, list[Placement]]]] = {}
    for part in batches(images, _SEARCHED):
        frames = Frames()
        for number, image_frames in part:
            frames.add(number, image_frames)
        queues |= {number: list(suspects.items()) for number, suspects in guard.suspects(frames).items()}
    queues = dict(sorted(queues.items()))
    while queues := {number: queue for number, queue in queues.items() if queue}:
        asked = [(number, *queue.pop(0)) for number, queue in queues.items()]
        tasks = ((file(guarded), file(number), placements) for number, guarded, placements in asked)
        for (number, guarded, _), same in zip(asked, processes.map(altered_copy, tasks), strict=True):
            if same:
                del queues[number]
                yield number, guarded
