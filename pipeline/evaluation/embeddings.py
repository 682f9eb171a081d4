"""Embeddings of all that a model is measured on: made once, and read by whatever measures it.

They are computed and rounded as the base's cached ones are, so that two models differ by their weights alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.catalog import EMBEDDED
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.tables import EmbeddingWriter
from pipeline.artifacts.workspace import Embeddings, Workspace
from pipeline.clip import encode, image_files, towers
from pipeline.clip.encode import Compute
from pipeline.clip.image_files import ImageFile
from pipeline.clip.towers import Clip
from pipeline.disk.provenance import provenance
from pipeline.images import decoding
from pipeline.machine.batches import batches


def by_batches(clip: Clip, pixels: Iterable[NDArray[np.uint8]], compute: Compute) -> Iterator[Embeddings]:
    """Unit float16 [batch, d] of images as the tower reads them, uint8 [3, side, side] each."""
    for part in encode.images_of(clip, batches(pixels, compute.batch), compute):
        yield part.numpy().astype(np.float16)


def images(clip: Clip, pixels: Iterable[NDArray[np.uint8]], compute: Compute) -> Embeddings:
    """All of `by_batches`, [n, d]."""
    return np.concatenate(list(by_batches(clip, pixels, compute)))


def texts(clip: Clip, strings: Sequence[str], compute: Compute) -> Embeddings:
    """Unit float16 [n, d] of strings."""
    found: Embeddings = encode.texts(clip, strings, compute).numpy().astype(np.float16)
    return found


@dataclass(frozen=True)
class Images:
    """Images to embed."""

    keys: Sequence[str]
    files: Sequence[ImageFile]


@dataclass(frozen=True)
class Texts:
    """Texts to embed.

    Attributes:
        base_embeddings: the base's embeddings of them, which are those of every model whose text tower is the base's.
        index: of captions, which of their image's each is.
    """

    keys: Sequence[str]
    strings: Sequence[str]
    base_embeddings: Embeddings
    index: NDArray[np.int64] | None = None


def captions(manifest: Manifest, base_embeddings: Embeddings, rows: NDArray[np.int64]) -> Texts:
    """Some captions of a manifest, by their rows among all captions; `base_embeddings` are the base's of all."""
    keys, strings = [manifest.keys[i] for i in manifest.owner[rows]], [manifest.texts[i] for i in rows]
    return Texts(keys, strings, base_embeddings[rows], manifest.caption_index[rows])


class ModelTables:
    """The tables of one model's embeddings.

    Args:
        model: one of `catalog.MEASURED`.
        base: hash of the base's weights.
        frozen_text: whether its text tower is the base's.
        manifest: fingerprint of the manifest, of tables that are bound to it.
    """

    def __init__(
        self, ws: Workspace, model: str, clip: Clip, compute: Compute, *, base: str, frozen_text: bool, manifest: str
    ) -> None:
        self._ws, self._model, self._clip, self._compute = ws, model, clip, compute
        self._frozen_text, self._manifest = frozen_text, manifest
        origin = {"weights": clip.weights, "base": base}
        computed_with: dict[str, Any] = {"dtype": compute.dtype, "device": compute.device}
        computed_with |= {"compiled": True} if compute.compiled else {}
        self._metadata: dict[str, Any] = {
            "code": f"{encode.CODE}, {towers.CODE}, {decoding.CODE}",
            "model": model,
            "inputs": origin,
            "parameters": {"batch": compute.batch, "frozen_text": frozen_text, **computed_with, **clip.config},
            **{**origin, "dimension": clip.dimension, "normalised": True, **computed_with},
        }

    def write(self, what: str, given: Images | Texts | None) -> int:
        """Embed and write a table of `catalog.EMBEDDED`, an empty one of nothing; returns its rows."""
        artifact = EMBEDDED[self._model, what]
        manifest = self._manifest if "manifest" in artifact.bound_to else ""
        assert callable(artifact.columns), "they depend on the dimension"
        schema = artifact.columns(dimension=self._clip.dimension)
        with EmbeddingWriter(
            self._ws.path(artifact), schema, provenance(what, manifest=manifest, **self._metadata)
        ) as writer:
            if isinstance(given, Images):
                for rows in self._rows(what, given):
                    writer.write(given.keys[writer.rows : writer.rows + len(rows)], rows)
            elif given is not None:
                index = [given.index] if given.index is not None else []
                rows = given.base_embeddings if self._frozen_text else texts(self._clip, given.strings, self._compute)
                writer.write(given.keys, *index, rows)
        return writer.rows

    def _rows(self, what: str, given: Images) -> Iterator[Embeddings]:
        decoded = image_files.pixels(self._clip, given.files, f"embed {what}, {self._model}", self._compute.workers)
        return by_batches(self._clip, decoded, self._compute)
