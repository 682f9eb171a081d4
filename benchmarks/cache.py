"""What the feature store costs beside what it cannot do without, at several numbers of rows.

    python -m benchmarks.cache --rows 10000 100000 1000000 --folder /somewhere/with/5/GB

fills, for each number, a collection and a table with the same random unit vectors, and prints

- bytes: files of the collection and of the table, over two bytes a number;
- adding: over writing the same bytes to plain files; both flush every 32 MiB to the disk;
- lookups: microseconds a key, of present and absent keys in batches, and anonymous memory before the collection is
  opened, after, and after a million lookups, in a process of its own;
- opening: the collection, which hashes every file, over sha256 of the same files;
- batches: vectors of random rows gathered from the table as training does, and from the collection, over numpy's memory
  map of one plain array; every page has been touched before. How large the pages are in which the kernel keeps a file
  depends on how it was written, and shows: so once as they were written, and once more read back from the disk;

and whether the targets are met. What is compared takes turns within one run; figures are medians of the turns.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa

from pipeline.artifacts.schema import embeddings
from pipeline.artifacts.tables import EmbeddingWriter, Table
from pipeline.machine.progress import track
from pipeline.store.collection import SEGMENT_BYTES, Collection

BYTES, BATCHES = 1.05, 0.8
"""Targets: most bytes over the floor, least rows a second of the table over plain numpy."""
FLAT = 1.0
"""Target: most megabytes that lookups take at the largest number of rows beyond those at the smallest; keys held in
memory would take 16 for every million."""
LOOKUPS = 1_000_000
ROUNDS, TURN = 60, 20
"""Rounds of gathering, and how many batches each contestant gathers in one."""


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
    """Keys and vectors of every row, mapped; not as np.memmap, which is slower to index."""
    return (np.asarray(np.load(folder / name, mmap_mode="r")) for name in ("keys.npy", "vectors.npy"))


def _draw(folder, rows, dimension):
    rng = np.random.default_rng(rows)
    np.save(folder / "keys.npy", rng.integers(0, 2**64, (rows, 2), dtype=np.uint64))  # spread evenly, as hashes are
    with (folder / "vectors.npy").open("wb") as stream:
        header = {"descr": "<f2", "fortran_order": False, "shape": (rows, dimension)}
        np.lib.format.write_array_header_1_0(stream, header)
        for part in _parts(rows, 8192):
            drawn = rng.standard_normal((part.stop - part.start, dimension), dtype=np.float32)
            stream.write((drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype("<f2"))


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
            start = time.perf_counter()
            with (plain / str(number)).open("wb", buffering=0) as stream:
                stream.write(some)
                stream.write(theirs)
                os.fsync(stream.fileno())
            written += time.perf_counter() - start
        start = time.perf_counter()
    added += time.perf_counter() - start  # the last segment is written when the block ends
    shutil.rmtree(plain)
    os.sync()
    return added, written


def _make(folder, rows, dimension, batch):
    """Fill an array, collections and a table."""
    _draw(folder, rows, dimension)
    os.sync()
    turns = [_add(folder, rows, dimension, batch, turn) for turn in range(max(1, min(7, 300_000 // rows)))]
    _, values = _arrays(folder)
    path = folder / "table.arrow"
    with EmbeddingWriter(path, embeddings("caption_index", dimension=dimension), {}) as writer:
        for part in _parts(rows, 8192):
            numbers = range(part.start, part.stop)
            writer.write([f"mscoco-{i:012d}" for i in numbers], [i % 5 for i in numbers], values[part])
    os.sync()
    floor, files = rows * 2 * dimension, list(_collection(folder, dimension).folder.iterdir())
    return {
        "bytes: collection / floor": sum(p.stat().st_size for p in files) / floor,
        "  table / floor": path.stat().st_size / floor,
        "adding, s": median(a for a, _ in turns),
        "  / writing the same bytes": median(a / w for a, w in turns),
    }


def _anonymous():
    """Megabytes of this process's memory that no file backs; not a number where that is not told."""
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((float(line.split()[1]) * 1024e-6 for line in lines if line.startswith("RssAnon:")), float("nan"))


def _hash(paths):
    for path in paths:
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while content := stream.read(1 << 20):
                digest.update(content)


