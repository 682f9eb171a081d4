"""What is kept between runs, and what stages say of their small files: every byte read again."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pipeline.disk import sums
from pipeline.distillation import pixels
from pipeline.machine.progress import track
from pipeline.training import checkpoint
from pipeline.verification.findings import Finding, checked


def check(home: Path, threads: int) -> Iterator[Finding]:
    """Read every checkpoint and every file of decoded images.

    Args:
        home: the folder with `runs` and `pixels`.
        threads: that hash.
    """
    kinds = (("runs/*/*.pt", checkpoint.check), ("pixels/*.npy", partial(pixels.check, threads=threads)))
    found = [(path, run) for pattern, run in kinds for path in sorted(home.glob(pattern))]
    for path, run in track(found, "check runs and pixels", unit="files"):
        yield checked(path.relative_to(home).as_posix(), "its bytes, by its seal", [path], partial(run, path))


def check_small(data: Path) -> Iterator[Finding]:
    """Compare JSON and CSV files with what their stages, and the runs of `dclip compare`, said of them.

    Args:
        data: folder with a folder for every stage.
    """
    of_runs = [path for path in data.glob(f"compare/*/*/{sums.NAME}") if not path.parent.is_symlink()]
    for path in sorted([*data.glob(f"*/{sums.NAME}"), *of_runs]):
        name = path.relative_to(data).as_posix()
        yield checked(name, "the small files it names", [path], partial(sums.check_all, path.parent, partly=True))
