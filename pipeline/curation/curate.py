"""The whole of curation, from source folders to shards, manifest and rejected table."""

import hashlib
import importlib
import logging
import shutil
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline import sources
from pipeline.artifacts import catalog, shards, tables
from pipeline.artifacts.schema import MANIFEST, REJECTED, Split
from pipeline.curation import card_content, columns
from pipeline.curation.captions import CaptionLimits
from pipeline.curation.held_out import HeldOut
from pipeline.curation.inspection import ImageChanged
from pipeline.curation.intake import take
from pipeline.curation.ledger import Kept, Ledger
from pipeline.curation.looking import Foresight
from pipeline.curation.select import Rules, select
from pipeline.disk import files
from pipeline.errors import InputError
from pipeline.machine.processes import Processes
from pipeline.machine.progress import track

log = logging.getLogger(__name__)

_REASONS = 4
"""How many reasons are named of a corpus that yields nothing, the commonest first."""


class EmptySplit(InputError):
    """Nothing was kept for a split."""


@dataclass(frozen=True, slots=True)
class _Shard:
    """What one process writes: a tar file of these images, in this order."""

    path: Path
    images: list[Kept]


def curate(
    path: Path,
    out: Path,
    rules: Rules,
    captions: CaptionLimits,
    *,
    samples_per_shard: int,
    workers: int,
    given: Mapping[str, sources.Source] | None = None,
    held_out: Mapping[Path, Sequence[HeldOut]] | None = None,
    foresight: Foresight | None = None,
) -> dict[str, Any]:
    """Curate the sources below `path` into `out`/{train,val,test}/NNNNNN.tar, manifest.parquet, rejected.parquet,
    columns/, and what there is to say of them into card/.

    Original image bytes are copied, never encoded again. Every shard mixes the corpora in a seeded order and shards of
    a split differ by at most one image in length. Rows are not held in memory; the result is the same bytes for any
    number of workers.

    Args:
        path: holds a folder for every source of `rules.quota`.
        workers: processes that decode, compare and write.
        given: by source, its kind and where it lies, if not as the kind of its name below `path`.
        held_out: by folder, images of evaluations that are no part of a corpus; copies of them are not kept.
        foresight: other machines that inspect images before they are decided on.

    Returns:
        counts by split, and by kind and source.

    Raises:
        sources.SourceError: a corpus is missing or malformed.
        EmptySplit: no sample was kept for a split.
        ImageChanged: a file was changed or removed while curate ran.
        WorkerKilled: the system ended a process.

    Whatever it raises, rejected.parquet then holds what was rejected until then; and once everything is decided, card/
    holds what there is to say.
    """
    for stale in (catalog.DATA_CARD, catalog.REWRITES):
        shutil.rmtree((out / stale.name).parent, ignore_errors=True)
    files.sweep(out)
    for stale in (catalog.MANIFEST, catalog.REJECTED):  # of an earlier run
        (out / stale.name).unlink(missing_ok=True)
    others = held_out or {}
    asked = {name: sources.Source(name, path / name) for name in rules.quota} | dict(given or {})
    with Ledger(out / ".ledger.sqlite", path) as ledger:
        try:
            for source in rules.quota:
                rows = sources.read(asked[source], source)
                take(ledger, source, track(rows, f"read {source}", unit="rows"), captions)
            unseen = select(ledger, rules, workers, [one for images in others.values() for one in images], foresight)
            columns.settle(ledger, rules.images, workers)
        finally:
            ledger.flush()
            tables.write_parquet(out / catalog.REJECTED.name, ledger.rejected(), REJECTED)
        counts, by_split = ledger.balance(), ledger.kept_by_split()
        card = out / catalog.DATA_CARD.name
        files.write_json(card, card_content.gather(ledger, rules, asked, card.parent, others, unseen))
        _check_yield(ledger, rules, counts, by_split, out)
        importlib.import_module("webdataset")  # once, before the writing processes branch off
        with Processes(workers) as processes:
            manifest = (
                row
                for split, kept in by_split.items()
                for row in _write_split(ledger, Split(split), list(_sizes(kept, samples_per_shard)), out, processes)
            )
            tables.write_parquet(out / catalog.MANIFEST.name, manifest, MANIFEST)
        columns.write(ledger, out, files.sha256(out / catalog.MANIFEST.name)[:32])
    return {"kept": by_split, **counts}


