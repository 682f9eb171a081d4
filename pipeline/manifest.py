"""The kept samples, as every stage after curation reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline import files, shards, tables
from pipeline.progress import track
from pipeline.schema import MANIFEST, Split


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
