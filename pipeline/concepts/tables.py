"""The tables of the concepts stage: the language model's embeddings, every caption's soft labels, and the concepts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.artifacts import schema
from pipeline.artifacts.catalog import CONCEPT_LABELS, CONCEPTS, LANGUAGE
from pipeline.artifacts.schema import embeddings
from pipeline.artifacts.tables import EmbeddingWriter, TableWriter


def write_empty(folder: Path, metadata: Mapping[str, Any]) -> None:
    """The three tables without a row, where no concepts are wanted."""
    with (
        EmbeddingWriter(folder / LANGUAGE.name, embeddings("caption_index", dimension=1), dict(metadata)),
        TableWriter(folder / CONCEPT_LABELS.name, schema.LABELS, metadata),
        TableWriter(folder / CONCEPTS.name, schema.concepts(1), metadata),
    ):
        pass
