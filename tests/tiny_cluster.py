"""Actors in this process, a job that needs no model, and what it fills."""

import pickle
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.cluster.actor import Actor
from pipeline.cluster.connection import Actors, Cluster
from pipeline.cluster.work import Task
from pipeline.store import keys
from pipeline.store.collection import Collection

VECTORS = pa.schema([("vector", pa.list_(pa.float16(), 2))])
BLOCK = 5


def nothing() -> None:
    """What an actor does before it loads its model."""


class Here(Cluster):
    """A cluster whose only actor is this process; everything travels as it would, and nothing is tried again."""

    def __init__(self, root: Path, url: str = "", shards: str = "") -> None:
        super().__init__(Actors("nowhere", 1, "cpu", 1, 0, nothing), root, url, shards)
        self.done = Counter[str]()
        """Rows by the task that computed them."""
        self.segments: list[str] = []

    def run(self, job, tasks, what, carried, folders: Iterable[str]) -> int:
        actor = Actor(self.url, "")
        if tasks:
            content = {name: np.fromfile(path, dtype=np.uint8) for name, path in carried.files.items()}
            actor.load(pickle.dumps(self.actors.setup), pickle.dumps(job), content)
        for task in tasks:
            done = actor.run(pickle.loads(pickle.dumps(task.given())))
            assert {path.partition("/")[0] for path in done.segments} <= set(folders)
            self.done[task.name] += done.rows
            self.segments += done.segments
        return sum(self.done.values())


def opened(root: Path) -> Collection:
    return Collection(root, "toys", {"weights": "w"}, VECTORS)


@dataclass(frozen=True)
class Toys:
    """A row of every text."""

    def load(self, folder: Path):
        def work(texts: list[str], root: Path) -> int:
            with opened(root).writing() as writer:
                for text in texts:
                    writer.add(keys.from_texts([text]), rows_of([text]))
            return len(texts)

        return work


def rows_of(texts: list[str]) -> np.ndarray:
    """A vector that tells which text it belongs to."""
    return np.array([[len(t), sum(map(ord, t)) % 2048] for t in texts], dtype=np.float16).reshape(-1, 2)


def texts_of(block: int) -> list[str]:
    return [f"text {block}.{i}" for i in range(BLOCK)]


def tasks_of(held: Collection, blocks: int) -> list[Task]:
    """Those of so many tasks of which a row is lacking."""
    lacking = [block for block in range(blocks) if held.missing(keys.from_texts(texts_of(block))).any()]
    return [Task(f"block {block}", "block", BLOCK, partial(texts_of, block)) for block in lacking]


def check(held: Collection, blocks: int) -> None:
    """Every row is there, and right."""
    texts = [text for block in range(blocks) for text in texts_of(block)]
    assert held.vectors(keys.from_texts(texts)).tolist() == rows_of(texts).tolist()
