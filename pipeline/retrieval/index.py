"""Exact FAISS indexes over the test pictures and captions, bound to the weights that made them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline import files
from pipeline.tables import ContractError

ENTRIES = pa.schema([("key", pa.string()), ("captions", pa.list_(pa.string()))])


@dataclass(frozen=True)
class Hit:
    """One result: the picture's key, its similarity (cosine), and the caption found, if captions were searched."""

    key: str
    similarity: float
    caption: str | None = None


@dataclass
class RetrievalIndex:
    """Pictures and captions of one split under one model.

    Attributes:
        images: IndexFlatIP of unit vectors, a row a picture.
        captions: IndexFlatIP of unit vectors, a row a caption, in the order of `texts`.
        keys: of the pictures.
        texts: the captions of every picture.
        weights: hash of the model that made the vectors.
        manifest: fingerprint of the manifest.
    """

    images: faiss.Index
    captions: faiss.Index
    keys: list[str]
    texts: list[list[str]]
    weights: str
    manifest: str

    @property
    def owner(self) -> NDArray[np.int64]:
        """int64 [captions], the picture of each caption."""
        return np.repeat(np.arange(len(self.texts)), [len(t) for t in self.texts])

    def vectors(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Picture and caption vectors as they stand in the indexes, float32."""
        return self.images.reconstruct_n(0, self.images.ntotal), self.captions.reconstruct_n(0, self.captions.ntotal)

    def search_images(self, query: NDArray[np.float32], top: int) -> list[Hit]:
        """The `top` pictures most similar to a unit vector [d]."""
        similarity, rows = self.images.search(query[None], min(top, self.images.ntotal))
        return [Hit(self.keys[r], float(s)) for s, r in zip(similarity[0], rows[0], strict=True)]

    def search_captions(self, query: NDArray[np.float32], top: int) -> list[Hit]:
        """The `top` captions most similar to a unit vector [d]."""
        flat = [(key, text) for key, texts in zip(self.keys, self.texts, strict=True) for text in texts]
        similarity, rows = self.captions.search(query[None], min(top, self.captions.ntotal))
        return [Hit(flat[r][0], float(s), flat[r][1]) for s, r in zip(similarity[0], rows[0], strict=True)]

    def save(self, folder: Path) -> None:
        """Write images.faiss, captions.faiss, entries.parquet and index.json; the last one binds their hashes."""
        for name, index in (("images", self.images), ("captions", self.captions)):
            with files.whole(folder / f"{name}.faiss") as temporary:
                faiss.write_index(index, str(temporary))
        table = pa.table({"key": self.keys, "captions": self.texts}, schema=ENTRIES)
        with files.whole(folder / "entries.parquet") as temporary:
            pq.write_table(table, temporary)
        parts = ("images.faiss", "captions.faiss", "entries.parquet")
        files.write_json(
            folder / "index.json",
            {
                "weights": self.weights,
                "manifest": self.manifest,
                "sha256": {n: files.sha256(folder / n) for n in parts},
            },
        )


def exact(vectors: NDArray[np.floating]) -> faiss.IndexFlatIP:
    """An exact inner-product index of unit vectors [n, d]."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors, dtype=np.float32))
    return index


def load(folder: Path, weights: str | None = None) -> RetrievalIndex:
    """Read an index.

    Args:
        folder: the index stage's folder.
        weights: hash of the model that will ask; None to trust the index.

    Raises:
        ContractError: a part is missing or was changed, or another model made the vectors.
    """
    if not (folder / "index.json").is_file():
        raise ContractError(f"no index in {folder}; run: dvc repro index")
    about = files.read_json(folder / "index.json")
    for name, expected in about["sha256"].items():
        found = files.sha256(folder / name) if (folder / name).is_file() else "no file"
        if found != expected:
            raise ContractError(f"{folder / name}: sha256 {found}, expected {expected}; run: dvc repro -sf index")
    if weights is not None and about["weights"] != weights:
        raise ContractError(
            f"{folder} was made with weights {about['weights'][:12]}, the model has {weights[:12]}; "
            "run: dvc repro index"
        )
    entries = pq.read_table(folder / "entries.parquet").to_pydict()
    return RetrievalIndex(
        faiss.read_index(str(folder / "images.faiss")), faiss.read_index(str(folder / "captions.faiss")),
        entries["key"], entries["captions"], about["weights"], about["manifest"],
    )  # fmt: skip
