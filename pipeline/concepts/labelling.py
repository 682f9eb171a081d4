"""Find concepts among captions, label every caption with them, and write the stage's three tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import schema
from pipeline.artifacts.catalog import CONCEPT_LABELS, CONCEPTS, LANGUAGE
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import Split, embeddings
from pipeline.artifacts.tables import EmbeddingWriter, TableWriter
from pipeline.concepts import clusters, names
from pipeline.concepts.cached import CachedLanguage
from pipeline.machine.batches import batches

CODE = "concepts 1"
"""Raised whenever the same embeddings give other concepts or labels."""

_Rows = NDArray[np.float32]
_CHUNK = 8192
_EXAMPLES, _WORDS = 5, 8
"""Captions and words by which a concept is told."""


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
        EmbeddingWriter(
            folder / LANGUAGE.name, embeddings("caption_index", dimension=d), dict(metadata)
        ) as of_language,
        TableWriter(folder / CONCEPT_LABELS.name, schema.LABELS, metadata) as of_labels,
    ):
        for part in batches(zip(manifest.keys, manifest.captions, strict=True), _CHUNK):
            owner = [key for key, own in part for _ in own]
            index = [i for _, own in part for i in range(len(own))]
            place = np.array([number[text] for _, own in part for text in own], dtype=np.int64)
            of_language.write(owner, index, rows[place])
            concepts, shares = list(labels.concepts[place]), list(labels.shares[place])
            of_labels.write({"key": owner, "caption_index": index, "concepts": concepts, "shares": shares})
    nearest = labels.concepts[training, 0].astype(np.int64)
    with TableWriter(folder / CONCEPTS.name, schema.concepts(d), metadata) as of_concepts:
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
