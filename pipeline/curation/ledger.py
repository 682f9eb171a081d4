"""The account of every row: what was read, what became of it, and the count that must balance.

Rows lie in an SQLite file beside the output while curation runs, so that memory stays flat however many there are.
"""

import hashlib
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pipeline.artifacts.schema import Reason, Split
from pipeline.curation.inspection import Inspection
from pipeline.sources import File

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE images (
    number INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, source TEXT NOT NULL, id TEXT NOT NULL,
    declared INTEGER NOT NULL DEFAULT 0, path BLOB, offset INTEGER, length INTEGER,
    licence TEXT, url TEXT, evaluation TEXT, note TEXT,
    role TEXT, draw REAL, sha256 BLOB, phash BLOB, width INTEGER, height INTEGER, extension TEXT,
    sharpness REAL, brightness REAL,
    split TEXT, place REAL, reason TEXT, detail TEXT, original INTEGER, seen INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE captions (
    number INTEGER PRIMARY KEY, image INTEGER NOT NULL, home INTEGER NOT NULL, fold BLOB NOT NULL,
    text TEXT NOT NULL, place TEXT NOT NULL
);
CREATE TABLE columns (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, image INTEGER NOT NULL, text TEXT NOT NULL, place TEXT NOT NULL,
    path BLOB, offset INTEGER, length INTEGER, x0 REAL, y0 REAL, x1 REAL, y1 REAL, score REAL
);
CREATE TABLE bytes (sha256 BLOB PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE frames (place INTEGER PRIMARY KEY, number INTEGER UNIQUE NOT NULL, frames BLOB NOT NULL);
CREATE TABLE refused (
    number INTEGER PRIMARY KEY, kind TEXT, key TEXT, source TEXT, place TEXT, reason TEXT, detail TEXT
);
BEGIN;
"""
# images: named by a caption but not by the corpus while declared is 0; undecided while split and reason are both null;
# role is null for the pool that the quotas draw from; original is what a copy is a copy of; seen is 1 for an evaluation
# image that copies can be compared with.
# captions: `home` is the image they belong to now, which after merging is not the one they were read for.
# columns: rewrites, negatives (perhaps with a file) and boxes of images, in pixels; what is refused is taken out of it.
# bytes: the first image that was decided on with these bytes; frames: of every image kept for training. Both by the
# number of `seen.SeenImages`.
# refused: rows with a reason of their own. A caption shares the fate of its home.


_KNOWN = ("width", "height", "extension", "sharpness", "brightness")
"""What is remembered of an inspected image by these names."""
_WAITING = 2000
"""Captions that are written together, twice as fast as one by one."""

Role = Literal["test", "guard"]
"""Evaluation images: kept as the test split, or only kept out of training; either way together with their copies."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image on which nothing is decided yet."""

    number: int
    key: str
    role: Role | None
    evaluation: str | None
    file: File | None
    note: str
    captions: int
    """How many usable captions it has."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A kept image, as shards and manifest need it."""

    key: str
    source: str
    id: str
    file: File
    licence: str
    url: str
    image: Inspection
    captions: list[str]
    origins: list[str]
    """Where each caption was read, `<source>:<place in the source>`."""


def draw(seed: int, purpose: str, key: str) -> float:
    """A number in 0..1 fixed by seed, purpose and key alone, so that adding data never reshuffles old choices."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def utf8(text: str) -> str:
    """Text, such as a file's name, with a question mark for whatever UTF-8 cannot hold."""
    return text if text.isascii() else text.encode(errors="replace").decode()


class Ledger:
    """Every image and caption that was read; a context manager.

    Args:
        path: of the file, which is removed in the end.
        root: of the corpora; rejected rows name files relative to it.
    """

    def __init__(self, path: Path, root: Path) -> None:
        self.path, self._root = path, os.fsencode(f"{root}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.executescript(_SCHEMA)
        self.db.create_function("draw", 3, draw, deterministic=True)
        self.read: Counter[tuple[str, str]] = Counter()
        """Rows read, by (kind, source)."""
        self._captions: list[tuple[int, int, bytes, str, str]] = []
        self._columns: list[tuple[object, ...]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.db.close()
        self.path.unlink(missing_ok=True)

    def add_caption(self, image: int, fold: bytes, text: str, place: str) -> None:
        """Record a caption; `fold` is equal for captions that say the same. Written by `flush` at the latest."""
        self._captions.append((image, image, fold, text, utf8(place)))
        if len(self._captions) >= _WAITING:
            self.flush()

    def add_column(self, kind: str, image: int, text: str, place: str, *more: object) -> None:
        """Record a rewrite, a negative or a box, as a caption; `more`: path, offset, length, x0, y0, x1, y1, score."""
        self._columns.append((kind, image, text, utf8(place), *more, *(None,) * (8 - len(more))))
        if len(self._columns) >= _WAITING:
            self.flush()

    def flush(self) -> None:
        """Write the captions, and the columns, that wait."""
        self.db.executemany(
            "INSERT INTO columns (kind, image, text, place, path, offset, length, x0, y0, x1, y1, score) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            self._columns,
        )
        self._columns.clear()
        self.db.executemany(
            "INSERT INTO captions (image, home, fold, text, place) VALUES (?, ?, ?, ?, ?)", self._captions
        )
        self._captions.clear()

    def refuse(self, kind: str, key: str, source: str, place: str, reason: Reason, detail: str) -> None:
        """Record a row that cannot be used, whatever becomes of its image."""
        self.db.execute(
            "INSERT INTO refused (kind, key, source, place, reason, detail) VALUES (?, ?, ?, ?, ?, ?)",
            (kind, key, source, utf8(place), reason, utf8(detail)),
        )

    def refuse_captions(self, reason: Reason, detail: str, numbers: str, **values: object) -> int:
        """Record that some captions cannot be used, and take them out.

        Args:
            detail: SQL of a text, of a caption `c` and its image `i`.
            numbers: SQL of which captions.
            values: what stands in both.

        Returns:
            how many they are.
        """
        given = {"reason": reason, **values}
        self.db.execute(f"CREATE TEMP TABLE lost AS {numbers}", given)
        found = self.db.execute(
            "INSERT INTO refused (kind, key, source, place, reason, detail) "
            f"SELECT 'caption', i.key, i.source, c.place, :reason, {detail} "
            "FROM captions c JOIN images i ON i.number = c.image "
            "WHERE c.number IN (SELECT number FROM lost) ORDER BY c.number",
            given,
        )
        self.db.execute("DELETE FROM captions WHERE number IN (SELECT number FROM lost)")
        self.db.execute("DROP TABLE lost")
        return found.rowcount

    def place(self, path: bytes) -> str:
        """A file's path in the corpora as text that UTF-8 can hold."""
        return path.removeprefix(self._root).decode("utf-8", errors="replace")

    def has(self, source: str, evaluation: str) -> bool:
        """Whether a published split names images of this corpus for `evaluation`."""
        query = "SELECT 1 FROM images WHERE source = ? AND evaluation = ? LIMIT 1"
        return self.db.execute(query, (source, evaluation)).fetchone() is not None

    def assign(
        self, seed: int, published: set[str], fractions: dict[str, float], uncaptioned: Iterable[str] = ()
    ) -> None:
        """Give every evaluation image its role, and every other its place in the pool.

        Args:
            published: corpora whose published test images are the test split.
            fractions: share of a corpus that is drawn for the test split.
            uncaptioned: corpora whose images without captions are drawn for no test split.
        """
        update = self.db.execute
        update("CREATE INDEX captions_of ON captions (home, number)")
        update("UPDATE images SET role = 'guard' WHERE evaluation IS NOT NULL")
        for source in published:
            update("UPDATE images SET role = 'test' WHERE source = ? AND evaluation = 'test'", (source,))
        for source, share in fractions.items():
            captioned = (
                "AND EXISTS (SELECT 1 FROM captions WHERE home = images.number)" if source in uncaptioned else ""
            )
            update(
                f"UPDATE images SET role = 'test' WHERE source = ? AND draw(?, 'test', key) < ? {captioned}",
                (source, seed, share),
            )
        update("UPDATE images SET draw = draw(?, 'quota', key) WHERE role IS NULL", (seed,))
        update("CREATE INDEX pool ON images (source, draw, key)")

    def evaluation_images(self) -> Iterator[Candidate]:
        """The images that have a role, in the order of their keys."""
        yield from self._candidates("role IS NOT NULL ORDER BY key")

    def pool(self, source: str, after: tuple[float, str], most: int) -> list[Candidate]:
        """The next images of a corpus in the order of their draws, after the given (draw, key)."""
        return list(self.drawn(source, after, most))

    def drawn(self, source: str, after: tuple[float, str], most: int) -> Iterator[Candidate]:
        """`pool`, one by one; nothing may be decided before the last."""
        where = "source = ? AND role IS NULL AND (draw, key) > (?, ?) ORDER BY draw, key LIMIT ?"
        yield from self._candidates(where, source, *after, most)

    def pool_size(self, source: str) -> int:
        """How many images quotas may draw from."""
        query = "SELECT count(*) FROM images WHERE source = ? AND role IS NULL"
        return int(self.db.execute(query, (source,)).fetchone()[0])

    def _candidates(self, where: str, *values: object) -> Iterator[Candidate]:
        rows = self.db.execute(
            "SELECT number, key, role, evaluation, path, offset, length, note, "
            f"(SELECT count(*) FROM captions WHERE home = images.number) FROM images WHERE {where}",
            values,
        )
        for number, key, role, evaluation, path, offset, length, note, captions in rows:
            file = File(os.fsdecode(path), offset, length) if path else None
            yield Candidate(number, key, role, evaluation, file, note, captions)

    def key(self, number: int) -> str:
        """The key of an image."""
        return str(self.db.execute("SELECT key FROM images WHERE number = ?", (number,)).fetchone()[0])

    def source(self, number: int) -> str:
        """The corpus of an image."""
        return str(self.db.execute("SELECT source FROM images WHERE number = ?", (number,)).fetchone()[0])

    def split(self, number: int) -> Split:
        """The split of a kept image."""
        return Split(self.db.execute("SELECT split FROM images WHERE number = ?", (number,)).fetchone()[0])

    def is_captioned(self, number: int) -> bool:
        """Whether an image has a caption now."""
        return self.db.execute("SELECT 1 FROM captions WHERE home = ? LIMIT 1", (number,)).fetchone() is not None

    def file(self, number: int) -> File:
        """Where an image lies."""
        query = "SELECT path, offset, length FROM images WHERE number = ?"
        path, offset, length = self.db.execute(query, (number,)).fetchone()
        return File(os.fsdecode(path), offset, length)

    def saw(self, numbers: Iterable[int]) -> None:
        """Note which evaluation images could be read."""
        self.db.executemany("UPDATE images SET seen = 1 WHERE number = ?", ((n,) for n in numbers))

    def first_with_bytes(self, sha256: bytes, number: int) -> int:
        """The number that was given first with these bytes: this one, if none was."""
        query = "INSERT INTO bytes VALUES (?, ?) ON CONFLICT DO UPDATE SET number = number RETURNING number"
        return int(self.db.execute(query, (sha256, number)).fetchone()[0])

    def reject(self, number: int, reason: Reason, detail: str, original: int | None = None) -> None:
        """Decide that an image, and with it every caption whose home it is, is not kept, even if it was until now."""
        self.db.execute(
            "UPDATE images SET split = NULL, reason = ?, detail = ?, original = ? WHERE number = ?",
            (reason, utf8(detail), original, number),
        )

    def reject_rest(self, source: str, reason: Reason, detail: str) -> None:
        """Reject every image of a corpus on which nothing is decided yet."""
        self.db.execute(
            "UPDATE images SET reason = ?, detail = ? WHERE source = ? AND split IS NULL AND reason IS NULL",
            (reason, detail, source),
        )

    def keep(self, number: int, image: Inspection, split: Split, place: float) -> None:
        """Decide that an image is kept; `place` orders its split."""
        phash = image.phash.to_bytes(8, "big")
        self.db.execute(
            "UPDATE images SET split = ?, place = ?, sha256 = ?, phash = ?, width = ?, height = ?, extension = ?, "
            "sharpness = ?, brightness = ? WHERE number = ?",
            (
                *(split, place, image.sha256, phash, image.width, image.height, image.extension),
                *(image.sharpness, image.brightness, number),
            ),
        )

    def move(self, number: int, split: Split) -> None:
        """Put a kept image into another split."""
        self.db.execute("UPDATE images SET split = ? WHERE number = ?", (split, number))

    def merge(self, copy: int, original: int) -> None:
        """Give the captions of a copy to its original, those that the original has already excepted."""
        self.db.execute(
            "UPDATE captions SET home = ? WHERE home = ? AND fold NOT IN (SELECT fold FROM captions WHERE home = ?)",
            (original, copy, original),
        )

    def kept(self, split: Split) -> Iterator[Kept]:
        """The images of a split in its order."""
        rows = self.db.execute(
            "SELECT number, key, source, id, path, offset, length, licence, url, sha256, phash, "
            f"{', '.join(_KNOWN)} FROM images WHERE split = ? ORDER BY place, key",
            (split,),
        )
        for number, key, source, identity, path, offset, length, licence, url, sha256, phash, *about in rows:
            captions = self.db.execute(
                "SELECT text, source || ':' || c.place FROM captions c JOIN images i ON i.number = c.image "
                "WHERE home = ? ORDER BY c.image <> home, c.number",
                (number,),
            ).fetchall()
            known = dict(zip(_KNOWN, about, strict=True))
            image = Inspection(sha256, int.from_bytes(phash, "big"), b"", **known)
            texts, origins = ([row[i] for row in captions] for i in (0, 1))
            file = File(os.fsdecode(path), offset, length)
            yield Kept(key, source, identity, file, licence, url, image, texts, origins)

    def rejected(self) -> Iterator[dict[str, Any]]:
        """One row for every image and caption that is not kept: kind, key, source, place, reason, detail."""
        rows = self.db.execute(
            "SELECT 'image', key, source, path, url, id, reason, detail FROM images WHERE reason IS NOT NULL "
            "UNION ALL SELECT 'caption', i.key, i.source, NULL, NULL, c.place, h.reason, h.detail FROM captions c "
            "JOIN images i ON i.number = c.image JOIN images h ON h.number = c.home WHERE h.reason IS NOT NULL "
            "UNION ALL SELECT kind, key, source, NULL, NULL, place, reason, detail FROM refused"
        )
        for kind, key, source, path, url, place, reason, detail in rows:
            place = self.place(path or b"") or url or place
            row = {"kind": kind, "key": key, "source": source, "place": place}
            yield row | {"reason": reason, "detail": detail}

    def balance(self) -> dict[str, dict[str, dict[str, int]]]:
        """Counts by kind and source: read, kept, and one for each reason.

        Raises:
            AssertionError: kept + rejected differs from read; a defect of this package, never of the input.
        """
        counts: dict[str, dict[str, dict[str, int]]] = {"image": {}, "caption": {}}
        for (kind, source), read in sorted(self.read.items()):
            counts.setdefault(kind, {})[source] = {"read": read, "kept": 0}
        found = self.db.execute(
            "SELECT 'image', source, coalesce(reason, 'kept'), count(*) FROM images "
            "WHERE split IS NOT NULL OR reason IS NOT NULL GROUP BY 2, 3 "
            "UNION ALL SELECT 'caption', i.source, coalesce(h.reason, 'kept'), count(*) FROM captions c "
            "JOIN images i ON i.number = c.image JOIN images h ON h.number = c.home "
            "WHERE h.split IS NOT NULL OR h.reason IS NOT NULL GROUP BY 2, 3 "
            "UNION ALL SELECT kind, source, reason, count(*) FROM refused GROUP BY 1, 2, 3 "
            "UNION ALL SELECT kind, source, 'kept', count(*) FROM columns c JOIN images i ON i.number = c.image "
            "GROUP BY 1, 2"
        )
        for kind, source, outcome, count in found:
            numbers = counts[kind][source]
            numbers[outcome] = numbers.get(outcome, 0) + count
        for kind, sources in counts.items():
            for source, numbers in sources.items():
                accounted = sum(numbers.values()) - numbers["read"]
                if accounted != numbers["read"]:
                    raise AssertionError(f"{kind}s of {source}: read {numbers['read']}, accounted for {accounted}")
        return counts

    def kept_by_split(self) -> dict[str, int]:
        """Kept images, 0 where a split has none."""
        found = dict(self.db.execute("SELECT split, count(*) FROM images WHERE split IS NOT NULL GROUP BY split"))
        return {split: found.get(split, 0) for split in Split}

    def kept_for_training(self) -> dict[str, int]:
        """Images kept for train and val, by the corpora that have some."""
        query = "SELECT source, count(*) FROM images WHERE split IN (?, ?) GROUP BY source"
        return dict(self.db.execute(query, (Split.TRAIN, Split.VAL)))