def _check_yield(
    ledger: Ledger, rules: Rules, counts: dict[str, dict[str, dict[str, int]]], by_split: dict[str, int], out: Path
) -> None:
    """Stop if a split is empty, and say so if a corpus yields nothing to train on; either way say why."""

    def summary(source: str) -> str:
        said = (f"{_several(kind)}: {_summarised(found.get(source, {}))}" for kind, found in counts.items())
        return f"{source} ({'; '.join(said)})"

    look = f"Every one stands in {out / catalog.REJECTED.name} with its reason"
    for split, kept in by_split.items():
        if not kept:
            found = ", ".join(map(summary, rules.quota))
            raise EmptySplit(
                f"no sample was kept for the {split} split of {found}. {look}; then change the corpus, its quota, "
                "curate.validation or curate.test"
            )
    training = ledger.kept_for_training()
    for source, quota in rules.quota.items():
        if not training.get(source):
            log.warning(
                "of %s nothing is kept for training, where its quota asks for %d. %s", summary(source), quota, look
            )


def _several(kind: str) -> str:
    return "boxes" if kind == "box" else f"{kind}s"


def _summarised(numbers: dict[str, int]) -> str:
    """How many were read and kept, and the commonest reasons."""
    reasons = sorted(numbers.keys() - {"read", "kept"}, key=lambda reason: (-numbers[reason], reason))
    why = ", ".join(f"{numbers[reason]} {reason}" for reason in reasons[:_REASONS])
    return f"{numbers.get('read', 0)} read, {numbers.get('kept', 0)} kept" + (f", {why}" if why else "")


def _sizes(images: int, most: int) -> Iterator[int]:
    """Lengths of as few shards as hold so many images, none more than one longer than another."""
    count = -(-images // most)
    for shard in range(count):
        yield images // count + (shard < images % count)


def _write_split(
    ledger: Ledger, split: Split, sizes: list[int], out: Path, processes: Processes
) -> Iterator[dict[str, Any]]:
    """Write the shards of a split, and yield the manifest's row of every image as soon as its shard is written."""
    waiting: deque[_Shard] = deque()

    def tasks() -> Iterator[_Shard]:
        kept = ledger.kept(split)
        for shard, size in enumerate(sizes):
            waiting.append(_Shard(out / split / shards.name(shard), list(islice(kept, size))))
            yield waiting[-1]

    written = track(processes.map(_write, tasks()), f"write {split}", total=len(sizes), unit="shards")
    for shard, _ in enumerate(written):
        for row, k in enumerate(waiting.popleft().images):
            sample = {"key": k.key, "source": k.source, "source_id": k.id}
            place = {"split": str(split), "shard": shard, "row": row}
            image = {"image_sha256": k.image.sha256.hex(), "phash": k.image.phash}
            size = {"width": k.image.width, "height": k.image.height}
            texts = {"captions": k.captions, "caption_origins": k.origins, "licence": k.licence, "url": k.url}
            quality = {"sharpness": k.image.sharpness, "brightness": k.image.brightness}
            yield sample | place | image | size | texts | quality
    shards.remove_beyond(out / split, len(sizes))


def _write(shard: _Shard) -> None:
    shards.write_one(shard.path, map(_record, shard.images))


def _record(kept: Kept) -> dict[str, Any]:
    try:
        data = kept.file.read()
    except OSError as error:
        raise ImageChanged(f"{kept.file.path} could be read when curate began: {error}; run it again") from error
    if hashlib.sha256(data).digest() != kept.image.sha256:
        raise ImageChanged(f"{kept.file.path} has changed since curate began; run it again")
    fields = {"captions": kept.captions, "source": kept.source, "url": kept.url, "licence": kept.licence}
    return shards.record(kept.key, kept.image.extension, data, **fields)
