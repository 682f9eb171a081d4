"""The tables of the concepts stage: the language model's embeddings, every caption's soft labels, and the concepts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.artifacts.schema import vectors
from pipeline.artifacts.tables import Table, TableWriter, VectorWriter

LABELS = pa.schema(
    [
        ("key", pa.string()),
        ("caption_index", pa.int32()),
        ("concepts", pa.list_(pa.int32())),
        ("shares", pa.list_(pa.float32())),
    ]
)
"""One row a caption: its concepts, the largest share first, and the shares, which sum to 1."""


def concepts_schema(dimension: int) -> pa.Schema:
    """One row a concept; `size` counts the distinct training captions that it is the nearest of."""
    return pa.schema(
        [
            ("concept", pa.int32()),
            ("size", pa.int64()),
            ("words", pa.list_(pa.string())),
            ("captions", pa.list_(pa.string())),
            ("centre", pa.list_(pa.float32(), dimension)),
        ]
    )


def write_empty(folder: Path, metadata: Mapping[str, Any]) -> None:
    """The three tables without a row, where no concepts are wanted."""
    with (
        VectorWriter(folder / "language.arrow", vectors("caption_index", dimension=1), dict(metadata)),
        TableWriter(folder / "labels.arrow", LABELS, metadata),
        TableWriter(folder / "concepts.arrow", concepts_schema(1), metadata),
    ):
        pass


def read_labels(table: Table, keys: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Concepts and shares of the captions of some keys that follow each other in the manifest, [captions, m] each.

    Raises:
        ContractError: they do not stand together in this order.
    """
    rows = table.places(keys)
    part = table.columns.slice(rows.start, rows.stop - rows.start)
    found = []
    for name in ("concepts", "shares"):
        flat = part[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        found.append(flat.reshape(part.num_rows, -1))
    return found[0], found[1]
