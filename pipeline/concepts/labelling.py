"""Find concepts among captions, label every caption with them, and write the stage's three tables."""

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

    Returns:
        distinct captions, concepts, the sizes of the smallest and the largest.
    """
    texts = list(dict.fromkeys(text for captions in manifest.captions for text in captions))
    language.embed(texts)
    number = {text: i for i, text in enumerate(texts)}
    rows = language.vectors(texts).astype(np.float32)
    rows_and_captions = zip(manifest.rows, manifest.captions, strict=True)
    trained_on = (text for row, captions in rows_and_captions if row["split"] == Split.TRAIN for text in captions)
    training = np.array([number[text] for text in dict.fromkeys(trained_on)], dtype=np.int64)
    count = how.count or max(1, round(len(training) ** 0.5))
    centres = clusters.cluster(rows[training], count, seed=how.seed, iterations=how.iterations)
    labels = clusters.soft_labels(rows, centres, temperature=how.temperature, top=how.top)

    d = rows.shape[1]
    with (
        EmbeddingWriter(
            folder / LANGUAGE.name, embeddings("caption_index", dimension=d), dict(metadata)
        ) as language_writer,
        TableWriter(folder / CONCEPT_LABELS.name, schema.LABELS, metadata) as label_writer,
    ):
        for part in batches(zip(manifest.keys, manifest.captions, strict=True), _CHUNK):
            owner = [key for key, captions in part for _ in captions]
            index = [i for _, captions in part for i in range(len(captions))]
            place = np.array([number[text] for _, captions in part for text in captions], dtype=np.int64)
            language_writer.write(owner, index, rows[place])
            concepts, shares = list(labels.concepts[place]), list(labels.shares[place])
            label_writer.write({"key": owner, "caption_index": index, "concepts": concepts, "shares": shares})
    nearest = labels.concepts[training, 0].astype(np.int64)
    with TableWriter(folder / CONCEPTS.name, schema.concepts(d), metadata) as concept_writer:
        sizes = _write_concepts(concept_writer, [texts[i] for i in training], rows[training], nearest, centres)
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
