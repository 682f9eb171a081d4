"""Which images are kept, and in which split: leak guard, duplicates, quotas, seeded splits."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice

from pipeline.artifacts.schema import Reason, Split
from pipeline.curation.alignment import same_picture
from pipeline.curation.guard import Guard
from pipeline.curation.held_out import HeldOut
from pipeline.curation.inspection import ImageFault, ImageLimits, Inspection
from pipeline.curation.ledger import Candidate, Ledger, draw
from pipeline.curation.lookalikes import Lookalikes
from pipeline.curation.looking import altered, inspected
from pipeline.machine.processes import Processes
from pipeline.machine.progress import track
from pipeline.sources import CORPORA, File, SourceError

PUBLISHED = "karpathy"
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


def select(ledger: Ledger, rules: Rules, workers: int, held_out: Sequence[HeldOut] = ()) -> list[HeldOut]:
    """Decide on every image of the ledger, with so many processes; returns what could not be seen of `held_out`.

    Evaluation images come first. What a published split (or the seeded fraction of a corpus without one) names is
    never trained on, and neither is another copy of the picture, in whatever corpus; test images are kept as they are
    named, copies of each other included. The rest of each corpus, in the order of `rules.quota`, is taken by a seeded
    draw of its key until the quota is full; of copies the first taken stays. A copy has the same bytes, or a near
    perceptual hash and then the same picture (`alignment`). Kept images that copies link (A is like B, B like C,
    but A is not like C) go to the split that the first of them drew, so that near-duplicates never straddle it.

    Evaluation images, and the pictures of `held_out`, are guarded more widely: altered copies of them (`altered`) do
    not train either, nor copies of such copies, whichever of them was drawn first. An image that turns out to be one
    after it was taken is taken back, and another is drawn in its stead.

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
        return _Selection(ledger, rules, inspecting, comparing, held_out).run()


