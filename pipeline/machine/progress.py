"""Progress with rate and time left: a bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

PLAIN_INTERVAL = 10.0
"""Seconds between two plain lines."""


def track(items: Iterable[T], what: str, total: int | None = None, unit: str = "it") -> Iterator[T]:
    """Iterate over `items` and show how far it is on stderr, in a line that begins with `what`, one or two words.

    The length of `items` is used where `total` is not given; `unit` is what an item is, for the rate.
    """
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    if sys.stderr.isatty():
        yield from tqdm(items, desc=what, total=total, unit=unit, dynamic_ncols=True)
        return
    start = shown = time.monotonic()
    done = 0
    try:
        for item in items:
            yield item
            done += 1
            now = time.monotonic()
            if now - shown >= PLAIN_INTERVAL:
                shown = now
                print(tqdm.format_meter(done, total, now - start, prefix=what, unit=unit, ncols=0), file=sys.stderr)
    finally:
        elapsed = time.monotonic() - start
        rate = done / max(elapsed, 1e-9)
        print(f"{what}: {done:,} {unit} in {elapsed:.1f} s ({rate:,.1f} {unit}/s)", file=sys.stderr)


def report_new(what: str, new: int, total: int) -> None:
    """Say how much of some work is new, and that the rest need not be done again."""
    rest = ", the rest is in the feature store" if new < total else ""
    print(f"{what}: {new:,} of {total:,} are new{rest}", file=sys.stderr)
