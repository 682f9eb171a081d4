"""Which images are kept, and in which split: leak guard, duplicates, quotas, seeded splits."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from itertools import islice

from pipeline.curation.alignment import same_picture
from pipeline.curation.inspection import ImageFault, ImageLimits, Inspection, inspect
from pipeline.curation.ledger import Candidate, Ledger, draw
from pipeline.curation.lookalikes import Lookalikes
from pipeline.processes import Processes
from pipeline.progress import track
from pipeline.schema import Reason, Split
from pipeline.sources import CORPORA, File, SourceError

PUBLISHED = "karpathy"
CHUNK = 32
"""Images a process inspects at a time."""
BATCH = 8192
"""Images drawn from a pool at a time."""
BLOCK = 512
"""Images decided together: so many comparisons of pictures may run side by side."""

Inspected = tuple[Candidate, Inspection | ImageFault]


@dataclass(frozen=True, slots=True)
class Rules:
    """What is selected.

    Args:
        quota: images for train and val together, by corpus. A copy stays in the corpus that is named first.
        test: by corpus, `karpathy` or a fraction: which images form the test split.
        validation: share of the chosen that goes to val.
        images: sizes that are kept.
        radius: Hamming distance up to which perceptual hashes make two images candidates for the same picture.
        merge: whether the captions of a copy that is not kept go to the image that is.
        seed: of every draw.
    """

    quota: Mapping[str, int]
    test: Mapping[str, str | float]
    validation: float
    images: ImageLimits
    radius: int
    merge: bool
    seed: int


class _Fate(IntEnum):
    """What became of a picture that others are compared with."""

    OPEN = 0
    GUARD = 1
    KEPT = 2
    COPY = 3


def select(ledger: Ledger, rules: Rules, workers: int) -> None:
    """Decide on every image of the ledger, with so many processes.

    Evaluation images come first. What a published split (or the seeded fraction of a corpus without one) names is
    never trained on, and neither is another copy of the picture, in whatever corpus; test images are kept as they are
    named, copies of each other included. The rest of each corpus, in the order of `rules.quota`, is taken by a seeded
    draw of its key until the quota is full; of copies the first taken stays. A copy has the same bytes, or a near
    perceptual hash and then the same picture (`alignment`). Kept images that copies link (A is like B, B like C,
    but A is not like C) go to the split that the first of them drew, so that near-duplicates never straddle it.

    Raises:
        SourceError: a published test split is wanted and no image of the corpus is in it.
    """
    for source, mode in rules.test.items():
        if mode == PUBLISHED and source in rules.quota and not ledger.has(source, "test"):
            split_file = CORPORA[source].split_file
            raise SourceError(
                f"curate.test asks for the published test images of {source}, but "
                + (
                    f"{split_file} is missing or names none of them. Add it, or"
                    if split_file
                    else "none are published:"
                )
                + " give a fraction such as 0.1 (README, 'Your own data')"
            )
    ledger.assign(
        rules.seed,
        {source for source, mode in rules.test.items() if mode == PUBLISHED},
        {source: mode for source, mode in rules.test.items() if isinstance(mode, float)},
    )
    # Comparisons have processes of their own: among the others they would wait for all inspections under way.
    with Processes(workers) as inspecting, Processes(workers) as comparing:
        _Selection(ledger, rules, inspecting, comparing).run()


class _Selection:
    """Numbers of pictures count those that were readable, in the order in which they were decided on."""

    def __init__(self, ledger: Ledger, rules: Rules, inspecting: Processes, comparing: Processes) -> None:
        self.ledger, self.rules, self.inspecting, self.comparing = ledger, rules, inspecting, comparing
        self.lookalikes = Lookalikes(rules.radius)
        self.same_bytes: dict[bytes, int] = {}
        self.images = array("q")
        """Of every picture, its number in the ledger."""
        self.fates = bytearray()
        self.originals = array("q")
        """Of every picture, the kept or evaluation picture that it is a copy of, itself if it is none."""
        self.neighbours = array("q")
        """Of every picture, an earlier one that shows the same, itself if there is none: groups as a forest."""

    def run(self) -> None:
        evaluation = list(self.ledger.evaluation_images())
        for _ in track(self._guard(evaluation), "evaluation images", total=len(evaluation), unit="images"):
            pass
        for source, quota in self.rules.quota.items():
            total = min(quota, self.ledger.pool_size(source))
            for _ in track(self._fill(source, quota), source, total=total, unit="images"):
                pass
            self.ledger.reject_rest(source, Reason.OVER_QUOTA, f"the quota of {quota} was full")
        self._gather_groups()

    def _inspect(self, candidates: Iterable[Candidate], limits: ImageLimits) -> Iterator[Inspected]:
        """Inspect in order, several processes side by side."""

        def chunks() -> Iterator[list[Candidate]]:
            iterator = iter(candidates)
            while chunk := list(islice(iterator, CHUNK)):
                waiting.append(chunk)
                yield chunk

        waiting: list[list[Candidate]] = []
        work = partial(_inspect_all, limits=limits)
        for found in self.inspecting.map(work, ([c.file for c in chunk] for chunk in chunks())):
            for candidate, result in zip(waiting.pop(0), found, strict=True):
                if isinstance(result, ImageFault) and candidate.file is None and candidate.note:
                    result = ImageFault(result.reason, candidate.note)
                yield candidate, result

    def _remember(self, pictures: list[tuple[Candidate, Inspection]], fate: _Fate) -> list[int]:
        """Number pictures; returns for each the first that has the same bytes."""
        first = []
        self.lookalikes.add([image for _, image in pictures])
        for number, (candidate, image) in enumerate(pictures, len(self.images)):
            first.append(self.same_bytes.setdefault(image.sha256, number))
            self.images.append(candidate.number)
            self.fates.append(fate)
            self.originals.append(number)
            self.neighbours.append(number)
        return first

    def _guard(self, evaluation: list[Candidate]) -> Iterator[None]:
        """Keep test images, and remember every evaluation image."""
        inspected = self._inspect(evaluation, self.rules.images.widest())  # copies may be within the limits
        while block := list(islice(inspected, BLOCK)):
            pictures = [(c, found) for c, found in block if isinstance(found, Inspection)]
            self._remember(pictures, _Fate.GUARD)
            self.ledger.saw(candidate.number for candidate, _ in pictures)
            for candidate, found in block:
                if candidate.role == "guard":
                    detail = f"{candidate.evaluation} image of the published split"
                    self.ledger.reject(candidate.number, Reason.EVALUATION_IMAGE, detail)
                elif (image := self._usable(candidate, found)) is not None:
                    self._keep(candidate.number, candidate.key, image, Split.TEST)
                yield

    def _usable(self, candidate: Candidate, image: Inspection | ImageFault) -> Inspection | None:
        if isinstance(image, Inspection):
            image = self.rules.images.fault(image.width, image.height, image.animated) or image
        if isinstance(image, ImageFault):
            self.ledger.reject(candidate.number, image.reason, image.detail)
        elif not candidate.captions:
            self.ledger.reject(candidate.number, Reason.NO_CAPTION, "no caption is left")
        else:
            return image
        return None

    def _keep(self, number: int, key: str, image: Inspection, split: Split) -> None:
        self.ledger.keep(number, image, split, draw(self.rules.seed, "order", key))

    def _fill(self, source: str, quota: int) -> Iterator[None]:
        """Inspect no more than there is room for, decide, and again until the quota or the pool is used up."""
        room, after = quota, (-1.0, "")
        while room and (batch := self.ledger.pool(source, after, min(room, BATCH))):
            last = batch[-1].key
            after = (draw(self.rules.seed, "quota", last), last)
            inspected = self._inspect(batch, self.rules.images)
            while block := list(islice(inspected, BLOCK)):
                room -= self._settle(block)
                yield from (None for _ in block)

    def _settle(self, block: list[Inspected]) -> int:
        """Decide on some images of the pool; returns how many are kept."""
        pictures = [(c, image) for c, found in block if (image := self._usable(c, found)) is not None]
        start = len(self.images)
        same_bytes = self._remember(pictures, _Fate.OPEN)
        candidates: list[dict[int, int | None]] = [
            {first: None} if first < number else dict(near)
            for number, (first, near) in enumerate(zip(same_bytes, self.lookalikes.before(start), strict=True), start)
        ]
        kept = 0
        for number, found in self._compare(start, candidates):
            candidate, image = pictures[number - start]
            if found is None:
                self.fates[number] = _Fate.KEPT
                self._keep(candidate.number, candidate.key, image, self._drawn_split(candidate.key))
                kept += 1
            else:
                self._reject_copy(number, found, candidates[number - start][found])
        return kept

    def _compare(self, start: int, candidates: list[dict[int, int | None]]) -> Iterator[tuple[int, int | None]]:
        """Of every picture from `start` on: the earlier picture that shows it is a copy, or None.

        A picture is compared with its candidates in their order, and waits for those on which nothing is decided yet;
        comparisons that do not wait for each other run side by side. Once it is a copy, only pictures outside its group
        matter. The caller sets its fate.
        """
        queues = {number: list(near) for number, near in enumerate(candidates, start)}
        verdicts = {(number, c): True for number, near in enumerate(candidates, start) for c in near if near[c] is None}
        while queues:
            asked: list[tuple[int, int]] = []
            for number, queue in list(queues.items()):
                while queue and self.fates[queue[0]] != _Fate.OPEN:
                    other = queue[0]
                    if self.fates[number] == _Fate.COPY and self._root(number) == self._root(other):
                        queue.pop(0)
                        continue
                    if (number, other) not in verdicts:
                        asked.append((number, other))
                        break
                    queue.pop(0)
                    if verdicts.pop((number, other)):
                        self._join(number, other)
                        same_bytes = candidates[number - start][other] is None
                        if self.fates[number] == _Fate.OPEN and (same_bytes or self.fates[other] != _Fate.COPY):
                            yield number, other
                if not queue:
                    del queues[number]
                    if self.fates[number] == _Fate.OPEN:
                        yield number, None
            files = ((self._file(a), self._file(b)) for a, b in asked)
            verdicts.update(zip(asked, self.comparing.map(same_picture, files), strict=True))

    def _drawn_split(self, key: str) -> Split:
        return Split.VAL if draw(self.rules.seed, "split", key) < self.rules.validation else Split.TRAIN

    def _root(self, number: int) -> int:
        while (above := self.neighbours[number]) != number:
            self.neighbours[number] = number = self.neighbours[above]
        return number

    def _join(self, a: int, b: int) -> None:
        a, b = self._root(a), self._root(b)
        self.neighbours[max(a, b)] = min(a, b)

    def _gather_groups(self) -> None:
        """Move every kept picture of the pool to the split of the first kept one of its group."""
        firsts: dict[int, int] = {}
        for number, fate in enumerate(self.fates):
            if fate == _Fate.KEPT and (first := firsts.setdefault(self._root(number), number)) != number:
                self.ledger.move(self.images[number], self._drawn_split(self.ledger.key(self.images[first])))

    def _file(self, number: int) -> File:
        return self.ledger.file(self.images[number])

    def _reject_copy(self, number: int, found: int, distance: int | None) -> None:
        """Reject a picture that is a copy of `found`, which may be a copy of the same bytes itself."""
        original = self.originals[found]
        self.fates[number], self.originals[number] = _Fate.COPY, original
        how = "bytes" if distance is None else f"picture (hashes {distance} bits apart)"
        detail = f"same {how} as {self.ledger.key(self.images[found])}"
        if original != found:
            detail += f", the same picture as {self.ledger.key(self.images[original])}"
        if self.fates[original] == _Fate.GUARD:
            reason = Reason.EVALUATION_COPY
        else:
            reason = Reason.DUPLICATE_IMAGE if distance is None else Reason.NEAR_DUPLICATE
            if self.rules.merge:
                self.ledger.merge(self.images[number], self.images[original])
        self.ledger.reject(self.images[number], reason, detail, self.images[original])


def _inspect_all(files: list[File | None], limits: ImageLimits) -> list[Inspection | ImageFault]:
    missing = ImageFault(Reason.MISSING_IMAGE, "no such file was downloaded")
    return [missing if file is None else inspect(file, limits) for file in files]
