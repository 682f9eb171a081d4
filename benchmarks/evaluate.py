"""Evaluation of retrieval beside its floor and CLIP_benchmark: python -m benchmarks.evaluate.

The floor is the matrix product and the top 10, both ways, in the same blocks. Prints how much longer all figures of all
queries take, with the bootstrap and without, how long CLIP_benchmark takes for recall alone, and how much memory.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from clip_benchmark.metrics.zeroshot_retrieval import batchify, recall_at_k
from numpy.typing import NDArray

from pipeline.evaluation.comparison import Embedded, compare
from pipeline.retrieval.metrics import KS, evaluate

BLOCK = 256


def _peak() -> float:
    """The most memory that this process has had, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def _floor(queries: torch.Tensor, candidates: torch.Tensor) -> None:
    for start in range(0, len(queries), BLOCK):
        torch.topk(queries[start : start + BLOCK] @ candidates.T, max(KS), dim=1)


def _clip_benchmark(images: torch.Tensor, captions: torch.Tensor, owner: NDArray[np.int64]) -> None:
    scores = captions @ images.T
    positive = torch.zeros_like(scores, dtype=torch.bool)
    positive[torch.arange(len(scores)), torch.from_numpy(owner)] = True
    for k in KS:
        batchify(recall_at_k, scores, positive, 16, "cpu", k=k)
        batchify(recall_at_k, scores.T, positive.T, 16, "cpu", k=k)


def main(
    images: Annotated[int, typer.Option(help="Images.")] = 5_000,
    captions: Annotated[int, typer.Option(help="Captions.")] = 25_010,
    dimension: Annotated[int, typer.Option()] = 512,
    samples: Annotated[int, typer.Option(help="Of the bootstrap.")] = 2_000,
    turns: Annotated[int, typer.Option()] = 5,
    threads: Annotated[int, typer.Option()] = 2,
    others: Annotated[bool, typer.Option(help="CLIP_benchmark, too: minutes.")] = True,
) -> None:
    """Time them in turns and print ratios."""
    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    owner = np.sort(np.concatenate([np.arange(images), rng.integers(0, images, captions - images)]))
    rows = F.normalize(torch.from_numpy(rng.standard_normal((images, dimension), dtype=np.float32)))
    noise = torch.from_numpy(rng.standard_normal((captions, dimension), dtype=np.float32))
    texts = F.normalize(rows[owner] + 0.08 * noise)
    base = Embedded(rows.numpy(), texts.numpy())

    before = _peak()
    compare(base, base, owner, samples=samples, seed=0)
    print(f"figures of two models and bootstrap take {_peak() - before:.0f} MB, besides the embeddings")

    contestants: dict[str, Callable[[], object]] = {
        "floor": lambda: (_floor(texts, rows), _floor(rows, texts)),
        "figures": lambda: evaluate(base.images, base.captions, owner),
        "floor of two models": lambda: [(_floor(texts, rows), _floor(rows, texts)) for _ in range(2)],
        "two models and bootstrap": lambda: compare(base, base, owner, samples=samples, seed=0),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(turns):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    print(f"{images:,} images, {captions:,} captions, d = {dimension}, {threads} threads, median of {turns} turns")
    for name, own in seconds.items():
        print(f"  {name}: {median(own):.2f} s")
    for name, floor, limit in (("figures", "floor", 1.5), ("two models and bootstrap", "floor of two models", 2.0)):
        ratio = median(own / bare for own, bare in zip(seconds[name], seconds[floor], strict=True))
        print(f"{name} over {floor}: {ratio:.2f} (limit {limit}): {'met' if ratio <= limit else 'NOT MET'}")
    if others:
        start = time.perf_counter()
        _clip_benchmark(rows, texts, owner)
        took = time.perf_counter() - start
        print(f"CLIP_benchmark, recall alone: {took:.1f} s, {took / median(seconds['figures']):.0f} times as long")


if __name__ == "__main__":
    typer.run(main)
