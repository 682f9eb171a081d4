"""FAISS indexes over images and captions, bound to the weights that made them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.artifacts.tables import ContractError
from pipeline.disk import files
from pipeline.errors import InputError
from pipeline.search import vectors
from pipeline.search.vectors import FLAT, Floats, Ids, Kind

ENTRIES = pa.schema([("key", pa.string()), ("captions", pa.list_(pa.string()))])

PARTS = ("images", "captions")
DESCRIPTION, _ENTRIES_FILE = "index.json", "entries.parquet"
NEAREST = 10
"""How many neighbours an approximate index's recall is stated of."""
_LENGTH = 1e-2
"""How far an embedding's length may be from 1, as after rounding to float16."""
_ASKED = 1000
"""Queries by which it is measured, at most."""


def ids_of(names: Iterable[str]) -> Ids:
    """Under which id an image (its key) or a caption (`<key>#<place>`) stands in an index: 63 bits of its sha256."""
    return np.array(
        [int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1 for name in names], dtype=np.int64
    )


@dataclass(frozen=True)
class Hit:
    """One result: the image's key, its similarity (cosine), and the caption found, if captions were searched."""

    key: str
    similarity: float
    caption: str | None = None


@dataclass
class RetrievalIndex:
    """Images and captions under one model.

    Attributes:
        weights: hash of the model that made the embeddings.
        manifest: fingerprint of the manifest; empty where images are of none.
        exact: FAISS indexes of `images` and `captions` as they are.
        searched: those that are searched; the exact ones unless `kind` says otherwise.
        recall: of an approximate one, the share of the exact 10 nearest that it finds.
    """

    keys: list[str]
    texts: list[list[str]]
    weights: str
    manifest: str
    kind: Kind
    exact: dict[str, Any]
    searched: dict[str, Any]
    recall: dict[str, float]

    @classmethod
    def build(
        cls, images: Floats, captions: Floats, keys: list[str], texts: list[list[str]], kind: Kind = FLAT, **origin: str
    ) -> RetrievalIndex:
        """Index unit embeddings of images [n, d] and of their captions [c, d], both in the order of `keys`.

        `origin` is `weights` and `manifest`, as the attributes.

        Raises:
            InputError: two images of one key, or embeddings that do not suit the kind.
            ValueError: counts do not fit.
        """
        made = cls(keys, texts, kind=kind, exact={}, searched={}, recall={}, **origin)
        made._check(images, captions, keys, texts)
        if len(set(keys)) < len(keys):
            raise InputError("two images have one key")
        given = {"images": (images, ids_of(keys)), "captions": (captions, ids_of(_caption_names(keys, texts)))}
        made.exact = {part: vectors.build(rows, ids, FLAT) for part, (rows, ids) in given.items()}
        made.searched = dict(made.exact)
        if kind.name != "exact":
            made.searched = {part: vectors.build(rows, ids, kind) for part, (rows, ids) in given.items()}
            made._measure()
        return made

    def _measure(self) -> None:
        """State the recall of the approximate indexes: captions ask for images, images for captions."""
        images, captions = self.vectors()
        for part, queries in (("images", captions), ("captions", images)):
            if not len(queries):
                continue
            asked = queries[:: max(1, len(queries) // _ASKED)][:_ASKED]
            self.recall[part] = vectors.recall(self.searched[part], self.exact[part], asked, NEAREST)

    def _check(self, images: Floats, captions: Floats, keys: Sequence[str], texts: Sequence[Sequence[str]]) -> None:
        wanted = len(keys), sum(map(len, texts))
        if (len(images), len(captions)) != wanted or len(texts) != len(keys):
            raise ValueError(f"{len(images)} and {len(captions)} vectors of {wanted[0]} images, {wanted[1]} captions")
        for what, rows in (("image", images), ("caption", captions)):
            lengths = np.linalg.norm(rows.astype(np.float32), axis=1)
            if len(odd := np.flatnonzero(~(np.abs(lengths - 1) < _LENGTH))):
                raise ValueError(f"the vector of {what} {odd[0]} has the length {lengths[odd[0]]:.4g}; expected 1")
        if images.shape[1] != captions.shape[1] or (self.exact and self.exact["images"].d != images.shape[1]):
            here = f", the index has {self.exact['images'].d}" if self.exact else ""
            raise ValueError(
                f"vectors of images have {images.shape[1]} dimensions, of captions {captions.shape[1]}{here}"
            )

    def vectors(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Image and caption embeddings as they were given, in the order of `keys`, float32."""
        images, captions = (_rows(self.exact[part]) for part in PARTS)
        return images, captions

    def add(self, images: Floats, captions: Floats, keys: list[str], texts: list[list[str]]) -> None:
        """Add images and captions; what is here stays as it is, lists and codes included.

        Raises:
            InputError: one of the keys is here.
            ValueError: counts do not fit.
        """
        keys, texts = list(keys), list(texts)
        self._check(images, captions, keys, texts)
        if known := set(keys) & set(self.keys) or {key for key, n in Counter(keys).items() if n > 1}:
            raise InputError(f"{len(known)} images are in the index, such as {min(known)}; expected new ones")
        given = {"images": (images, ids_of(keys)), "captions": (captions, ids_of(_caption_names(keys, texts)))}
        for part, (rows, ids) in given.items():
            for index in {id(found): found for found in (self.exact[part], self.searched[part])}.values():
                index.add_with_ids(np.ascontiguousarray(rows, dtype=np.float32), ids)
        self.keys, self.texts = self.keys + keys, self.texts + texts
        self.__dict__.pop("_sorted_ids", None)
        if self.kind.name != "exact":
            self._measure()

    @cached_property
    def _sorted_ids(self) -> dict[str, tuple[Ids, Ids]]:
        """All ids of both parts in ascending order, and the row of each."""
        names = {"images": self.keys, "captions": _caption_names(self.keys, self.texts)}
        found = {}
        for part, ids in ((part, ids_of(names[part])) for part in PARTS):
            order = np.argsort(ids)
            found[part] = ids[order], order
        return found

    def _search(self, part: str, query: Floats, top: int) -> list[tuple[int, float]]:
        """Row and similarity of what is found, the most similar first."""
        similarity, ids = vectors.search(self.searched[part], query[None], top)
        known, rows = self._sorted_ids[part]
        there = ids[0] >= 0
        places = np.searchsorted(known, ids[0][there])
        return [(int(rows[i]), float(s)) for i, s in zip(places, similarity[0][there], strict=True)]

    def search_images(self, query: Floats, top: int) -> list[Hit]:
        """The `top` images most similar to a unit embedding [d]."""
        return [Hit(self.keys[row], similarity) for row, similarity in self._search("images", query, top)]

    def search_captions(self, query: Floats, top: int) -> list[Hit]:
        """The `top` captions most similar to a unit embedding [d]."""
        first = np.cumsum([0, *map(len, self.texts)])
        hits = []
        for row, similarity in self._search("captions", query, top):
            image = int(np.searchsorted(first, row, side="right")) - 1
            hits.append(Hit(self.keys[image], similarity, self.texts[image][row - int(first[image])]))
        return hits

    def save(self, folder: Path) -> None:
        """Write the exact indexes, approximate ones beside them, and entries; index.json names them with their hashes.

        Every file is named by its hash, so that an index that was here before is whole until index.json changes.
        """
        hashes: dict[str, str] = {}

        def keep(path: Path) -> None:
            digest = files.sha256(path)
            named = path.with_name(f"{path.stem}-{digest[:16]}{path.suffix}")
            path.replace(named)
            hashes[named.name] = digest

        for part in PARTS:
            vectors.write(self.exact[part], folder / f"{part}.faiss")
            keep(folder / f"{part}.faiss")
            if self.kind.name != "exact":
                vectors.write(self.searched[part], folder / f"{part}.{self.kind.name}.faiss")
                keep(folder / f"{part}.{self.kind.name}.faiss")
        with files.whole(folder / _ENTRIES_FILE) as temporary:
            pq.write_table(pa.table({"key": self.keys, "captions": self.texts}, schema=ENTRIES), temporary)
        keep(folder / _ENTRIES_FILE)
        about = {"weights": self.weights, "manifest": self.manifest, "kind": asdict(self.kind), "recall": self.recall}
        files.write_json(folder / DESCRIPTION, about | {"sha256": hashes})
        for pattern in ("*.faiss", "entries*.parquet"):
            for path in folder.glob(pattern):
                if path.name not in hashes:
                    path.unlink()  # of an index that was saved here before


def _rows(index: Any) -> NDArray[np.float32]:
    rows: NDArray[np.float32] = faiss.downcast_index(index.index).reconstruct_n(0, index.ntotal)
    return rows


def _caption_names(keys: Sequence[str], texts: Sequence[Sequence[str]]) -> list[str]:
    return [f"{key}#{i}" for key, captions in zip(keys, texts, strict=True) for i in range(len(captions))]


def load(
    folder: Path, weights: str | None = None, manifest: str | None = None, *, gpus: bool = False
) -> RetrievalIndex:
    """Read an index.

    Args:
        folder: the index stage's folder, or where one was saved.
        weights: hash of the model that will ask; None to trust the index.
        manifest: fingerprint of the manifest whose images are to be found; None to trust the index.
        gpus: whether to search on all GPUs that FAISS sees; such an index is not to be added to or saved.

    Raises:
        ContractError: a part is missing or was changed, another model made the embeddings, or they are of other images.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise ContractError(f"no index in {folder}; run: dvc repro index")
    about = files.read_json(path)
    try:
        kind, recall = Kind(**about["kind"]), dict(about["recall"])
        origin: dict[str, Any] = {name: str(about[name]) for name in ("weights", "manifest")}
        named = {name[: name.rindex("-")]: name for name in about["sha256"]}
        kinds = ("", f".{kind.name}") if kind.name != "exact" else ("",)
        lacking = {"entries", *(f"{part}{suffix}" for part in PARTS for suffix in kinds)} - set(named)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ContractError(f"{path} is of no index of this version ({error!r}); run: dvc repro -sf index") from error
    if lacking:
        raise ContractError(f"{path} has no {', '.join(sorted(lacking))}; run: dvc repro -sf index")
    for name, expected in about["sha256"].items():
        found = files.sha256(folder / name) if (folder / name).is_file() else "no file"
        if found != expected:
            raise ContractError(f"{folder / name}: sha256 {found}, expected {expected}; run: dvc repro -sf index")
    for what, wanted in (("weights", weights), ("manifest", manifest)):
        if wanted is not None and origin[what] != wanted:
            raise ContractError(
                f"{folder} was made with {what} {origin[what][:12]}, expected {wanted[:12]}; run: dvc repro index"
            )
    entries = pq.read_table(folder / named["entries"]).to_pydict()
    exact = {part: faiss.read_index(str(folder / named[part])) for part in PARTS}
    searched = exact
    if kind.name != "exact":
        searched = {part: faiss.read_index(str(folder / named[f"{part}.{kind.name}"])) for part in PARTS}
    if gpus:
        searched = {part: vectors.on_gpus(index) for part, index in searched.items()}
    parts: dict[str, Any] = {"exact": exact, "searched": searched, "recall": recall}
    return RetrievalIndex(entries["key"], entries["captions"], kind=kind, **origin, **parts)