class _Selection:
    """Numbers of pictures count those that were readable, in the order in which they were decided on."""

    def __init__(
        self,
        ledger: Ledger,
        rules: Rules,
        inspecting: Processes,
        comparing: Processes,
        held_out: Sequence[HeldOut],
    ) -> None:
        self.ledger, self.rules, self.inspecting, self.comparing = ledger, rules, inspecting, comparing
        self.held_out = held_out
        self.room = dict(rules.quota)
        self.reached = dict.fromkeys(rules.quota, (-1.0, ""))
        """Of every corpus, the draw and key of the last image that was looked at."""
        self.guard = Guard()
        self.kept_frames: dict[int, tuple[bytes, ...]] = {}
        """Of every kept picture of the pool, which a copy of an evaluation image that is found later may resemble."""
        self.leaks: dict[int, tuple[bytes, ...]] = {}
        """Frames of the copies of evaluation images that kept pictures were not yet compared with."""
        self.lookalikes = Lookalikes(rules.radius)
        self.same_bytes: dict[bytes, int] = {}
        self.images = array("q")
        """Of every picture, its number in the ledger; of those held out, -1 - the place among them."""
        self.fates = bytearray()
        self.originals = array("q")
        """Of every picture, the kept or evaluation picture that it is a copy of, itself if it is none."""
        self.neighbours = array("q")
        """Of every picture, an earlier one that shows the same, itself if there is none: groups as a forest."""

    def run(self) -> list[HeldOut]:
        evaluation = list(self.ledger.evaluation_images())
        for _ in track(self._guard(evaluation), "evaluation images", total=len(evaluation), unit="images"):
            pass
        unseen = self._guard_held_out()
        while True:
            for source in self.rules.quota:
                total = min(self.room[source], self.ledger.pool_size(source))
                for _ in track(self._fill(source), source, total=total, unit="images"):
                    pass
            if not self._take_back():
                break
        for source, quota in self.rules.quota.items():
            self.ledger.reject_rest(source, Reason.OVER_QUOTA, f"the quota of {quota} was full")
        self._gather_groups()
        return unseen

    def _inspect(self, candidates: Iterable[Candidate], limits: ImageLimits) -> Iterator[Inspected]:
        """Inspect in order, several processes side by side."""
        for candidate, result in inspected(self.inspecting, candidates, lambda c: c.file, limits):
            if isinstance(result, ImageFault) and candidate.file is None and candidate.note:
                result = ImageFault(result.reason, candidate.note)
            yield candidate, result

    def _remember(self, pictures: list[tuple[int, Inspection]], fate: _Fate) -> list[int]:
        """Number pictures, each given with its number in the ledger; returns for each the first with the same bytes."""
        first = []
        self.lookalikes.add([image for _, image in pictures])
        for number, (in_ledger, image) in enumerate(pictures, len(self.images)):
            first.append(self.same_bytes.setdefault(image.sha256, number))
            if fate == _Fate.GUARD:
                self.guard.add(number, image.frames)
            self.images.append(in_ledger)
            self.fates.append(fate)
            self.originals.append(number)
            self.neighbours.append(number)
        return first

    def _guard(self, evaluation: list[Candidate]) -> Iterator[None]:
        """Keep test images, and remember every evaluation image."""
        looked_at = self._inspect(evaluation, self.rules.images.widest())  # copies may be within the limits
        while block := list(islice(looked_at, BLOCK)):
            pictures = [(c.number, found) for c, found in block if isinstance(found, Inspection)]
            self._remember(pictures, _Fate.GUARD)
            self.ledger.saw(number for number, _ in pictures)
            for candidate, found in block:
                if candidate.role == "guard":
                    detail = f"{candidate.evaluation} image of the published split"
                    self.ledger.reject(candidate.number, Reason.EVALUATION_IMAGE, detail)
                elif (image := self._usable(candidate, found)) is not None:
                    self._keep(candidate.number, candidate.key, image, Split.TEST)
                yield

    def _guard_held_out(self) -> list[HeldOut]:
        """Remember the pictures that are no part of a corpus; returns those whose look is unknown."""
        unseen = []
        found = inspected(
            self.inspecting, enumerate(self.held_out), lambda one: one[1].file, self.rules.images.widest()
        )
        for (place, picture), image in track(
            found, "other evaluation pictures", total=len(self.held_out), unit="images"
        ):
            if isinstance(image, Inspection):
                self._remember([(-1 - place, image)], _Fate.GUARD)
            else:
                unseen.append(picture)
        return unseen

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

    def _fill(self, source: str) -> Iterator[None]:
        """Inspect no more than there is room for, decide, and again until the quota or the pool is used up."""
        while (room := self.room[source]) and (
            batch := self.ledger.pool(source, self.reached[source], min(room, BATCH))
        ):
            last = batch[-1].key
            self.reached[source] = (draw(self.rules.seed, "quota", last), last)
            looked_at = self._inspect(batch, self.rules.images)
            while block := list(islice(looked_at, BLOCK)):
                self.room[source] -= self._settle(block)
                yield from (None for _ in block)

    def _settle(self, block: list[Inspected]) -> int:
        """Decide on some images of the pool; returns how many are kept."""
        pictures = [(c, image) for c, found in block if (image := self._usable(c, found)) is not None]
        start = len(self.images)
        same_bytes = self._remember([(c.number, image) for c, image in pictures], _Fate.OPEN)
        candidates: list[dict[int, int | None]] = [
            {first: None} if first < number else dict(near)
            for number, (first, near) in enumerate(zip(same_bytes, self.lookalikes.before(start), strict=True), start)
        ]
        frames = {n: image.frames for n, (_, image) in enumerate(pictures, start) if same_bytes[n - start] == n}
        for number, guarded in altered(self.comparing, self.guard, frames, self._file):
            self._reject_altered(number, guarded)
        kept = 0
        for number, other in self._compare(start, candidates):
            candidate, image = pictures[number - start]
            if other is None:
                self.fates[number] = _Fate.KEPT
                self.kept_frames[number] = image.frames
                self._keep(candidate.number, candidate.key, image, self._drawn_split(candidate.key))
                kept += 1
            else:
                self._reject_copy(number, other, candidates[number - start][other])
        for number in frames:
            if self._is_leak(number):
                self._leak(number, frames[number])
        return kept

    def _take_back(self) -> bool:
        """Reject what was kept before a copy of an evaluation image was found that it is a copy of; whether any was."""
        taken = False
        while found := self._linked_to_leaks() or self._like_leaks():
            taken = True
            for number, leak in found:
                self.room[self.ledger.source(self.images[number])] += 1
                self._reject_altered(number, leak)
                self._leak(number, self.kept_frames.pop(number))
                for copy in [n for n, original in enumerate(self.originals) if original == number]:
                    self._become_copy(copy, number, "same picture as", Reason.EVALUATION_COPY)
        return taken

    def _linked_to_leaks(self) -> list[tuple[int, int]]:
        """Kept pictures in one group with a copy of an evaluation image, and which that is."""
        leaks: dict[int, int] = {}
        for number in range(len(self.fates)):
            if self._is_leak(number):
                leaks.setdefault(self._root(number), number)
        return [(kept, leaks[root]) for kept in self.kept_frames if (root := self._root(kept)) in leaks]

    def _like_leaks(self) -> list[tuple[int, int]]:
        """Kept pictures that are altered copies of the copies of evaluation images found since the last time."""
        guard = Guard()
        for number, frames in self.leaks.items():
            guard.add(number, frames)
        self.leaks.clear()
        return list(altered(self.comparing, guard, self.kept_frames, self._file))

    def _leak(self, number: int, frames: tuple[bytes, ...]) -> None:
        """Guard a copy of an evaluation image as if it were one."""
        self.guard.add(number, frames)
        self.leaks[number] = frames

    def _is_leak(self, number: int) -> bool:
        """Whether a picture is a copy of an evaluation image."""
        return self.fates[number] == _Fate.COPY and self.fates[self.originals[number]] == _Fate.GUARD

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
                        copied = same_bytes or self.fates[other] != _Fate.COPY or self._is_leak(other)
                        if self.fates[number] == _Fate.OPEN and copied:
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
        known = self.images[number]
        return self.ledger.file(known) if known >= 0 else self.held_out[-1 - known].file

    def _name(self, number: int) -> str:
        known = self.images[number]
        return self.ledger.key(known) if known >= 0 else self.held_out[-1 - known].name

    def _reject_copy(self, number: int, found: int, distance: int | None) -> None:
        """Reject a picture that is a copy of `found`, which may be a copy of the same bytes itself."""
        how = "bytes" if distance is None else f"picture (hashes {distance} bits apart)"
        self._become_copy(
            number, found, f"same {how} as", Reason.DUPLICATE_IMAGE if distance is None else Reason.NEAR_DUPLICATE
        )

    def _reject_altered(self, number: int, found: int) -> None:
        """Reject a picture that is an altered copy of `found`, an evaluation image or a copy of one."""
        self._become_copy(number, found, "same picture, altered, as", Reason.EVALUATION_COPY)

    def _become_copy(self, number: int, found: int, detail: str, reason: Reason) -> None:
        original = self.originals[found]
        self.fates[number], self.originals[number] = _Fate.COPY, original
        detail = f"{detail} {self._name(found)}"
        if original != found:
            detail += f", the same picture as {self._name(original)}"
        if self.fates[original] == _Fate.GUARD:
            reason = Reason.EVALUATION_COPY
        elif self.rules.merge:
            self.ledger.merge(self.images[number], self.images[original])
        shown = self.images[original]
        self.ledger.reject(self.images[number], reason, detail, shown if shown >= 0 else None)
