"""FAISS indexes of unit vectors under ids of their own: exact or approximate, added to without a rebuild."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np
from numpy.typing import NDArray

from pipeline.disk import files
from pipeline.errors import InputError

Floats = NDArray[np.floating]
Ids = NDArray[np.int64]

_CODES = 8
"""Bits of a product quantiser's code."""


@dataclass(frozen=True)
class Kind:
    """How vectors are searched.

    Attributes:
        name: `exact`; `ivf`, which looks into some of many lists; `hnsw`, a graph; `pq`, lists of codes of a few bytes.
        nlist: lists of ivf and pq; None for 4 times the root of the number of vectors.
        nprobe: lists that a search looks into.
        hnsw_m: links of an embedding in the graph.
        hnsw_ef_search: candidates that a search of the graph keeps.
        pq_m: bytes of a code; divides the dimension.
    """

    name: Literal["exact", "ivf", "hnsw", "pq"] = "exact"
    nlist: int | None = None
    nprobe: int = 16
    hnsw_m: int = 32
    hnsw_ef_search: int = 64
    pq_m: int = 32


FLAT = Kind()
"""How exact indexes are searched."""


def build(vectors: Floats, ids: Ids, kind: Kind) -> Any:
    """An inner-product index of some vectors.

    Args:
        vectors: unit [n, d]; lists and codes are learnt from them.
        ids: int64 [n], distinct.

    Raises:
        InputError: fewer vectors than lists or codes need, or a dimension that codes do not divide.
    """
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    n, d = rows.shape
    if len(np.unique(ids)) != n:
        raise ValueError(f"{len(ids)} ids of {n} vectors, {len(np.unique(ids))} of them distinct")
    lists = kind.nlist or max(1, min(n, round(4 * n**0.5)))
    if kind.name in ("ivf", "pq") and lists > n:
        raise InputError(
            f"index.nlist is {lists}, and there are {n} vectors; expected fewer lists, or index.name: exact"
        )
    if kind.name == "pq" and d % kind.pq_m:
        raise InputError(f"index.pq_m is {kind.pq_m}, which does not divide the dimension, {d}")
    if kind.name == "pq" and n < 2**_CODES:
        raise InputError(f"{n} vectors are too few to learn codes from; expected {2**_CODES}, or index.name: exact")
    how = {"exact": "Flat", "ivf": f"IVF{lists},Flat", "hnsw": f"HNSW{kind.hnsw_m},Flat"}
    how["pq"] = f"IVF{lists},PQ{kind.pq_m}x{_CODES}"
    index: Any = faiss.index_factory(d, f"IDMap2,{how[kind.name]}", faiss.METRIC_INNER_PRODUCT)
    inner: Any = faiss.downcast_index(index.index)
    if kind.name in ("ivf", "pq"):
        inner.cp.min_points_per_centroid, inner.cp.max_points_per_centroid = 1, 100
        inner.nprobe = min(kind.nprobe, lists)
        if faiss.get_num_gpus():  # finds the lists; kept by this name until it has
            nearest = faiss.index_cpu_to_all_gpus(faiss.IndexFlatIP(d))
            inner.clustering_index = nearest
    if kind.name == "pq":
        inner.do_polysemous_training = False  # orders codes for a search that is not made here, for minutes
        inner.pq.cp.min_points_per_centroid = 1
    if kind.name == "hnsw":
        inner.hnsw.efConstruction, inner.hnsw.efSearch = max(40, kind.hnsw_ef_search), kind.hnsw_ef_search
    index.train(rows)
    index.add_with_ids(rows, ids)
    return index


def search(index: faiss.Index, queries: Floats, top: int) -> tuple[NDArray[np.float32], Ids]:
    """Similarities and ids of the `top` vectors nearest to every query, [queries, top]; id -1 where there is none."""
    similarity, ids = index.search(np.ascontiguousarray(queries, dtype=np.float32), min(top, max(1, index.ntotal)))
    return similarity, ids


def on_gpus(index: Any) -> Any:
    """The same index on all GPUs that FAISS sees; a graph, and without GPUs any index, stays where it is."""
    inner: Any = faiss.downcast_index(index.index)
    if faiss.get_num_gpus() == 0 or isinstance(inner, faiss.IndexHNSW):
        return index
    return faiss.index_cpu_to_all_gpus(index)


def recall(index: faiss.Index, exact: faiss.Index, queries: Floats, top: int) -> float:
    """Share of the `top` exact neighbours of some queries that an index finds."""
    found, wanted = (search(one, queries, top)[1] for one in (index, exact))
    return float(np.mean([np.isin(w, f).mean() for w, f in zip(wanted, found, strict=True)]))


def write(index: faiss.Index, path: Path) -> None:
    """Write an index, whole or not at all."""
    with files.whole(path) as temporary:
        faiss.write_index(index, str(temporary))
