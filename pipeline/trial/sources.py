"""A source tried: its rows as curation reads them, and the images that curation would draw first."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline import sources
from pipeline.artifacts.schema import Reason
from pipeline.curation.captions import CaptionLimits
from pipeline.curation.inspection import ImageFault, inspect
from pipeline.curation.intake import take
from pipeline.curation.ledger import Ledger
from pipeline.curation.select import Rules, give_roles
from pipeline.machine.progress import track
from pipeline.sources import File, Row, Source

_FIRST = (-1.0, "")
"""Before every draw."""


@dataclass(frozen=True, slots=True)
class Usable:
    """An image that would be kept, but for copies and quotas."""

    file: File
    bytes: int
    captions: list[str]


@dataclass(slots=True)
class Tried:
    """What was found of a source.

    Attributes:
        rows: that were read; `complete` if these are all.
        images: distinct ones that the rows declare; `files` of them have a file.
        published: by part of a published split, how many of the images it names.
        captions: that the rows hold.
        pool: images that a quota may draw from.
        test: images of the test split.
        evaluation: images that are only kept out of training.
        lost: rows that cannot be used, of all rows read: by kind, reasons and how often.
        inspected: images that were looked at, the first of the pool.
        faults: why some of them would not be kept.
        examples: of every reason, what was said of the first.
        reading: seconds for all rows.
        inspecting: seconds for all images looked at, in one process.
    """

    source: str
    quota: int
    rows: int = 0
    complete: bool = True
    images: int = 0
    files: int = 0
    published: dict[str, int] = field(default_factory=dict)
    captions: int = 0
    pool: int = 0
    test: int = 0
    evaluation: int = 0
    lost: dict[str, Counter[str]] = field(default_factory=dict)
    inspected: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    usable: list[Usable] = field(default_factory=list)
    reading: float = 0.0
    inspecting: float = 0.0


def try_source(
    source: str, given: Source, rules: Rules, limits: CaptionLimits, *, images: int, most_rows: int
) -> Tried:
    """Read the rows of a source, and inspect those of its images that curation with these rules would draw first.

    Copies are not looked for. Nothing is written but a table in the system's temporary folder, which is removed.

    Args:
        source: its name in `rules.quota`.
        given: its kind, and where it lies.
        images: how many are inspected.
        most_rows: how many rows are read.

    Raises:
        sources.SourceError: the source is missing or not in its layout.
    """
    found = Tried(source, rules.quota[source])
    with TemporaryDirectory(prefix="dclip-check-") as scratch, Ledger(Path(scratch) / "rows", given.path) as ledger:
        start = time.perf_counter()
        rows = track(sources.read(given, source), f"read {source}", unit="rows")
        take(ledger, source, _counted(rows, most_rows, found), limits)
        found.reading = time.perf_counter() - start
        _count(ledger, rules, found)
        start = time.perf_counter()
        _inspect(ledger, rules, found, images)
        found.inspecting = time.perf_counter() - start
    return found


def _counted(rows: Iterable[Row], most: int, found: Tried) -> Iterator[Row]:
    """The first rows; whether there are more is noted once they have been read."""
    iterator = iter(rows)
    for row in islice(iterator, most):
        found.rows += 1
        yield row
    found.complete = next(iterator, None) is None if found.rows == most else True


def _count(ledger: Ledger, rules: Rules, found: Tried) -> None:
    give_roles(ledger, rules)
    one = ledger.db.execute
    found.captions = ledger.read["caption", found.source]
    roles = dict(one("SELECT coalesce(role, 'pool'), count(*) FROM images GROUP BY 1").fetchall())
    found.pool, found.test, found.evaluation = (roles.get(role, 0) for role in ("pool", "test", "guard"))
    found.images = sum(roles.values())
    found.files = one("SELECT count(*) FROM images WHERE length(path) > 0").fetchone()[0]
    parts = one("SELECT evaluation, count(*) FROM images WHERE evaluation IS NOT NULL GROUP BY 1")
    found.published = dict(parts.fetchall())
    for kind, reason, count, detail in one("SELECT kind, reason, count(*), min(detail) FROM refused GROUP BY 1, 2"):
        found.lost.setdefault(kind, Counter())[reason] = count
        found.examples.setdefault(reason, detail)


def _inspect(ledger: Ledger, rules: Rules, found: Tried, images: int) -> None:
    for candidate in ledger.pool(found.source, _FIRST, images):
        found.inspected += 1
        if candidate.file is None:
            result = ImageFault(Reason.MISSING_IMAGE, candidate.note or "no such file was downloaded")
        elif isinstance(inspection := inspect(candidate.file, rules.images), ImageFault):
            result = inspection
        elif not candidate.captions and found.source not in rules.uncaptioned:
            result = ImageFault(Reason.NO_CAPTION, f"{candidate.file.name}: no caption is left")
        else:
            texts = ledger.db.execute("SELECT text FROM captions WHERE home = ?", (candidate.number,)).fetchall()
            found.usable.append(Usable(candidate.file, len(candidate.file.read()), [text for (text,) in texts]))
            continue
        found.faults[result.reason] += 1
        found.examples.setdefault(result.reason, result.detail)
