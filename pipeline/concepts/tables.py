"""The tables of the concepts stage: the language model's vectors, every caption's soft labels, and the concepts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import Split, vectors
from pipeline.artifacts.tables import Table, TableWriter, VectorWriter
from pipeline.clip.encode import batches
from pipeline.concepts import clusters, names
from pipeline.concepts.cached import CachedLanguage

LABELS = pa.schema(
    [
        ("key", pa.string()),
        ("caption_index", pa.int32()),
        ("concepts", pa.list_(pa.int32())),
        ("shares", pa.list_(pa.float32())),
    ]
)
"""One row a caption: its concepts, the largest share first, and the shares, which sum to 1."""

CODE = "concepts 1"
"""Raised whenever the same vectors give other concepts or labels."""

_Rows = NDArray[np.float32]
_CHUNK = 8192
_EXAMPLES, _WORDS = 5, 8
"""Captions and words by which a concept is told."""


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


@dataclass(frozen=True)
class Clustering:
    """How concepts are found; see `clusters`. `count`: K, or None for the root of the training captions' number."""

    count: int | None
    temperature: float
    top: int
    iterations: int
    seed: int


def write(
    language: CachedLanguage, manifest: Manifest, how: Clustering, folder: Path, metadata: Mapping[str, Any]
) -> dict[str, Any]:
    """Embed whatever is new and write language.arrow, labels.arrow and concepts.arrow.

    Concepts are found among the distinct captions of the train split; captions of all splits are labelled.

    Args:
        language: the frozen language model.
        manifest: all samples.
        how: the clustering.
        folder: where the tables go.
        metadata: of all three.

    Returns:
        distinct captions, concepts, the sizes of the smallest and the largest.
    """
    texts = list(dict.fromkeys(text for own in manifest.captions for text in own))
    language.embed(texts)
    number = {text: i for i, text in enumerate(texts)}
    rows = language.vectors(texts).astype(np.float32)
    of_training = (
        own for row, own in zip(manifest.rows, manifest.captions, strict=True) if row["split"] == Split.TRAIN
    )
    training = np.array(list(dict.fromkeys(number[text] for own in of_training for text in own)), dtype=np.int64)
    count = how.count or max(1, round(len(training) ** 0.5))
    centres = clusters.cluster(rows[training], count, seed=how.seed, iterations=how.iterations)
    labels = clusters.soft_labels(rows, centres, temperature=how.temperature, top=how.top)

    d = rows.shape[1]
    with (
        VectorWriter(folder / "language.arrow", vectors("caption_index", dimension=d), dict(metadata)) as of_language,
        TableWriter(folder / "labels.arrow", LABELS, metadata) as of_labels,
    ):
        for part in batches(zip(manifest.keys, manifest.captions, strict=True), _CHUNK):
            owner = [key for key, own in part for _ in own]
            index = [i for _, own in part for i in range(len(own))]
            place = np.array([number[text] for _, own in part for text in own], dtype=np.int64)
            of_language.write(owner, index, rows[place])
            concepts, shares = list(labels.concepts[place]), list(labels.shares[place])
            of_labels.write({"key": owner, "caption_index": index, "concepts": concepts, "shares": shares})
    nearest = labels.concepts[training, 0].astype(np.int64)
    with TableWriter(folder / "concepts.arrow", concepts_schema(d), metadata) as of_concepts:
        sizes = _write_concepts(of_concepts, [texts[i] for i in training], rows[training], nearest, centres)
    extremes = {"smallest": int(sizes.min()), "largest": int(sizes.max())}
    return {"distinct_captions": len(texts), "concepts": count} | extremes


def _write_concepts(
    writer: TableWriter, texts: list[str], rows: _Rows, nearest: NDArray[np.int64], centres: _Rows
) -> NDArray[np.int64]:
    """Write a row for every concept from the captions of training; returns how many of these are nearest to each."""
    words = names.distinctive_words(texts, nearest, len(centres), _WORDS)
    sizes = np.bincount(nearest, minlength=len(centres)).astype(np.int64)
    examples = [
        [texts[i] for i in names.nearest(rows, centre, np.flatnonzero(nearest == k), _EXAMPLES)]
        for k, centre in enumerate(centres)
    ]
    described = {"concept": range(len(centres)), "size": sizes, "words": words, "captions": examples}
    writer.write(described | {"centre": list(centres)})
    return sizes
