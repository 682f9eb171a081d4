"""One teacher's embeddings of all that a student trains on, as its readers see them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.catalog import TargetTables
from pipeline.artifacts.manifest import Manifest, check_captions
from pipeline.artifacts.tables import ContractError, Table, check_index, check_keys, check_unit, offsets

Embeddings = NDArray[np.float16]


class Phrases:
    """Unit embeddings of distinct phrases, by the phrase.

    Attributes:
        vectors: float16 [phrases, d], a row a phrase; not copied.
        number: the row of every phrase.
    """

    def __init__(self, table: Table) -> None:
        texts = table.strings("key")
        self.path, self.vectors = table.path, table.vectors()
        self.number = {text: row for row, text in enumerate(texts)}
        if len(self.number) != len(texts):
            raise ContractError(f"{table.path}: {len(texts)} rows of {len(self.number)} phrases; {_MEND}")

    def __len__(self) -> int:
        return len(self.number)

    def __contains__(self, text: str) -> bool:
        return text in self.number

    def rows(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """The rows of some phrases, int64 [p].

        Raises:
            ContractError: there is none of a phrase.
        """
        try:
            return np.array([self.number[text] for text in texts], dtype=np.int64)
        except KeyError as error:
            raise ContractError(f"{self.path} has no row of {error}; run: dvc repro targets") from error

    def __getitem__(self, texts: Sequence[str]) -> Embeddings:
        """The embeddings of some phrases, float16 [p, d]; a copy."""
        return self.vectors[self.rows(texts)]


_MEND = "run: dvc repro -sf targets"


class ClipTargets:
    """A teacher's targets of a manifest. A table is opened and checked when it is asked for: keys, counts, unit length.

    Args:
        opened: opens a table of `tables`, whose metadata has to be what is given by keyword.

    Attributes:
        scale: by which the teacher's similarities are multiplied.
        weights: the hash of its weights, equal in all its tables.
        metadata: of its images' table.

    Raises:
        ContractError: anything of that fails, naming both sides.
    """

    def __init__(self, tables: TargetTables, manifest: Manifest, opened: Callable[..., Table]) -> None:
        self.tables, self.manifest, self._opened = tables, manifest, opened
        first = opened(tables.images)
        self.metadata = first.metadata
        try:
            self._origin = {name: first.metadata[name] for name in ("weights", "scale", "features")}
            self.scale, self.weights = float(first.metadata["scale"]), first.metadata["weights"]
        except (KeyError, ValueError) as error:
            raise ContractError(f"{first.path} does not say whose it is ({error!r}); {_MEND}") from error

    @cached_property
    def images(self) -> Embeddings:
        """Of every image, float16 [n, d]."""
        table = self._table("images")
        check_keys(table.strings("key"), self.manifest.keys, str(table.path))
        return table.vectors()

    @cached_property
    def views(self) -> Embeddings:
        """Of every view, image by image, view 1 first: float16 [n * views, d]."""
        table, n = self._table("views"), len(self.manifest)
        count = len(table) // max(1, n)
        check_keys(table.strings("key"), [key for key in self.manifest.keys for _ in range(count)], str(table.path))
        check_index(table, "view", np.tile(np.arange(1, count + 1), n))
        return table.vectors()

    @property
    def view_count(self) -> int:
        """Views of an image."""
        return len(self.views) // max(1, len(self.manifest))

    @cached_property
    def crops(self) -> Embeddings:
        """Of every crop, image by image: of all regions but the whole images, float16 [regions - n, d]."""
        table = self._table("crops")
        counts = np.diff(offsets(table.strings("key"), self.manifest.keys, str(table.path)))
        first = np.cumsum(counts) - counts
        check_index(table, "region_index", np.arange(len(table)) - np.repeat(first, counts) + 1)
        return table.vectors()

    @cached_property
    def captions(self) -> Embeddings:
        """Of every caption in order, float16 [captions, d]."""
        table = self._table("captions")
        check_captions(table, self.manifest)
        return table.vectors()

    @cached_property
    def phrases(self) -> Phrases:
        """Of every distinct phrase of the captions."""
        return Phrases(self._table("phrases"))

    @cached_property
    def columns(self) -> Phrases:
        """Of every distinct rewrite and negative."""
        return Phrases(self._table("columns"))

    def check_made_from(self, **fingerprints: str) -> None:
        """Stop unless its tables were made from what is here.

        Args:
            **fingerprints: of the tables `regions` and `spans`, of `views`, or of `columns`.

        Raises:
            ContractError: one is of something else; both are named.
        """
        for name, expected in fingerprints.items():
            table = self._table(name if name in ("views", "columns") else "images")
            if (found := table.json("made_from").get(name)) != expected:
                raise ContractError(f"{table.path} was made from {name} {found}, here are {expected}; run: dvc repro")

    def check(self) -> None:
        """Open all of its tables."""
        for name in ("images", "views", "crops", "captions", "phrases", "columns"):
            getattr(self, name)

    def _table(self, name: str) -> Table:
        table = self._opened(getattr(self.tables, name), **self._origin)
        check_unit(table)
        return table
