"""Rows of a table beside what was computed anew: how far they are apart, which ones are wrong, and how to mend them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.catalog import maker
from pipeline.artifacts.tables import Table
from pipeline.store import inventory

Floats = NDArray[np.floating]
_NAMED = 5
"""Rows that are named, at most, and rows of the store that are taken out one by one; of more, all are."""


@dataclass
class Compared:
    """Rows that were computed anew.

    Attributes:
        names: of each, in words: its key and what else tells it.
        distances: of each from what was computed anew.
        collection: of the feature store that they were read from; empty for a table that is made anew by its stage.
        keys: of each in that collection.
    """

    names: list[str] = field(default_factory=list)
    distances: list[float] = field(default_factory=list)
    collection: str = ""
    keys: list[bytes] = field(default_factory=list)

    @classmethod
    def vectors(
        cls, anew: Floats, held: Floats, names: Sequence[str], collection: str = "", keys: Sequence[bytes] = ()
    ) -> Compared:
        """Unit embeddings, by their Euclidean distances."""
        distances = np.linalg.norm(anew - held.astype(np.float32), axis=1)
        return cls(list(names), distances.tolist(), collection, list(keys))

    def add(self, name: str, distance: float, key: bytes) -> None:
        """Add a row."""
        self.names.append(name)
        self.distances.append(distance)
        self.keys.append(key)

    @property
    def largest(self) -> float:
        """The largest distance; 0 where there is no row."""
        return max(self.distances, default=0.0)

    def fault(self, tolerance: float, table: Table) -> str:
        """What is wrong: the rows farther away than `tolerance`, the farthest first, and the command that mends them.

        A stage that is run again reads the rows that the feature store holds; so these are taken out of it first.
        """
        farthest_first = np.argsort(-np.array(self.distances), kind="stable").tolist()
        wrong = [i for i in farthest_first if not self.distances[i] <= tolerance]
        if not wrong:
            return ""
        named = "; ".join(self.names[i] for i in wrong[:_NAMED]) + (", ..." if len(wrong) > _NAMED else "")
        return (
            f"differs by {self.largest:.4g}, expected at most {tolerance:g}, in {len(wrong)} of {len(self.names)} rows "
            f"that were computed anew: {named}. Computed on another machine, or wrongly; run: "
            f"{self._forgotten(table, {self.keys[i] for i in wrong} if self.keys else ())}"
            f"dvc repro -sf {maker(table.path)}, then dvc repro"
        )

    def _forgotten(self, table: Table, keys: Iterable[bytes]) -> str:
        """The command that takes rows out of the store, if they came from there."""
        folders = [f for f in table.json("collections") if f.rpartition("-")[0] == self.collection]
        if not folders:
            return ""
        given = sorted(key.hex() for key in keys)
        few = "".join(f" {key}" for key in given) if len(given) <= _NAMED else ""
        return f"dclip cache forget {Path(folders[0]).name[: len(self.collection) + inventory.SHOWN]}{few}, then "
