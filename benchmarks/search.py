"""How fast and how well a large index answers: python -m benchmarks.search.

Builds an exact and an approximate index of a million vectors that lie in groups, and prints for queries near them:
milliseconds an answer, the share of the exact 10 nearest that the approximate one finds, and how long a text takes to
embed with ViT-B/32 (random weights) before that.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Annotated, Any

import faiss
import numpy as np
import torch
import typer

from pipeline.clip import encode, towers
from pipeline.clip.encode import Compute
from pipeline.search import vectors
from pipeline.search.index import NEAREST
from pipeline.search.vectors import Floats, Kind


def _grouped(rng: np.random.Generator, count: int, centres: Floats) -> Floats:
    rows = centres[rng.integers(0, len(centres), count)]
    rows += rng.standard_normal(rows.shape, dtype=np.float32)
    faiss.normalize_L2(rows)
    return rows


def _milliseconds(index: Any, queries: Floats) -> float:
    seconds = []
    for query in queries:
        start = time.perf_counter()
        vectors.search(index, query[None], NEAREST)
        seconds.append(time.perf_counter() - start)
    return 1000 * median(seconds)


def main(
    count: Annotated[int, typer.Option(help="Vectors.")] = 1_000_000,
    dimension: Annotated[int, typer.Option()] = 512,
    kind: Annotated[str, typer.Option(help="ivf, hnsw or pq.")] = "ivf",
    probes: Annotated[int, typer.Option(help="Lists that a search looks into.")] = 16,
    threads: Annotated[int, typer.Option()] = 2,
) -> None:
    """Build, search, and print."""
    faiss.omp_set_num_threads(threads)
    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((max(1, count // 50), dimension), dtype=np.float32)
    rows, queries = _grouped(rng, count, centres), _grouped(rng, 200, centres)
    ids = np.arange(count, dtype=np.int64)
    exact = vectors.build(rows, ids, Kind())
    start = time.perf_counter()
    found = vectors.build(rows, ids, Kind(kind, nprobe=probes))  # type: ignore[arg-type]  checked by FAISS's factory
    print(f"{count:,} vectors of {dimension}, {threads} threads; {kind} built in {time.perf_counter() - start:.0f} s")
    took = {"exact": _milliseconds(exact, queries), kind: _milliseconds(found, queries)}
    for name, milliseconds in took.items():
        print(f"  {name}: {milliseconds:.1f} ms an answer")
    print(f"  recall@{NEAREST} of {kind} against exact: {vectors.recall(found, exact, queries, NEAREST):.3f}")
    clip = towers.create(towers.architecture("ViT-B-32"))
    clip.model.eval()
    compute = Compute("cpu", "float32", 1)
    seconds = []
    for i in range(20):
        start = time.perf_counter()
        encode.texts(clip, [f"query {i}"], compute)
        seconds.append(time.perf_counter() - start)
    text = 1000 * median(seconds)
    print(f"  a text through ViT-B/32: {text:.1f} ms")
    total = text + took[kind]
    print(f"a text answered in {total:.0f} ms (limit 100): {'met' if total < 100 else 'NOT MET'}")


if __name__ == "__main__":
    typer.run(main)
