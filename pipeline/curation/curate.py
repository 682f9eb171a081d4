"""The whole of curation, from source folders to shards, manifest and rejected table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline import files, shards, sources, tables
from pipeline.curation.ledger import Ledger
from pipeline.curation.select import Kept, check_captions, draw, select
from pipeline.errors import InputError
from pipeline.progress import track
from pipeline.schema import MANIFEST, REJECTED, Split


class EmptySplit(InputError):
    """Nothing was kept for a split."""


def read_all(path: Path, names: Mapping[str, int], ledger: Ledger) -> dict[str, list[sources.Sample]]:
    """Every sample of the named corpora below `path`, with captions checked; the rest is in the ledger."""
    rows: dict[str, list[sources.Sample]] = {}
    for source in names:
        rows[source] = []
        for row in track(sources.read(source, path / source), f"read {source}", unit="rows"):
            ledger.saw(row)
            if isinstance(row, sources.Sample):
                rows[source].append(check_captions(row, ledger))
    return rows


def curate(
    path: Path,
    out: Path,
    *,
    quota: Mapping[str, int],
    test: Mapping[str, str | float],
    validation: float,
    samples_per_shard: int,
    seed: int,
    workers: int,
) -> dict[str, Any]:
    """Curate the corpora below `path` into `out`/{train,val,test}/NNNNNN.tar, manifest.parquet, rejected.parquet.

    Original image bytes are copied, never encoded again. Arguments are those of `select`.

    Returns:
        counts by split, and by kind and source.

    Raises:
        sources.SourceError: a corpus is missing or malformed.
        EmptySplit: no sample was kept for a split.
    """
    ledger = Ledger()
    rows = read_all(path, quota, ledger)
    kept = select(rows, quota=quota, test=test, validation=validation, seed=seed, workers=workers, ledger=ledger)
    counts = ledger.balance(k.sample for k in kept)

    manifest: list[dict[str, Any]] = []
    for split in Split:
        chosen = [k for k in kept if k.split is split]
        if not chosen:
            raise EmptySplit(
                f"no sample was kept for the {split} split; rows by source: {counts['image']}. "
                "Look at the reasons, then change sources.quota, curate.validation or curate.test"
            )
        chosen.sort(key=lambda k: (draw(seed, "order", k.sample.key), k.sample.key))
        places = shards.write(out / split, _records(chosen, split), samples_per_shard)
        manifest += [_manifest_row(k, *place) for k, place in zip(chosen, places, strict=True)]
    tables.write_parquet(out / "manifest.parquet", manifest, MANIFEST)
    tables.write_parquet(
        out / "rejected.parquet",
        (
            {"kind": r.kind, "key": r.key, "source": r.source, "place": r.place, "reason": r.reason, "detail": r.detail}
            for r in ledger.rejected
        ),
        REJECTED,
    )
    return {"kept": {split: sum(k.split is split for k in kept) for split in Split}, **counts}


def _records(chosen: list[Kept], split: Split) -> Iterator[dict[str, Any]]:
    for k in track(chosen, f"write {split}", unit="images"):
        assert k.sample.path is not None
        yield shards.record(
            k.sample.key, k.image.extension, k.sample.path.read_bytes(),
            captions=[c.text for c in k.sample.captions], source=k.sample.source, url=k.sample.url,
        )  # fmt: skip


def _manifest_row(k: Kept, shard: int, row: int) -> dict[str, Any]:
    return {
        "key": k.sample.key, "source": k.sample.source, "source_id": k.sample.source_id, "split": str(k.split),
        "shard": shard, "row": row, "image_sha256": k.image.sha256, "phash": k.image.phash,
        "width": k.image.width, "height": k.image.height, "captions": [c.text for c in k.sample.captions],
        "licence": k.sample.licence, "url": k.sample.url,
    }  # fmt: skip


class Manifest:
    """The kept samples in manifest order (split, shard, row), as the later stages read them.

    Args:
        folder: the curate stage's folder.
        splits: which splits; all by default.
    """

    def __init__(self, folder: Path, splits: tuple[Split, ...] = tuple(Split)) -> None:
        path = folder / "manifest.parquet"
        if not path.is_file():
            raise tables.ContractError(f"{path} does not exist; run: dvc repro curate")
        table = pq.read_table(path)
        if not table.schema.remove_metadata().equals(MANIFEST):
            raise tables.ContractError(f"{path}: found columns {table.schema.names}, expected {MANIFEST.names}")
        self.folder, self.splits = folder, splits
        self.fingerprint = files.sha256(path)[:32]
        self.rows: list[dict[str, Any]] = [row for row in table.to_pylist() if row["split"] in splits]
        self.keys: list[str] = [row["key"] for row in self.rows]
        self.captions: list[list[str]] = [row["captions"] for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def images(self, what: str) -> Iterator[tuple[str, bytes]]:
        """Key and image bytes of every sample, in order, with progress.

        Raises:
            tables.ContractError: shards and manifest differ.
        """
        found = (pair for split in self.splits for pair in shards.read(self.folder / split))
        expected = iter(self.keys)
        for key, data, _ in track(found, what, total=len(self), unit="images"):
            wanted = next(expected, None)
            if key != wanted:
                raise tables.ContractError(
                    f"{self.folder}: shards hold {key!r} where the manifest has {wanted!r}; run: dvc repro -f curate"
                )
            yield key, data
        if (missing := next(expected, None)) is not None:
            raise tables.ContractError(f"{self.folder}: {missing!r} is in no shard; run: dvc repro -f curate")
