"""The whole of curation, from source folders to shards, manifest and rejected table."""

from __future__ import annotations

import hashlib
import importlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline import files, shards, sources, tables
from pipeline.curation import facts
from pipeline.curation.captions import CaptionLimits
from pipeline.curation.intake import take
from pipeline.curation.ledger import Kept, Ledger
from pipeline.curation.select import Rules, select
from pipeline.errors import InputError
from pipeline.processes import Processes
from pipeline.progress import track
from pipeline.schema import MANIFEST, REJECTED, Split


class EmptySplit(InputError):
    """Nothing was kept for a split."""


class ImageChanged(InputError):
    """An image file is not what it was when it was inspected."""


@dataclass(frozen=True, slots=True)
class _Shard:
    """What one process writes: a tar file of these images, in this order."""

    path: Path
    images: list[Kept]


def curate(
    path: Path, out: Path, rules: Rules, captions: CaptionLimits, *, samples_per_shard: int, workers: int
) -> dict[str, Any]:
    """Curate the corpora below `path` into `out`/{train,val,test}/NNNNNN.tar, manifest.parquet, rejected.parquet,
    and what there is to say of them into card/.

    Original image bytes are copied, never encoded again. Every shard mixes the corpora in a seeded order and shards of
    a split differ by at most one image in length. Memory is flat in the number of rows; the result is the same bytes
    for any number of workers.

    Args:
        path: holds a folder for every corpus of `rules.quota`.
        out: of the stage.
        rules: what is selected.
        captions: which captions are kept.
        samples_per_shard: at most.
        workers: processes that decode, compare and write.

    Returns:
        counts by split, and by kind and source.

    Raises:
        sources.SourceError: a corpus is missing or malformed.
        EmptySplit: no sample was kept for a split.
        ImageChanged: a file was changed or removed while curate ran.
    """
    shutil.rmtree(out / "card", ignore_errors=True)
    with Ledger(out / ".ledger.sqlite", path) as ledger:
        for source in rules.quota:
            rows = sources.read(source, path / source)
            take(ledger, source, track(rows, f"read {source}", unit="rows"), captions)
        with Processes(workers) as processes:
            select(ledger, rules, processes)
        counts, by_split = ledger.balance(), ledger.kept_by_split()
        for split, kept in by_split.items():
            if not kept:
                raise EmptySplit(
                    f"no sample was kept for the {split} split; rows by source: {counts['image']}. "
                    "Look at the reasons, then change sources.quota, curate.validation or curate.test"
                )
        importlib.import_module("webdataset")  # once, before the writing processes branch off
        with Processes(workers) as processes:
            for split in Split:
                sizes = list(_sizes(by_split[split], samples_per_shard))
                written = processes.map(_write, _shards(ledger, out / split, split, sizes))
                for _ in track(written, f"write {split}", total=len(sizes), unit="shards"):
                    pass
                shards.remove_beyond(out / split, len(sizes))
        manifest = (row for split in Split for row in _manifest_rows(ledger, split, by_split[split], samples_per_shard))
        tables.write_parquet(out / "manifest.parquet", manifest, MANIFEST)
        tables.write_parquet(out / "rejected.parquet", ledger.rejected(), REJECTED)
        files.write_json(out / "card/facts.json", facts.gather(ledger, rules, path, out / "card"))
    return {"kept": by_split, **counts}


def _sizes(images: int, most: int) -> Iterator[int]:
    """Lengths of as few shards as hold so many images, none more than one longer than another."""
    count = -(-images // most)
    for shard in range(count):
        yield images // count + (shard < images % count)


def _shards(ledger: Ledger, folder: Path, split: Split, sizes: list[int]) -> Iterator[_Shard]:
    kept = ledger.kept(split)
    for shard, size in enumerate(sizes):
        yield _Shard(folder / shards.name(shard), list(islice(kept, size)))


def _write(shard: _Shard) -> None:
    shards.write_one(shard.path, map(_record, shard.images))


def _record(kept: Kept) -> dict[str, Any]:
    try:
        data = kept.file.read()
    except OSError as error:
        raise ImageChanged(
            f"{kept.file.path} of {kept.key} was readable when curate began: {error}; run it again"
        ) from error
    if hashlib.sha256(data).digest() != kept.image.sha256:
        raise ImageChanged(f"{kept.file.path} of {kept.key} has changed since curate began; run it again")
    return shards.record(
        kept.key, kept.image.extension, data, captions=kept.captions, source=kept.source, url=kept.url,
        licence=kept.licence,
    )  # fmt: skip


def _manifest_rows(ledger: Ledger, split: Split, images: int, most: int) -> Iterator[dict[str, Any]]:
    kept = ledger.kept(split)
    for shard, size in enumerate(_sizes(images, most)):
        for row, k in enumerate(islice(kept, size)):
            yield {
                "key": k.key, "source": k.source, "source_id": k.id, "split": str(split), "shard": shard, "row": row,
                "image_sha256": k.image.sha256.hex(), "phash": k.image.phash, "width": k.image.width,
                "height": k.image.height, "captions": k.captions, "caption_origins": k.origins, "licence": k.licence,
                "url": k.url,
            }  # fmt: skip
