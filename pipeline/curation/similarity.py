"""Captions that are too unlike their images, by what frozen CLIPs have made of a first pass, are dropped.

As DataComp (arXiv 2304.14108) and DFN (arXiv 2309.17425) filter their pools: the worst share, or what lies below a
threshold. Only captions that could train: those of val and test images stay, so that figures stay comparable.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artifacts.schema import CLIPS, SIMILARITIES, Reason
from pipeline.curation.captions import digest
from pipeline.curation.ledger import Ledger
from pipeline.errors import InputError
from pipeline.machine.progress import track

log = logging.getLogger(__name__)

BIN = 0.02
"""Width of a bin of similarities in the data card."""

_CANDIDATES = (
    "FROM captions c JOIN images i ON i.number = c.image "
    "JOIN similarities s ON s.origin = i.source || ':' || c.place AND s.fold = c.fold "
    "WHERE i.role IS NULL AND draw(:seed, 'split', i.key) >= :validation"
)


@dataclass(frozen=True, slots=True)
class Similarity:
    """Which captions are dropped.

    Attributes:
        path: a table with `SIMILARITIES`' columns, or a folder with some.
        by: the CLIP whose similarities count.
        drop: the worst share, of those that could train and have a similarity.
        below: what has a lower similarity; -1 for none.
    """

    path: Path
    by: str
    drop: float
    below: float


def drop(ledger: Ledger, wanted: Similarity, *, seed: int, validation: float) -> int:
    """Refuse captions of images that may train, once roles are given; returns how many.

    A caption is known by where it was read and what it says; one that the first pass has not kept, or not embedded
    because the quota was full, has no similarity and stays. It is said how many these are.

    Raises:
        InputError: there is no such table, or it is damaged or has no similarities under this CLIP.
    """
    ledger.db.execute("CREATE TABLE similarities (origin TEXT PRIMARY KEY, fold BLOB, value REAL) WITHOUT ROWID")
    for path in _tables(wanted.path):
        ledger.db.executemany(
            "INSERT OR REPLACE INTO similarities VALUES (?, ?, ?)", track(_read(path, wanted.by), "read similarities")
        )
    values: dict[str, Any] = {"seed": seed, "validation": validation}
    known = ledger.db.execute(f"SELECT count(*) {_CANDIDATES}", values).fetchone()[0]
    every = ledger.db.execute(
        "SELECT count(*) FROM captions c JOIN images i ON i.number = c.image "
        "WHERE i.role IS NULL AND draw(:seed, 'split', i.key) >= :validation",
        values,
    ).fetchone()[0]
    values |= {"worst": int(known * wanted.drop), "below": wanted.below}
    ledger.db.execute(
        f"CREATE TABLE unlike AS SELECT c.number, s.value {_CANDIDATES} ORDER BY s.value, s.origin LIMIT :worst", values
    )
    ledger.db.execute(f"INSERT INTO unlike SELECT c.number, s.value {_CANDIDATES} AND s.value < :below", values)
    ledger.db.execute("CREATE INDEX unlike_captions ON unlike (number)")
    detail = "'similarity ' || (SELECT printf('%.3f', max(value)) FROM unlike u WHERE u.number = c.number) || :asked"
    asked = f" under {wanted.by}, dropped: the worst {wanted.drop:.0%}" + (
        "" if wanted.below == -1 else f", and below {wanted.below:g}"
    )
    dropped = ledger.refuse_captions(Reason.LOW_SIMILARITY, detail, "SELECT DISTINCT number FROM unlike", asked=asked)
    if every > known:
        log.warning(
            "%d of %d captions that could train have no similarity in %s and stay; write it anew after this pass: "
            "dclip similarities", every - known, every, wanted.path,
        )  # fmt: skip
    ledger.db.execute("DROP TABLE unlike")
    return dropped


def summary(ledger: Ledger, sources: Sequence[str]) -> dict[str, Any]:
    """Of captions that a table tells of and that are still in, by source: how many in each bin of BIN from -1 to 1."""
    counts = {source: [0] * round(2 / BIN) for source in sources}
    query = (
        "SELECT i.source, min(cast((s.value + 1) / ? AS INTEGER), ?), count(*) FROM captions c "
        "JOIN images i ON i.number = c.image JOIN images h ON h.number = c.home "
        "JOIN similarities s ON s.origin = i.source || ':' || c.place AND s.fold = c.fold "
        "WHERE h.split IS NOT NULL GROUP BY 1, 2"
    )
    for source, place, count in ledger.db.execute(query, (BIN, round(2 / BIN) - 1)):
        counts[source][place] = count
    return {"counts": counts, "start": -1.0, "step": BIN}


def _tables(path: Path) -> list[Path]:
    found = [path] if path.is_file() else sorted(path.glob("*.parquet"))
    if not found:
        raise InputError(
            f"curate.similarity asks for similarities, and there is no table at {path}. Run everything once with "
            "curate.similarity.drop 0 and below -1, then: dclip similarities"
        )
    return found


def _read(path: Path, by: str) -> Iterator[tuple[str, bytes, float]]:
    """Origin, digest and similarity of every caption, a few thousand in memory at a time."""
    try:
        with pq.ParquetFile(path, memory_map=False) as table:
            schema = table.schema_arrow
            clips = (schema.metadata or {}).get(CLIPS.encode(), b"").decode().split(",")
            if not schema.remove_metadata().equals(SIMILARITIES) or by not in clips:
                raise InputError(
                    f"{path} has similarities under {', '.join(clips) or 'no CLIP'}, expected some under {by} "
                    "(curate.similarity.by); run: dclip similarities"
                )
            place = clips.index(by)
            for batch in table.iter_batches(8192, columns=["origin", "caption", "cosines"]):
                for origin, caption, cosines in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    yield origin, digest(caption), cosines[place]
    except (pa.ArrowException, OSError, IndexError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}); run: dclip similarities") from error
