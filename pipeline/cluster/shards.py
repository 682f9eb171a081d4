"""Shards as actors' tasks: which rows of a manifest lie in which, and their images where an actor can read them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import shards
from pipeline.artifacts.manifest import Manifest


def by_shard(manifest: Manifest, rows: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """Rows of a manifest, ascending, by the shard that holds them, such as `train/000000.tar`."""

    def shard(row: int) -> str:
        return _name(manifest.rows[row]["split"], manifest.rows[row]["shard"])

    return {name: np.array(list(group), dtype=np.int64) for name, group in groupby(rows.tolist(), shard)}


@contextmanager
def reachable(manifest: Manifest, url: str) -> Iterator[Path]:
    """A folder of this machine with the shards of some samples; copies of them go when the block ends."""
    names = [_name(split, shard) for split, shard in manifest.in_shards]
    with TemporaryDirectory() as folder:
        yield shards.here(url, names, Path(folder))


def _name(split: str, shard: int) -> str:
    return f"{split}/{shards.name(shard)}"
