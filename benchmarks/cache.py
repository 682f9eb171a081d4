"""What the feature store costs beside what it cannot do without, at several numbers of rows.

    python -m benchmarks.cache --rows 10000 100000 1000000 --folder /somewhere/with/6/GB

fills, for each number, a collection and a table with the same random unit vectors, and prints

- bytes: files of the collection and of the table over two bytes a number,
- batches: vectors of random rows gathered from the table as training does, and from the collection, over numpy's memory
  map of one plain array; every page has been touched before, so that none waits for the disk,
- lookups: microseconds a key, of present and absent keys in batches, and anonymous memory before the collection is
  opened, after, and after a million lookups, in a process of its own,
- opening: the collection, which hashes every file, over sha256 of the same files,
- adding: over writing the same bytes to plain files; both flush every 32 MiB to the disk,

and whether the targets are met. What is compared takes turns within one run; figures are medians of the turns.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa

from pipeline.progress import track
from pipeline.schema import vectors
from pipeline.store.collection import SEGMENT_BYTES, Collection
from pipeline.tables import Table, VectorWriter

BYTES, BATCHES = 1.05, 0.8
"""Targets: most bytes over the floor, least rows a second of the table over plain numpy."""
FLAT = 1.0
"""Target: most anonymous bytes that a further row may cost; a key held in memory would cost 16."""
LOOKUPS = 1_000_000
ROUNDS, TURN = 60, 20
"""Rounds of gathering, and how many batches a contestant gathers in each."""


def _collection(folder, dimension, turn=0):
    values = pa.schema([("vector", pa.list_(pa.float16(), dimension))])
    return Collection(folder, "vectors", {"turn": turn}, values)


def _seconds(work, *arguments):
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def _parts(rows, size):
    return (slice(i, min(i + size, rows)) for i in range(0, rows, size))


def _arrays(folder):
    """Keys and vectors of every row, mapped."""
    return np.load(folder / "keys.npy", mmap_mode="r"), np.load(folder / "vectors.npy", mmap_mode="r")


def _draw(folder, rows, dimension):
    rng = np.random.default_rng(rows)
    # keys are spread evenly, as hashes are
    np.save(folder / "keys.npy", rng.integers(0, 2**64, (rows, 2), dtype=np.uint64))
    array = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float16, (rows, dimension))
    for part in _parts(rows, 8192):
        drawn = rng.standard_normal((part.stop - part.start, dimension), dtype=np.float32)
        array[part] = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    array.flush()


def _plainly(path, keys, values):
    with path.open("wb", buffering=0) as stream:
        stream.write(keys)
        stream.write(values)
        os.fsync(stream.fileno())


def _add(folder, rows, dimension, batch, turn):
    """Seconds of adding every row, a batch at a time, and of writing the same bytes; they alternate by segments."""
    keys, values = _arrays(folder)
    size = -(-SEGMENT_BYTES // (batch * (2 * dimension + 16))) * batch
    plain = folder / "plain"
    plain.mkdir()
    added = written = 0.0
    with _collection(folder, dimension, turn).writing() as writer:
        for number, part in enumerate(_parts(rows, size)):
            some, theirs = np.array(keys[part]), np.array(values[part])
            start = time.perf_counter()
            for each in _parts(len(some), batch):
                writer.add(some[each], theirs[each])
            added += time.perf_counter() - start
            written += _seconds(_plainly, plain / str(number), some, theirs)
        start = time.perf_counter()
    added += time.perf_counter() - start  # the last segment is written when the block ends
    for path in plain.iterdir():
        path.unlink()
    plain.rmdir()
    os.sync()
    return added, written


def _make(folder, rows, dimension, batch):
    """Fill an array, collections and a table; returns bytes a row over the floor and seconds of adding."""
    _draw(folder, rows, dimension)
    os.sync()
    turns = [_add(folder, rows, dimension, batch, turn) for turn in range(max(1, min(7, 300_000 // rows)))]
    path = folder / "table.arrow"
    _, values = _arrays(folder)
    with VectorWriter(path, vectors("caption_index", dimension=dimension), {}) as writer:
        for part in _parts(rows, 8192):
            numbers = range(part.start, part.stop)
            writer.write([f"mscoco-{i:012d}" for i in numbers], [i % 5 for i in numbers], values[part])
    os.sync()
    floor = rows * 2 * dimension
    return {
        "collection": sum(p.stat().st_size for p in _collection(folder, dimension).folder.iterdir()) / floor,
        "table": path.stat().st_size / floor,
        "adding": median(a for a, _ in turns),
        "adding ratio": median(a / w for a, w in turns),
    }


def _anonymous():
    """Bytes of this process's memory that no file backs; not a number where that is not told."""
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((1024 * float(line.split()[1]) for line in lines if line.startswith("RssAnon:")), float("nan"))


