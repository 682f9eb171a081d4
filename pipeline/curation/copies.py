"""Which earlier image an image is a copy of: candidates are compared, many side by side, in a fixed order."""

from collections.abc import Iterator

from pipeline.curation.alignment import same_image
from pipeline.curation.seen import Fate, SeenImages
from pipeline.machine.processes import Processes

Candidates = dict[int, int | None]
"""Distances of perceptual hashes in bits, by the number of the earlier image; None where the bytes are the same."""


def first_copied(
    seen: SeenImages, start: int, candidates: list[Candidates], processes: Processes
) -> Iterator[tuple[int, int | None]]:
    """Of every image from `start` on, the earlier image that it is a copy of, or None; links those that show the same.

    An image is compared with its candidates in their order, and waits for those on which nothing is decided yet;
    comparisons that do not wait for each other run side by side. Once it is a copy, only images outside its group
    matter. The caller sets the fate of an image before it asks for the next.
    """
    queues = {number: list(near) for number, near in enumerate(candidates, start)}
    verdicts = {(number, c): True for number, near in enumerate(candidates, start) for c in near if near[c] is None}
    while queues:
        asked: list[tuple[int, int]] = []
        for number, queue in list(queues.items()):
            while queue and seen.fates[queue[0]] != Fate.OPEN:
                other = queue[0]
                if seen.fates[number] == Fate.COPY and seen.group(number) == seen.group(other):
                    queue.pop(0)
                    continue
                if (number, other) not in verdicts:
                    asked.append((number, other))
                    break
                queue.pop(0)
                if verdicts.pop((number, other)):
                    seen.link(number, other)
                    same_bytes = candidates[number - start][other] is None
                    stands_for_an_image = same_bytes or seen.fates[other] != Fate.COPY or seen.is_leak(other)
                    if seen.fates[number] == Fate.OPEN and stands_for_an_image:
                        yield number, other
            if not queue:
                del queues[number]
                if seen.fates[number] == Fate.OPEN:
                    yield number, None
        pairs = ((seen.file(a), seen.file(b)) for a, b in asked)
        verdicts.update(zip(asked, processes.map(same_image, pairs), strict=True))
