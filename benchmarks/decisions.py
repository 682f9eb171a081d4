"""What curation decides, without any image: seconds and memory of the process that decides, as rows grow.

    python -m benchmarks.decisions --rows 1000000 --folder /somewhere/with/room

Makes up what inspections would find of images of one corpus (hashes, sketches and frames), with shares of the same
bytes, of near-duplicates, of altered copies of evaluation images, and of one image that stands there again and again in
other bytes, as placeholders do. Runs the library's own `select` on them, the close look at two images apart (who shows
the same is known), for `rows` and for a tenth of them, each in a process of its own. Prints seconds, memory and the
exponent between the two. What inspections cost: `benchmarks.curate`.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterable, Iterator
from math import log10
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from pipeline.artifacts.schema import make_key
from pipeline.curation import copies, looking, select
from pipeline.curation.inspection import ImageLimits, Inspection
from pipeline.curation.ledger import Ledger
from pipeline.curation.select import Rules
from pipeline.sources import File

EVALUATION = 5000
"""As many as COCO's test split has; a hundredth of fewer rows."""
SAME_BYTES, NEAR, ALTERED, PLACEHOLDER, NEW = range(5)
SHARES = (0.02, 0.03, 0.001, 0.01)
SOURCE = "mscoco"
COLUMNS = "key, source, id, declared, path, offset, evaluation, note"


class World:
    """Images by number: what each shows, and what an inspection finds of it.

    Args:
        rows: how many.
        evaluation: of them, the first so many.
    """

    def __init__(self, rows: int, evaluation: int) -> None:
        rng = np.random.default_rng(0)
        drawn = rng.random(rows)
        drawn[: evaluation + 1] = 1.0
        self.kind = np.searchsorted(np.cumsum(SHARES), drawn)
        earlier = (rng.random(rows) * np.arange(rows)).astype(np.int64)
        self.shows = np.where(self.kind <= NEAR, earlier, np.arange(rows))
        self.shows[self.kind == ALTERED] = earlier[self.kind == ALTERED] % max(1, evaluation)
        self.shows[self.kind == PLACEHOLDER] = evaluation
        while not np.array_equal(origins := self.shows[self.shows], self.shows):  # copies of copies
            self.shows = origins
        self.bytes = np.where(self.kind == SAME_BYTES, self.shows, np.arange(rows))

    def inspect(self, number: int) -> Inspection:
        """What an inspection would find."""
        shown, own = int(self.shows[number]), int(self.bytes[number])
        rng = np.random.default_rng([1, shown])
        phash, sketch = int.from_bytes(rng.bytes(8), "big"), rng.bytes(192)
        frames = rng.bytes(256), rng.bytes(256)
        if own != shown:
            noise = np.random.default_rng([2, own])
            phash ^= sum(1 << bit for bit in set(noise.integers(0, 64, 4).tolist()))
            if self.kind[number] == ALTERED:  # by its hash another image, by its frames the same
                phash = int.from_bytes(noise.bytes(8), "big")
        return Inspection(own.to_bytes(32, "big"), phash, sketch, 640, 480, "jpg", frames=frames)

    def same(self, pair: tuple[File, ...]) -> bool:
        """Whether two images show the same."""
        a, b = (self.shows[int(file.path)] for file in pair)
        return bool(a == b)


def _fill(ledger: Ledger, rows: int, evaluation: int) -> None:
    """Enter every image with a caption, as `intake` leaves them."""
    images = (
        (make_key(SOURCE, f"{n}"), SOURCE, f"{n}", 1, f"{n}".encode(), 0, "test" if n < evaluation else None, "")
        for n in range(rows)
    )
    ledger.db.executemany(f"INSERT INTO images ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", images)
    for n in range(rows):
        ledger.add_caption(n + 1, n.to_bytes(8, "big"), f"image {n}", "")
    ledger.flush()


def _memory() -> tuple[int, int]:
    """Bytes of this process: those that no file holds, and at most, mapped files among them."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    anonymous, peak = (int(status[name].split()[0]) << 10 for name in ("RssAnon", "VmHWM"))
    return anonymous, peak


def _decide(rows: int, evaluation: int, folder: Path, result: Any) -> None:
    """Run the decisions, and tell seconds, memory and what is kept."""
    world, inspecting = World(rows, evaluation), 0.0

    def inspected(
        _: Any, things: Iterable[Any], __: Any, limits: ImageLimits, ___: Any
    ) -> Iterator[tuple[Any, Inspection]]:
        nonlocal inspecting
        for thing in things:
            start = time.process_time()
            found = world.inspect(int(thing.file.path))
            inspecting += time.process_time() - start
            yield thing, found

    select.inspected = inspected
    copies.same_image, looking.altered_copy = world.same, lambda task: world.same(task[:2])
    rules = Rules(
        quota={SOURCE: rows}, test={SOURCE: "karpathy"}, validation=0.1, images=ImageLimits(32, 80_000_000, 4.0),
        radius=12, merge=True, seed=17,
    )  # fmt: skip
    with Ledger(folder / "ledger.sqlite", folder) as ledger:
        _fill(ledger, rows, evaluation)
        start = time.process_time()
        select.select(ledger, rules, workers=1)
        result.put((time.process_time() - start - inspecting, *_memory(), sum(ledger.kept_by_split().values())))


def main(
    folder: Annotated[Path, typer.Option(help="For the ledger; 2 kB a row.")],
    rows: Annotated[int, typer.Option(help="Images of the corpus.")] = 100_000,
) -> None:
    """Time the decisions on so many rows and on a tenth."""
    folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    found = []
    for count in (rows // 10, rows):
        result = context.Queue()
        process = context.Process(target=_decide, args=(count, min(EVALUATION, rows // 100), folder, result))
        process.start()
        while result.empty() and process.is_alive():
            process.join(1.0)
        seconds, anonymous, peak, kept = result.get(timeout=10)
        process.join()
        found.append((seconds, anonymous))
        print(
            f"{count:>12,} rows: {seconds:9.1f} s of a core, {seconds / count * 1e6:5.0f} us a row; "
            f"{anonymous / 1e6:,.0f} MB of memory, with mapped files at most {peak / 1e6:,.0f} MB; {kept:,} kept",
            flush=True,
        )
    exponents = [log10(large / small) for small, large in zip(*found, strict=True)]
    print(f"exponents from a tenth: seconds {exponents[0]:.2f}, memory {exponents[1]:.2f}")


if __name__ == "__main__":
    typer.run(main)