def _look_up(folder, rows, dimension, batch):
    """Open the collection and locate keys, in a process that has done nothing else."""
    rng = np.random.default_rng(1)
    keys, _ = _arrays(folder)
    before = _anonymous()
    collection = _collection(folder, dimension)
    opened = _anonymous()
    taken = np.zeros((LOOKUPS // (2 * batch), 2))
    for row in taken:
        present, absent = keys[rng.integers(rows, size=batch)], rng.integers(0, 2**64, (batch, 2), dtype=np.uint64)
        row[:] = _seconds(collection.locate, present), _seconds(collection.locate, absent)
    after = _anonymous()
    paths = [part.path for part in collection.segments]
    count = max(3, min(15, 1_000_000 // rows))
    turns = [(_seconds(_collection, folder, dimension), _seconds(_hash, paths)) for _ in range(count)]
    return {
        "lookup in segments": len(paths),
        "  of a present key, us": np.median(taken[:, 0]) / batch * 1e6,
        "  of an absent key, us": np.median(taken[:, 1]) / batch * 1e6,
        "anonymous memory before opening, MB": before,
        "  opening takes": opened - before,
        "  opening and a million lookups take": after - before,
        "opening, s": median(o for o, _ in turns),
        "  / sha256 of the files": median(o / h for o, h in turns),
    }


def _gather(folder, rows, dimension, batch, state="as written"):
    """Random batches from every file, each mapped and its pages touched."""
    rng = np.random.default_rng(2)
    keys, array = _arrays(folder)
    table, collection = Table(folder / "table.arrow").vectors(), _collection(folder, dimension)
    places = collection.locate(keys)
    for mapped in (keys, array, table, *(part.vectors for part in collection.segments)):
        mapped.reshape(-1)[:: 4096 // mapped.itemsize].max()
    contestants = {
        "numpy": lambda chosen: array[chosen],
        "  table, by row / numpy": lambda chosen: table[chosen],
        "  collection, by place / numpy": lambda chosen: collection.vectors_at(places[chosen]),
        "  collection, by key / numpy": lambda chosen: collection.vectors(keys[chosen]),
    }
    chosen = rng.integers(rows, size=batch)
    assert all(np.array_equal(gather(chosen), array[chosen]) for gather in contestants.values())
    taken = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        batches = rng.integers(rows, size=(TURN, batch))
        for name in rng.permutation(list(contestants)).tolist():
            gather = contestants[name]
            start = time.perf_counter()
            for chosen in batches:
                gather(chosen)  # not kept, so that the next batch may have its memory
            taken[name].append(time.perf_counter() - start)
    floor = taken.pop("numpy")
    figures = {f"batches {state}: numpy, rows/ms": TURN * batch / median(floor) / 1e3}
    return figures | {f"{name}, {state}": median(np.divide(floor, seconds)) for name, seconds in taken.items()}


def _read_back(folder, rows, dimension, batch):
    """The same after the files have been dropped from memory, where the system does that."""
    for path in [*folder.rglob("*.npy"), *folder.rglob("*.arrow")] if hasattr(os, "posix_fadvise") else []:
        with path.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return _gather(folder, rows, dimension, batch, "read back")


def _measure(folder, rows, dimension, batch):
    """All figures of one number of rows; each kind in a fresh process, so that none sees another's memory."""
    figures = {}
    with (
        tempfile.TemporaryDirectory(dir=folder) as own,
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as processes,
    ):
        for step in (_make, _look_up, _gather, _read_back):
            figures |= processes.submit(step, Path(own), rows, dimension, batch).result()
    return figures


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
        _measure(options.folder, rows, options.dimension, options.batch) for rows in track(sizes, "cache", unit="sizes")
    ]
    print(f"{f'd = {options.dimension}, batches of {options.batch}; rows':48s}" + "".join(f"{n:>10d}" for n in sizes))
    for name in found[0]:
        print(f"{name:48s}" + "".join(f"{each[name]:>10.4g}" for each in found))

    most = max(each["bytes: collection / floor"] for each in found)
    growth = [each["  opening and a million lookups take"] for each in found]
    targets = [(most <= BYTES, f"bytes of a cached row / floor at most {BYTES}: {most:.4f}")]
    for state in ("as written", "read back"):
        least = min(each[f"  table, by row / numpy, {state}"] for each in found)
        targets.append((least >= BATCHES, f"table's batches / numpy's at least {BATCHES}, {state}: {least:.2f}"))
    if len(sizes) > 1 and not np.isnan(more := growth[-1] - growth[0]):
        targets.append((more <= FLAT, f"memory of lookups flat, at most {FLAT} MB more for more rows: {more:.2f}"))
    for met, words in targets:
        print(f"{'met    ' if met else 'NOT met'} {words}")


if __name__ == "__main__":
    main()
