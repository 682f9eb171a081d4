"""The report's page of concepts: how large each is, what it is of, and whether images fall where captions do."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.catalog import CONCEPTS, PROBED_CONCEPTS
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.workspace import Workspace
from pipeline.disk import files
from pipeline.pages.html import render
from pipeline.pages.thumbnails import thumbnails
from pipeline.probes import tables

IMAGES_SHOWN = 5
"""How many images of a concept are shown."""
SHOWN = 200
"""Concepts with images, the largest ones; of the others words and captions are told."""


@dataclass
class Concept:
    """One concept.

    Attributes:
        number: its place in concepts.arrow.
        size: distinct training captions that it is the nearest concept of.
        keys: test images with the captions nearest to its centre.
        tested: test captions that it is the nearest concept of.
        base: share of these whose image the base puts into it; None without any.
        student: likewise.
    """

    number: int
    size: int
    words: list[str]
    captions: list[str]
    keys: list[str]
    tested: int = 0
    base: float | None = None
    student: float | None = None


def write(path: Path, ws: Workspace, manifest: Manifest) -> None:
    """Write the page."""
    table, language = ws.table(CONCEPTS, manifest), ws.language(manifest)
    nearest = ws.labels(manifest)[0][:, 0]
    owner = [key for key, texts in zip(manifest.keys, manifest.captions, strict=True) for _ in texts]
    examples = nearest_images(language, nearest, table.vectors("centre"), owner)
    found = [
        Concept(row["concept"], row["size"], row["words"], row["captions"], keys)
        for row, keys in zip(table.columns.drop_columns(["centre"]).to_pylist(), examples, strict=True)
    ]
    for row in tables.read(ws, PROBED_CONCEPTS):
        concept = found[int(row["concept"])]
        concept.tested, concept.base, concept.student = int(row["captions"]), float(row["base"]), float(row["student"])
    found.sort(key=lambda concept: -concept.size)
    for concept in found[SHOWN:]:
        concept.keys = []
    shown = {key for concept in found for key in concept.keys}
    captions = dict(zip(manifest.keys, manifest.captions, strict=True))
    values = {"concepts": found, "thumbnails": thumbnails(manifest, shown), "probed": ws.summary("probe")}
    files.write_text(path, render("concepts.html.j2", captions=captions, **values))


def nearest_images(
    embeddings: NDArray[np.floating], nearest: NDArray[np.integer], centres: NDArray[np.floating], owner: Sequence[str]
) -> list[list[str]]:
    """For every concept the images of the captions nearest to its centre, among its own; each image once.

    Args:
        embeddings: the language model's of the captions, unit [c, d].
        nearest: each caption's concept, int [c].
        centres: unit [K, d].
        owner: the image of each caption.
    """
    similarity = (embeddings.astype(np.float32) * centres[nearest].astype(np.float32)).sum(axis=1)
    found: list[list[str]] = [[] for _ in centres]
    for row in np.argsort(-similarity, kind="stable").tolist():
        images = found[int(nearest[row])]
        if len(images) < IMAGES_SHOWN and owner[row] not in images:
            images.append(owner[row])
    return found
