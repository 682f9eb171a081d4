"""How long a table of paths takes to read beside its images, and how much memory.

    python -m benchmarks.table --rows 1000000 --folder /somewhere

writes a Parquet table of a path, a caption and a licence a row, and some JPEG files that all rows name in turn, and
prints, each in a process of its own:

- floor: the table's batches, every file read and decoded at the size that curation decodes at,
- source: the same of the rows that `kind: table` yields,

their ratio, which is to be at most 1.2, and the peak memory of the reader alone for all rows and for a tenth of them.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from PIL import Image

from pipeline.curation.appearance import ENOUGH
from pipeline.images import decoding

FILES = 500
SIDE = 160
BATCH = 10_000
TARGET = 1.2


def make(folder: Path, rows: int) -> Path:
    """The images, and a table of so many rows."""
    rng = np.random.default_rng(0)
    for number in range(FILES):
        path = folder / f"images/{number:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (SIDE // 8, SIDE // 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(path, quality=88)
    path = folder / f"rows-{rows}.parquet"
    schema = pa.schema([("image", pa.string()), ("caption", pa.string()), ("licence", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for first in range(0, rows, BATCH):
            numbers = range(first, min(first + BATCH, rows))
            columns = {
                "image": [f"images/{n % FILES:04d}.jpg" for n in numbers],
                "caption": [f"two red dogs and a bird number {n} on the street" for n in numbers],
                "licence": ["CC BY 4.0"] * len(numbers),
            }
            writer.write_table(pa.table(columns, schema))
    return path


def decode(data: bytes) -> None:
    with decoding.opened(data) as image:
        decoding.upright(image, ENOUGH)


def floor(path: Path, decoding_too: bool = True) -> int:
    count = 0
    with pq.ParquetFile(path) as table:
        for batch in table.iter_batches(1000, use_threads=False):
            for image, _ in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
                if decoding_too:
                    decode((path.parent / image).read_bytes())
                count += 1
    return count


def source(path: Path, decoding_too: bool = True) -> int:
    from pipeline.sources import Image as Row
    from pipeline.sources import Source, read

    count = 0
    for row in read(Source("table", path)):
        if isinstance(row, Row) and row.file:
            if decoding_too:
                decode(row.file.read())
            count += 1
    return count


class Measured(NamedTuple):
    seconds: float
    cpu_seconds: float
    megabytes: float


def measured(work: Callable[..., int], *arguments: object) -> Measured:
    """Seconds and peak memory of a process of its own."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_timed, (work, *arguments))


def _timed(work: Callable[..., int], *arguments: object) -> Measured:
    with contextlib.redirect_stderr(io.StringIO()):
        began, cpu = time.perf_counter(), time.process_time()
        work(*arguments)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return Measured(time.perf_counter() - began, time.process_time() - cpu, peak)


def main(
    rows: Annotated[int, typer.Option(help="of the table")] = 20_000,
    folder: Annotated[Path, typer.Option(help="where table and images are written")] = Path("build/table"),
) -> None:
    """Compare reading a table through the source with reading and decoding alone."""
    path, tenth = make(folder, rows), make(folder, max(rows // 10, 1))
    few, alone = (measured(source, each, False) for each in (tenth, path))
    pairs = [(measured(floor, path), measured(source, path)) for _ in range(1 if rows > 100_000 else 3)]
    least, read = (min(column) for column in zip(*pairs, strict=True))
    ratio, cpu_ratio = read.seconds / least.seconds, read.cpu_seconds / least.cpu_seconds
    print(f"{rows:,} rows: floor {least.seconds:.1f} s, source {read.seconds:.1f} s")
    print(f"ratio {ratio:.3f}, of CPU time {cpu_ratio:.3f}  {'' if ratio <= TARGET else 'NOT '}met: at most {TARGET}")
    print(f"the rows alone: {alone.cpu_seconds / rows * 1e6:.1f} us of CPU a row")
    print(f"peak memory of the reader: {alone.megabytes:.0f} MB, {few.megabytes:.0f} MB for a tenth of the rows")


if __name__ == "__main__":
    typer.run(main)
