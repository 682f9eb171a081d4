"""Which images are kept, and in which split: leak guard, duplicates, quotas, seeded splits."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from pipeline.artifacts.schema import Reason, Split
from pipeline.curation import lookalikes, similarity
from pipeline.curation.copies import Candidates, first_copied
from pipeline.curation.held_out import HeldOut
from pipeline.curation.inspection import ImageFault, ImageLimits, Inspection
from pipeline.curation.leaks import Leaks
from pipeline.curation.ledger import Candidate, Ledger, draw
from pipeline.curation.looking import Foresight, NoForesight, inspected
from pipeline.curation.seen import Fate, SeenImages
from pipeline.curation.similarity import Similarity
from pipeline.machine.processes import Processes
from pipeline.machine.progress import track
from pipeline.sources import CORPORA, SourceError

log = logging.getLogger(__name__)

PUBLISHED = "karpathy"
BATCH = 8192
"""Images drawn from a pool at a time."""
BLOCK = 512
"""Images decided together: so many comparisons of images may run side by side."""

Inspected = tuple[Candidate, Inspection | ImageFault]


@dataclass(frozen=True, slots=True)
class Rules:
    """What is selected.

    Args:
        quota: images for train and val together, by corpus. A copy stays in the corpus that is named first.
        test: by corpus, `karpathy` or a fraction: which images form the test split.
        validation: share of the chosen that goes to val.
        radius: Hamming distance up to which perceptual hashes make two images candidates for the same image.
        merge: whether the captions of a copy that is not kept go to the image that is.
        kinds: by source, of which kind it is, if not of that of its name.
        similarity: which captions of training images are too unlike their images, by a first pass; None for none.
        uncaptioned: corpora whose images without captions are kept, too, for training alone.
    """

    quota: Mapping[str, int]
    test: Mapping[str, str | float]
    validation: float
    images: ImageLimits
    radius: int
    merge: bool
    seed: int
    kinds: Mapping[str, str] = field(default_factory=dict)
    similarity: Similarity | None = None
    uncaptioned: frozenset[str] = frozenset()


def select(
    ledger: Ledger,
    rules: Rules,
    workers: int,
    held_out: Sequence[HeldOut] = (),
    foresight: Foresight | None = None,
) -> list[HeldOut]:
    """Decide on every image of the ledger, with so many processes; returns what could not be seen of `held_out`.

    Evaluation images come first. What a published split (or the seeded fraction of a corpus without one) names is
    never trained on, and neither is another copy of the image, in whatever corpus; test images are kept as they are
    named, copies of each other included. The rest of each corpus, in the order of `rules.quota`, is taken by a seeded
    draw of its key until the quota is full; of copies the first taken stays. A copy has the same bytes, or a near
    perceptual hash and then the same image (`alignment`). Kept images that copies link (A is like B, B like C,
    but A is not like C) go to the split that the first of them drew, so that near-duplicates never straddle it.

    Evaluation images, and the images of `held_out`, are guarded more widely: altered copies of them (`altered`) do
    not train either, nor copies of such copies, whichever of them was drawn first. An image that turns out to be one
    after it was taken is taken back, and another is drawn in its stead.

    Raises:
        SourceError: a published test split is wanted and no image of the corpus is in it.
    """
    for source, mode in rules.test.items():
        if mode == PUBLISHED and source in rules.quota and not ledger.has(source, "test"):
            split_file = CORPORA[rules.kinds.get(source, source)].split_file
            why = f"{split_file} is missing or names none of them. Add it, or" if split_file else "nothing names any:"
            raise SourceError(
                f"curate.test asks for the published test images of {source}, but {why} give a fraction such as 0.1 "
                "(docs/your-data.md)"
            )
    give_roles(ledger, rules)
    if rules.similarity:
        similarity.drop(ledger, rules.similarity, seed=rules.seed, validation=rules.validation)
    # Comparisons have processes of their own: among the others they would wait for all inspections under way.
    with Processes(workers) as inspecting, Processes(workers) as comparing:
        return _Selection(ledger, rules, inspecting, comparing, held_out, foresight or NoForesight()).run()


def give_roles(ledger: Ledger, rules: Rules) -> None:
    """Set apart the evaluation images of these rules, and order the others by their draws."""
    ledger.assign(
        rules.seed,
        {source for source, mode in rules.test.items() if mode == PUBLISHED},
        {source: mode for source, mode in rules.test.items() if isinstance(mode, float)},
        rules.uncaptioned,
    )


class _Selection:
    """One run of `select`: evaluation images, then quotas corpus by corpus, then splits."""

    def __init__(
        self,
        ledger: Ledger,
        rules: Rules,
        inspecting: Processes,
        comparing: Processes,
        held_out: Sequence[HeldOut],
        foresight: Foresight,
    ) -> None:
        self.ledger, self.rules, self.inspecting, self.comparing = ledger, rules, inspecting, comparing
        self.held_out, self.foresight = held_out, foresight
        self.seen = SeenImages(ledger, held_out, rules.radius)
        self.leaks = Leaks(self.seen, ledger, comparing)
        self.room = dict(rules.quota)
        self.reached = dict.fromkeys(rules.quota, (-1.0, ""))
        """The draw and the key of the last image of every corpus that was inspected."""

    def run(self) -> list[HeldOut]:
        evaluation = list(self.ledger.evaluation_images())
        for _ in track(self._guard(evaluation), "evaluation images", total=len(evaluation), unit="images"):
            pass
        unseen = self._guard_held_out()
        self.seen.lookalikes.always = len(self.seen)
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
        if crowded := self.seen.lookalikes.crowded:
            log.warning(
                "%d images look like more than %d others by hash and colours; each was compared with the evaluation "
                "images among them and the %d nearest",
                crowded, lookalikes.MOST, lookalikes.MOST,
            )  # fmt: skip
        return unseen

    # Evaluation images

    def _guard(self, evaluation: list[Candidate]) -> Iterator[None]:
        """Keep test images, and guard every evaluation image."""
        widest = self.rules.images.widest()  # copies may be within the limits
        self.foresight.expect((candidate.file for candidate in evaluation), widest)
        inspections = self._inspect(evaluation, widest)
        while block := list(islice(inspections, BLOCK)):
            readable = [(c.number, found) for c, found in block if isinstance(found, Inspection)]
            self._add_guarded(readable)
            self.ledger.saw(number for number, _ in readable)
            for candidate, found in block:
                if candidate.role == "guard":
                    detail = f"{candidate.evaluation} image of the published split"
                    self.ledger.reject(candidate.number, Reason.EVALUATION_IMAGE, detail)
                elif (image := self._usable(candidate, found)) is not None:
                    self._keep(candidate.number, candidate.key, image, Split.TEST)
                yield

    def _guard_held_out(self) -> list[HeldOut]:
        """Guard the images that are no part of a corpus; returns those that cannot be read."""
        unseen, widest = [], self.rules.images.widest()
        self.foresight.expect((one.file for one in self.held_out), widest)
        found = inspected(self.inspecting, enumerate(self.held_out), lambda one: one[1].file, widest, self.foresight)
        total = len(self.held_out)
        for (place, held_out), image in track(found, "other evaluation images", total=total, unit="images"):
            if isinstance(image, Inspection):
                self._add_guarded([(-1 - place, image)])
            else:
                unseen.append(held_out)
        return unseen

    def _add_guarded(self, images: list[tuple[int, Inspection]]) -> None:
        for number, (_, image) in enumerate(images, len(self.seen)):
            self.leaks.guard(number, image.frames)
        self.seen.add(images, Fate.GUARD)

    # Quotas

    def _fill(self, source: str) -> Iterator[None]:
        """Inspect no more than there is room for, decide, and again until the quota or the pool is used up."""
        expected = 0
        while (room := self.room[source]) and (
            batch := self.ledger.pool(source, self.reached[source], min(room, BATCH))
        ):
            if expected == 0:  # so many will be looked at, however many of them are kept
                expected = room
                drawn = self.ledger.drawn(source, self.reached[source], room)
                self.foresight.expect((candidate.file for candidate in drawn), self.rules.images)
            expected = max(0, expected - len(batch))
            last = batch[-1].key
            self.reached[source] = (draw(self.rules.seed, "quota", last), last)
            inspections = self._inspect(batch, self.rules.images)
            while block := list(islice(inspections, BLOCK)):
                self.room[source] -= self._settle(block)
                yield from (None for _ in block)

    def _settle(self, block: list[Inspected]) -> int:
        """Decide on some images of the pool; returns how many are kept."""
        seen, start = self.seen, len(self.seen)
        usable = [(c, image) for c, found in block if (image := self._usable(c, found)) is not None]
        first = seen.add([(c.number, image) for c, image in usable], Fate.OPEN)
        near = seen.lookalikes.before(start)
        candidates: list[Candidates] = [
            {same_bytes: None} if same_bytes < number else dict(alike)
            for number, (same_bytes, alike) in enumerate(zip(first, near, strict=True), start)
        ]
        frames = {n: image.frames for n, (_, image) in enumerate(usable, start) if first[n - start] == n}
        for number, guarded in self.leaks.altered(frames.items()):
            self._reject_altered(number, guarded)
        kept = 0
        for number, other in first_copied(seen, start, candidates, self.comparing):
            candidate, image = usable[number - start]
            if other is None:
                seen.fates[number] = Fate.KEPT
                self.leaks.kept.add(number, image.frames)
                self._keep(candidate.number, candidate.key, image, self._drawn_split(candidate))
                kept += 1
            else:
                self._reject_copy(number, other, candidates[number - start][other])
        same_bytes = [number for number, earlier in enumerate(first, start) if earlier < number]
        gone = set(seen.forget(same_bytes, [number for number in frames if seen.fates[number] == Fate.COPY]))
        for number in filter(seen.is_leak, frames):
            if number not in gone:
                self.leaks.guard_copy(number, frames[number])
        return kept

    def _take_back(self) -> bool:
        """Reject what was kept before a copy of an evaluation image was found that it is a copy of; whether any was."""
        taken = False
        while found := self.leaks.kept_by_mistake():
            taken = True
            copies = self.seen.copies(number for number, _ in found)
            for number, leak in found:
                self.room[self.ledger.source(self.seen.ledger_numbers[number])] += 1
                self._reject_altered(number, leak)
                self.leaks.guard_copy(number, self.leaks.kept.pop(number))
                for copy in copies[number]:
                    self._reject(copy, number, "same image as", Reason.EVALUATION_COPY)
        return taken

    # Splits

    def _drawn_split(self, candidate: Candidate) -> Split:
        validates = candidate.captions and draw(self.rules.seed, "split", candidate.key) < self.rules.validation
        return Split.VAL if validates else Split.TRAIN

    def _gather_groups(self) -> None:
        """Move every kept image of the pool to the split of the first kept one of its group.

        One without captions cannot validate, so where the first does it goes.
        """
        seen, ledger, firsts = self.seen, self.ledger, dict[int, int]()
        for number, fate in enumerate(seen.fates):
            if fate != Fate.KEPT or (group := seen.group(number)) == number:
                continue  # the first image of its group is the first kept one, if it is kept
            first = group if seen.fates[group] == Fate.KEPT else firsts.setdefault(group, number)
            if first == number:
                continue
            one, split = seen.ledger_numbers[number], ledger.split(seen.ledger_numbers[first])
            if split == Split.TRAIN or ledger.is_captioned(one):
                ledger.move(one, split)
            else:
                detail = f"no caption, and copies link it to {seen.name(first)}, which is of {split}"
                ledger.reject(one, Reason.NEAR_DUPLICATE, detail)

    # One image

    def _inspect(self, candidates: Iterable[Candidate], limits: ImageLimits) -> Iterator[Inspected]:
        """Inspect in order, several processes side by side."""
        for candidate, result in inspected(self.inspecting, candidates, lambda c: c.file, limits, self.foresight):
            if isinstance(result, ImageFault) and candidate.file is None and candidate.note:
                result = ImageFault(result.reason, candidate.note)
            yield candidate, result

    def _usable(self, candidate: Candidate, image: Inspection | ImageFault) -> Inspection | None:
        """The image if it is within the limits and has the caption that it needs; otherwise it is rejected."""
        uncaptioned = self.rules.uncaptioned
        if isinstance(image, Inspection):
            image = self.rules.images.fault(image.width, image.height, image.animated) or image
        if isinstance(image, ImageFault):
            self.ledger.reject(candidate.number, image.reason, image.detail)
        elif not candidate.captions and (candidate.role or self.ledger.source(candidate.number) not in uncaptioned):
            self.ledger.reject(candidate.number, Reason.NO_CAPTION, "no caption is left")
        else:
            return image
        return None

    def _keep(self, number: int, key: str, image: Inspection, split: Split) -> None:
        self.ledger.keep(number, image, split, draw(self.rules.seed, "order", key))

    def _reject_copy(self, number: int, found: int, distance: int | None) -> None:
        """Reject an image that is a copy of `found`, which may be a copy of the same bytes itself."""
        if distance is None:
            self._reject(number, found, "same bytes as", Reason.DUPLICATE_IMAGE)
        else:
            self._reject(number, found, f"same image (hashes {distance} bits apart) as", Reason.NEAR_DUPLICATE)

    def _reject_altered(self, number: int, found: int) -> None:
        """Reject an image that is an altered copy of `found`, an evaluation image or a copy of one."""
        self._reject(number, found, "same image, altered, as", Reason.EVALUATION_COPY)

    def _reject(self, number: int, found: int, detail: str, reason: Reason) -> None:
        """Make an image a copy of the original of `found`, which gets its captions unless that evaluates."""
        seen, original = self.seen, self.seen.originals[found]
        seen.fates[number], seen.originals[number] = Fate.COPY, original
        detail = f"{detail} {seen.name(found)}"
        if original != found:
            detail += f", the same image as {seen.name(original)}"
        copy, shown = seen.ledger_numbers[number], seen.ledger_numbers[original]
        if seen.fates[original] == Fate.GUARD:
            reason = Reason.EVALUATION_COPY
        elif self.rules.merge:
            self.ledger.merge(copy, shown)
        self.ledger.reject(copy, reason, detail, shown if shown >= 0 else None)
