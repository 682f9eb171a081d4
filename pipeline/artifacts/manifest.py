"""The kept samples, as every stage after curation reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from errno import ENOENT
from functools import cached_property
from itertools import groupby, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.artifacts import catalog, shards, tables
from pipeline.artifacts.schema import MANIFEST, Split
from pipeline.disk import files
from pipeline.machine.progress import track
from pipeline.store import keys
from pipeline.store.keys import Keys


@dataclass(frozen=True)
class Kept:
    """A kept sample's image."""

    manifest: Manifest
    row: int

    def read_bytes(self) -> bytes:
        """As `Manifest.image`."""
        return self.manifest.image(self.row)

    def __str__(self) -> str:
        return self.manifest.keys[self.row]


class Manifest:
    """The kept samples in manifest order (split, shard, row), as the later stages read them.

    Args:
        folder: the curate stage's folder.
        splits: which splits; all by default.
    """

    def __init__(self, folder: Path, splits: tuple[Split, ...] = tuple(Split)) -> None:
        path = folder / catalog.MANIFEST.name
        if not path.is_file():
            raise tables.ContractError(f"{path} does not exist; run: dvc repro curate")
        try:
            table = pq.read_table(path)
        except pa.ArrowInvalid as error:
            raise tables.ContractError(
                f"{path} is damaged ({error}); run: dvc checkout, or dvc repro -sf curate"
            ) from error
        if not table.schema.remove_metadata().equals(MANIFEST):
            raise tables.ContractError(f"{path}: found columns {table.schema.names}, expected {MANIFEST.names}")
        self.folder, self.splits = folder, splits
        self.fingerprint = files.sha256(path)[:32]
        self.rows: list[dict[str, Any]] = [row for row in table.to_pylist() if row["split"] in splits]
        self.keys: list[str] = [row["key"] for row in self.rows]
        self.captions: list[list[str]] = [row["captions"] for row in self.rows]
        self._members: dict[tuple[str, int], list[str]] = {}
        """By split and number of a shard, the keys of all samples in it, those that are not among `rows`, too."""
        for row in self.rows:
            self._members.setdefault((row["split"], row["shard"]), []).append(row["key"])

    def only(self, rows: Sequence[int] | NDArray[np.int64]) -> Manifest:
        """Some of these samples, by their rows, ascending; it can be sent to another process."""
        part = object.__new__(Manifest)
        part.folder, part.splits, part.fingerprint = self.folder, self.splits, self.fingerprint
        part.rows = [self.rows[row] for row in rows]
        part.keys, part.captions = ([row[name] for row in part.rows] for name in ("key", "captions"))
        part._members = {place: self._members[place] for place in part.in_shards}
        return part

    @property
    def in_shards(self) -> list[tuple[str, int]]:
        """Split and number of every shard that holds one of these samples, in order."""
        return list(dict.fromkeys((row["split"], row["shard"]) for row in self.rows))

    def __len__(self) -> int:
        return len(self.rows)

    def within(self, folder: Path) -> Manifest:
        """The same samples where their shards lie in another folder."""
        moved = self.only(range(len(self)))
        moved.folder = folder
        return moved

    @cached_property
    def texts(self) -> list[str]:
        """All captions in order."""
        return [text for texts in self.captions for text in texts]

    @cached_property
    def owner(self) -> NDArray[np.int64]:
        """The row of every caption's image, int64 [captions]."""
        return np.repeat(np.arange(len(self)), [len(texts) for texts in self.captions])

    @cached_property
    def caption_index(self) -> NDArray[np.int64]:
        """The place of every caption among those of its image, int64 [captions]."""
        return np.arange(len(self.owner)) - np.searchsorted(self.owner, self.owner)

    @cached_property
    def captioned(self) -> list[str]:
        """The keys of samples with captions; some that train may have none."""
        return [key for key, texts in zip(self.keys, self.captions, strict=True) if texts]

    @cached_property
    def image_keys(self) -> Keys:
        """The feature store's key of every image, uint64 [n, 2]."""
        return keys.pack(keys.from_sha256(row["image_sha256"]) for row in self.rows)

    def images(self, what: str, rows: Sequence[int] | NDArray[np.int64] | None = None) -> Iterator[tuple[str, bytes]]:
        """Key and image bytes of samples, in order, with progress; shards in which none is wanted are not opened.

        `rows` says which samples, ascending; all by default.

        Raises:
            tables.ContractError: shards and manifest differ, or an image's bytes are not those that the manifest names.
        """
        wanted = set(range(len(self)) if rows is None else map(int, rows))
        yield from track(self._read(wanted), what, total=len(wanted), unit="images")

    def _read(self, wanted: set[int]) -> Iterator[tuple[str, bytes]]:
        for (split, shard), group in groupby(sorted(wanted), lambda i: (self.rows[i]["split"], self.rows[i]["shard"])):
            places = {self.keys[i]: i for i in group}
            path = self._shard(split, shard)
            for expected, found in zip_longest(self._members[split, shard], shards.read_one(path)):
                if expected is None or found is None or found[0] != expected:
                    raise tables.ContractError(
                        f"{path} holds {found and found[0]!r} where the manifest has {expected!r}; "
                        "run: dvc repro -sf curate"
                    )
                if (i := places.get(expected)) is not None:
                    self._check(i, found[1], path)
                    yield expected, found[1]

    @cached_property
    def _places(self) -> list[tuple[Path, int, int]]:
        """Shard, offset and length of every image."""
        shards_of = dict.fromkeys((row["split"], row["shard"]) for row in self.rows)
        found = {
            (path, key): (path, offset, length)
            for path in (self._shard(*shard) for shard in shards_of)
            for key, offset, length in shards.places(path)
        }
        try:
            return [found[self._shard(row["split"], row["shard"]), row["key"]] for row in self.rows]
        except KeyError as error:
            path, key = error.args[0]
            raise tables.ContractError(f"{path} has no image of {key}; run: dvc repro -sf curate") from error

    def image(self, row: int) -> bytes:
        """One image's bytes, wherever it is; may be called by several threads once it has returned.

        Raises:
            tables.ContractError: it is not where the manifest says, or has other bytes.
        """
        path, offset, length = self._places[row]
        try:
            if not path.is_file():  # a pipe would be waited for
                raise FileNotFoundError(ENOENT, "no regular file is there")
            with path.open("rb") as stream:
                stream.seek(offset)
                data = stream.read(length)
        except OSError as error:
            raise tables.ContractError(
                f"{path} cannot be read ({error.strerror}); run: dvc checkout, or dvc repro -sf curate"
            ) from error
        self._check(row, data, path)
        return data

    @cached_property
    def image_files(self) -> Sequence[Kept]:
        """Every sample's image, to be read wherever it is wanted."""
        return [Kept(self, row) for row in range(len(self))]

    def _shard(self, split: str, shard: int) -> Path:
        return self.folder / split / shards.name(shard)

    def _check(self, row: int, data: bytes, path: Path) -> None:
        if (digest := hashlib.sha256(data).hexdigest()) != self.rows[row]["image_sha256"]:
            raise tables.ContractError(
                f"{path}: the image of {self.keys[row]} has sha256 {digest}, the manifest has "
                f"{self.rows[row]['image_sha256']}; run: dvc repro -sf curate"
            )


def check_captions(table: tables.Table, manifest: Manifest) -> None:
    """Stop unless a table has one row a caption of a manifest, in its order, naming the first difference.

    Raises:
        tables.ContractError: it has others.
    """
    tables.check_keys(table.strings("key"), [manifest.keys[row] for row in manifest.owner], str(table.path))
    tables.check_index(table, "caption_index", manifest.caption_index)
