"""Which samples are kept, and in which split: leak guard, exact duplicates, quotas, seeded splits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain

from pipeline.curation.checks import Inspection, Refusal, clean_caption, inspect_image
from pipeline.curation.ledger import Ledger
from pipeline.progress import track
from pipeline.schema import Reason, Split
from pipeline.sources import Rejected, Sample, SourceError

KARPATHY = "karpathy"


@dataclass(frozen=True, slots=True)
class Kept:
    """A sample that is kept, what was seen of its image, and its split."""

    sample: Sample
    image: Inspection
    split: Split


def draw(seed: int, purpose: str, key: str) -> float:
    """A number in 0..1 fixed by seed, purpose and key alone, so that adding data never reshuffles old choices."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def check_captions(sample: Sample, ledger: Ledger) -> Sample:
    """The sample with its captions cleaned; those that are empty go to the ledger."""
    kept = []
    for caption in sample.captions:
        text = clean_caption(caption.text)
        if text:
            kept.append(replace(caption, text=text))
        else:
            detail = f"nothing to read in {caption.text!r}"
            ledger.rejected.append(
                Rejected("caption", sample.key, sample.source, caption.place, Reason.EMPTY_CAPTION, detail)
            )
    return replace(sample, captions=tuple(kept))


def _inspect(samples: Sequence[Sample], workers: int, what: str) -> Iterator[tuple[Sample, Inspection | Refusal]]:
    """Inspect in order on a few threads (decoding releases the GIL), never far ahead of what is consumed."""
    size = 64 * workers
    batches = (samples[i : i + size] for i in range(0, len(samples), size))
    with ThreadPoolExecutor(workers) as pool:
        ahead = chain.from_iterable(
            zip(batch, pool.map(inspect_image, [s.path for s in batch]), strict=True) for batch in batches
        )
        yield from track(ahead, what, total=len(samples), unit="images")


def select(
    rows: Mapping[str, Sequence[Sample]],
    *,
    quota: Mapping[str, int],
    test: Mapping[str, str | float],
    validation: float,
    seed: int,
    workers: int,
    ledger: Ledger,
) -> list[Kept]:
    """Choose from every corpus, in the order of `rows`; everything else goes to `ledger` with its reason.

    Evaluation images come first: what the Karpathy splits (or the seeded fraction `test` of a corpus without one)
    name is never trained on, and neither is another copy of the same bytes. The rest of each corpus is taken in the
    order of a seeded hash of the key until its quota is full; of equal images the first taken stays.

    Args:
        rows: samples by source, captions already checked.
        quota: images for train and val together, by source.
        test: by source, `karpathy` or a fraction: which images form the test split.
        validation: fraction of the chosen that goes to val.
        seed: of the hashes.
        workers: threads that decode.
        ledger: where the others go.
    """
    kept: list[Kept] = []
    taken: dict[str, str] = {}  # sha256 -> key of the kept sample
    guarded: dict[str, str] = {}  # sha256 -> key of the evaluation image
    pools: dict[str, list[Sample]] = {}
    evaluation: list[tuple[Sample, bool]] = []
    for source, samples in rows.items():
        mode = test.get(source)
        if mode == KARPATHY and not any(s.evaluation == "test" for s in samples):
            raise SourceError(
                f"curate.test asks for the Karpathy test images of {source}, but its split file is missing or names "
                "none of them; add the file (README, 'Your own data') or give a fraction such as 0.1"
            )
        pool = []
        for sample in samples:
            if isinstance(mode, float):
                is_test = draw(seed, "test", sample.key) < mode
            else:
                is_test = mode == KARPATHY and sample.evaluation == "test"
            if is_test or sample.evaluation:
                evaluation.append((sample, is_test))
            else:
                pool.append(sample)
        pools[source] = sorted(pool, key=lambda s: (draw(seed, "quota", s.key), s.key))

    def usable(sample: Sample, image: Inspection | Refusal) -> Inspection | None:
        if isinstance(image, Refusal):
            ledger.reject(sample, image.reason, image.detail)
        elif not sample.captions:
            ledger.reject(sample, Reason.NO_CAPTION, "no caption is left")
        else:
            return image
        return None

    wanted = {sample.key: is_test for sample, is_test in evaluation}
    for sample, found in _inspect([s for s, _ in evaluation], workers, "evaluation images"):
        if isinstance(found, Inspection):
            guarded.setdefault(found.sha256, sample.key)
        if not wanted[sample.key]:
            ledger.reject(sample, Reason.EVALUATION_IMAGE, f"Karpathy {sample.evaluation} image")
        elif (image := usable(sample, found)) is None:
            continue
        elif image.sha256 in taken:
            ledger.reject(sample, Reason.DUPLICATE_IMAGE, f"same bytes as {taken[image.sha256]}")
        else:
            taken[image.sha256] = sample.key
            kept.append(Kept(sample, image, Split.TEST))

    for source, pool in pools.items():
        room = quota[source]
        used = 0
        for sample, found in _inspect(pool, workers, source) if room else ():
            used += 1
            if (image := usable(sample, found)) is None:
                continue
            if image.sha256 in guarded:
                ledger.reject(sample, Reason.EVALUATION_IMAGE, f"same bytes as {guarded[image.sha256]}")
            elif image.sha256 in taken:
                ledger.reject(sample, Reason.DUPLICATE_IMAGE, f"same bytes as {taken[image.sha256]}")
            else:
                taken[image.sha256] = sample.key
                split = Split.VAL if draw(seed, "split", sample.key) < validation else Split.TRAIN
                kept.append(Kept(sample, image, split))
                room -= 1
                if room == 0:
                    break
        for sample in pool[used:]:
            ledger.reject(sample, Reason.OVER_QUOTA, f"the quota of {quota[source]} was full")
    return kept