def _look_up(folder, rows, dimension, batch):
    """Microseconds of locating a key, and anonymous bytes, in a process that has done nothing else."""
    rng = np.random.default_rng(1)
    keys, _ = _arrays(folder)
    before = _anonymous()
    collection = _collection(folder, dimension)
    opened = _anonymous()
    present, absent = [], []
    for _ in range(LOOKUPS // (2 * batch)):
        some = np.array(keys[rng.integers(rows, size=batch)])
        others = rng.integers(0, 2**64, (batch, 2), dtype=np.uint64)
        present.append(_seconds(collection.locate, some))
        absent.append(_seconds(collection.locate, others))
    after = _anonymous()
    return {
        "segments": len(collection.segments),
        "present": median(present) / batch * 1e6,
        "absent": median(absent) / batch * 1e6,
        **dict(zip(("before", "opened", "after"), (before, opened, after), strict=True)),
    }


def _gather(folder, rows, dimension, batch):
    """Rows a second of random batches: plain numpy's, and the others' over plain numpy's."""
    rng = np.random.default_rng(2)
    keys, array = _arrays(folder)
    array = np.asarray(array)  # np.memmap is slower to index
    keys = np.array(keys)
    table = Table(folder / "table.arrow").vectors()
    collection = _collection(folder, dimension)
    places = collection.locate(keys)
    contestants = {
        "numpy": lambda chosen: array[chosen],
        "by row": lambda chosen: table[chosen],
        "by place": lambda chosen: collection.at(places[chosen]),
        "by key": lambda chosen: collection.vectors(keys[chosen]),
    }
    for everything in (array, table, *(part.vectors() for part in collection.segments)):
        everything.reshape(-1)[::1024].max()  # touches every page
    taken = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        batches = rng.integers(rows, size=(TURN, batch))
        for name in rng.permutation(list(contestants)).tolist():
            gather = contestants[name]
            assert np.array_equal(gather(batches[0]), array[batches[0]])
            taken[name].append(_seconds(lambda gather=gather, batches=batches: [gather(each) for each in batches]))
    ratios = {name: median(np.divide(taken["numpy"], taken[name])) for name in contestants}
    return {**ratios, "numpy": TURN * batch / median(taken["numpy"])}


def _hash(paths):
    for path in paths:
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while content := stream.read(1 << 20):
                digest.update(content)


def _reopen(folder, rows, dimension, batch):
    """Seconds of opening the collection, and over those of hashing its files."""
    paths = [part.path for part in _collection(folder, dimension).segments]
    turns = [
        (_seconds(_collection, folder, dimension), _seconds(_hash, paths))
        for _ in range(max(3, min(15, 1_000_000 // rows)))
    ]
    return {"opening": median(o for o, _ in turns), "opening ratio": median(o / h for o, h in turns)}


def _measure(folder, rows, dimension, batch):
    """All figures of one number of rows; each kind in a fresh process, so that none sees another's memory."""
    figures = {}
    with (
        tempfile.TemporaryDirectory(dir=folder) as own,
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as processes,
    ):
        for step in (_make, _look_up, _gather, _reopen):
            figures |= processes.submit(step, Path(own), rows, dimension, batch).result()
    return figures


LINES = (
    ("segments", "segments", ".0f", 1),
    ("bytes of the collection / floor", "collection", ".4f", 1),
    ("bytes of the table / floor", "table", ".4f", 1),
    ("batches: numpy's map, thousand rows/s", "numpy", ".0f", 1e-3),
    ("  table, by row / numpy", "by row", ".2f", 1),
    ("  collection, by place / numpy", "by place", ".2f", 1),
    ("  collection, by key / numpy", "by key", ".2f", 1),
    ("lookup of a present key, us", "present", ".2f", 1),
    ("lookup of an absent key, us", "absent", ".2f", 1),
    ("anonymous memory before opening, MB", "before", ".2f", 1e-6),
    ("  after opening", "opened", ".2f", 1e-6),
    ("  after a million lookups", "after", ".2f", 1e-6),
    ("opening, s", "opening", ".3f", 1),
    ("  / sha256 of the files", "opening ratio", ".2f", 1),
    ("adding every row, s", "adding", ".3f", 1),
    ("  / writing the bytes, flushed", "adding ratio", ".2f", 1),
)


def _target(name, met, found):
    print(f"{name}: {found}, {'met' if met else 'NOT met'}")


def main():
    """Measure, and print the table and the targets."""
    parser = argparse.ArgumentParser(description="Time the feature store beside its floors.")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--batch", type=int, default=256, help="rows that are gathered, looked up or added at a time")
    parser.add_argument("--folder", type=Path, help="for temporary files; the system's own if not given")
    options = parser.parse_args()
    sizes = sorted(options.rows)
    found = [
        _measure(options.folder, rows, options.dimension, options.batch)
        for rows in track(sizes, "cache", unit="sizes", total=len(sizes))
    ]
    print(f"{f'd = {options.dimension}, batches of {options.batch}; rows':40s}" + "".join(f"{n:>11d}" for n in sizes))
    for label, name, form, scale in LINES:
        print(f"{label:40s}" + "".join(f"{each[name] * scale:>11{form}}" for each in found))
    most, least = max(each["collection"] for each in found), min(each["by row"] for each in found)
    _target(f"bytes of a cached row at most {BYTES} of the floor", most <= BYTES, f"{most:.4f}")
    _target(f"table's batches at least {BATCHES} of numpy's", least >= BATCHES, f"{least:.2f}")
    if len(sizes) > 1:
        growth = [each["after"] - each["before"] for each in found]
        slope = (growth[-1] - growth[0]) / (sizes[-1] - sizes[0])
        _target(f"memory of lookups flat, below {FLAT} byte a further row", slope < FLAT, f"{slope:.2f}")


if __name__ == "__main__":
    main()
