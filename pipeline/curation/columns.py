"""What training images have beside captions: rewrites, negatives and boxes, from intake to their tables.

They go with their image: what is of an image that is not kept has its reason, and what is of a val or test image is
`held_out`. Kept + rejected = read, for each of them, as for captions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Any

from pipeline.artifacts import catalog, tables
from pipeline.artifacts.catalog import Artifact
from pipeline.artifacts.schema import Reason, Split, make_key
from pipeline.curation.captions import CaptionFault, CaptionLimits, clean
from pipeline.curation.inspection import ImageChanged, ImageFault, ImageLimits
from pipeline.curation.ledger import Ledger
from pipeline.curation.looking import NoForesight, inspected
from pipeline.machine.processes import Processes
from pipeline.sources import Box, File, Negative, Rewrite

_SHORT = (Reason.EMPTY_CAPTION, Reason.NO_WORDS, Reason.SHORT_CAPTION)
_LONGEST_PHRASE = 200
_THINNEST = 0.01
"""Pixels of a box's side inside its image; of less nothing is left in float32."""

ARTIFACTS: dict[str, Artifact] = {
    "rewrite": catalog.REWRITES,
    "negative": catalog.NEGATIVES,
    "box": catalog.GIVEN_BOXES,
}
"""The table of every kind of row."""


def take(ledger: Ledger, source: str, number: int, row: Rewrite | Negative | Box, limits: CaptionLimits) -> None:
    """Enter a row of the image with this number, or refuse it.

    A rewrite may have a word or none, as language models sometimes say nothing: it is kept, and stands for a caption.
    """
    kind = {Rewrite: "rewrite", Negative: "negative", Box: "box"}[type(row)]
    ledger.read[kind, source] += 1
    if isinstance(row, Box):
        phrase = " ".join(row.phrase.split())
        if fault := _box_fault(row, phrase):
            ledger.refuse(kind, make_key(source, row.id), source, row.place, fault.reason, fault.detail)
        else:
            ledger.add_column(kind, number, phrase, row.place, None, None, None, *row.box, row.score)
        return
    text = clean(row.text, limits)
    if isinstance(text, CaptionFault) and isinstance(row, Rewrite) and text.reason in _SHORT:
        text = ""
    if isinstance(text, CaptionFault):
        ledger.refuse(kind, make_key(source, row.id), source, row.place, text.reason, text.detail)
    elif isinstance(row, Negative) and row.file:
        file = row.file
        ledger.add_column(kind, number, text, row.place, os.fsencode(file.path), file.offset, file.length)
    else:
        ledger.add_column(kind, number, text, row.place)


def _box_fault(row: Box, phrase: str) -> CaptionFault | None:
    x0, y0, x1, y1 = row.box
    if not (all(map(isfinite, row.box)) and x0 < x1 and y0 < y1):
        return CaptionFault(Reason.MALFORMED_ROW, f"expected x0 < x1 and y0 < y1, found {list(row.box)}")
    if not 0 <= row.score <= 1:
        return CaptionFault(Reason.MALFORMED_ROW, f"expected a score in 0..1, found {row.score}")
    if not phrase:
        return CaptionFault(Reason.EMPTY_CAPTION, "its phrase is nothing but white space")
    if len(phrase) > _LONGEST_PHRASE:
        return CaptionFault(Reason.LONG_CAPTION, f"its phrase has {len(phrase)} characters, at most {_LONGEST_PHRASE}")
    return None


def refuse_unclaimed(ledger: Ledger) -> None:
    """Refuse what belongs to no image of the corpus."""
    _refuse(ledger, "NOT i.declared", "'malformed_row'", "'the corpus has no image with id ' || i.id")


def _refuse(ledger: Ledger, where: str, reason: str, detail: str) -> None:
    """Move rows from `columns` to `refused`; the arguments are SQL over columns c and images i."""
    rows = f"FROM columns c JOIN images i ON i.number = c.image WHERE {where}"
    ledger.db.execute(
        "INSERT INTO refused (kind, key, source, place, reason, detail) "
        f"SELECT c.kind, i.key, i.source, c.place, {reason}, {detail} {rows} ORDER BY c.number"
    )
    ledger.db.execute(f"DELETE FROM columns WHERE number IN (SELECT c.number {rows})")


def settle(ledger: Ledger, limits: ImageLimits, workers: int) -> None:
    """Refuse what is of no training image, boxes outside their image, and negatives whose image cannot be used."""
    _refuse(ledger, "i.reason IS NOT NULL", "i.reason", "'of an image that is not kept: ' || i.detail")
    _refuse(ledger, f"i.split <> '{Split.TRAIN}'", f"'{Reason.HELD_OUT}'", "'its image is of ' || i.split")
    across, down = "min(c.x1, i.width) - max(c.x0, 0)", "min(c.y1, i.height) - max(c.y0, 0)"
    outside = f"c.kind = 'box' AND ({across} < {_THINNEST} OR {down} < {_THINNEST})"
    size = "'nothing of it is in its image of ' || i.width || ' x ' || i.height || ' pixels'"
    _refuse(ledger, outside, f"'{Reason.MALFORMED_ROW}'", size)
    if not ledger.db.execute("SELECT 1 FROM columns WHERE path IS NOT NULL LIMIT 1").fetchone():
        return
    ledger.db.execute("CREATE INDEX bytes_of ON images (sha256)")
    images = ledger.db.execute("SELECT number, path, offset, length FROM columns WHERE path IS NOT NULL")
    faults: list[tuple[int, str, str]] = []
    with Processes(workers) as processes:
        for (number, *_), found in inspected(processes, images, lambda row: _file(*row[1:]), limits, NoForesight()):
            fault = found if isinstance(found, ImageFault) else _leak(ledger, found.sha256)
            if fault:
                faults.append((number, fault.reason, fault.detail))
    ledger.db.execute("CREATE TEMP TABLE faults (number INTEGER PRIMARY KEY, reason TEXT, detail TEXT)")
    ledger.db.executemany("INSERT INTO faults VALUES (?, ?, ?)", faults)
    found_of = "(SELECT {} FROM faults f WHERE f.number = c.number)"
    _refuse(ledger, "c.number IN (SELECT number FROM faults)", found_of.format("reason"), found_of.format("detail"))


def _file(path: bytes, offset: int, length: int | None) -> File:
    return File(os.fsdecode(path), offset, length)


def _leak(ledger: Ledger, sha256: bytes) -> ImageFault | None:
    """What is wrong with an image that was decided on and does not train."""
    trains = "SELECT 1 FROM images WHERE sha256 = ? AND split = ?"
    if ledger.db.execute(trains, (sha256, Split.TRAIN)).fetchone():
        return None
    if ledger.db.execute("SELECT 1 FROM bytes WHERE sha256 = ?", (sha256,)).fetchone():
        return ImageFault(Reason.HELD_OUT, "same bytes as an image that is not kept for training")
    return None


def write(ledger: Ledger, out: Path, manifest: str) -> None:
    """Write the tables, in manifest order; `manifest` is the fingerprint of the one that they belong to."""
    for kind, artifact in ARTIFACTS.items():
        rows = map(_ROWS[kind], _kept(ledger, kind))
        tables.write_parquet(out / artifact.name, rows, artifact.columns, _AT_A_TIME[kind], manifest=manifest)


def _kept(ledger: Ledger, kind: str) -> Iterator[dict[str, Any]]:
    found = ledger.db.execute(
        "SELECT i.key, c.text, i.source || ':' || c.place, c.path, c.offset, c.length, max(c.x0, 0) / i.width, "
        "max(c.y0, 0) / i.height, min(c.x1, i.width) / i.width, min(c.y1, i.height) / i.height, c.score "
        "FROM columns c JOIN images i ON i.number = c.image WHERE c.kind = ? ORDER BY i.place, i.key, c.number",
        (kind,),
    )
    for key, text, origin, path, offset, length, *box, score in found:
        file = _file(path, offset, length) if path else None
        yield {"key": key, "text": text, "origin": origin, "file": file, "box": box, "score": score}


def _rewrite(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("key", "text", "origin")}


def _negative(row: dict[str, Any]) -> dict[str, Any]:
    try:
        return _rewrite(row) | {"image": row["file"].read() if row["file"] else None}
    except OSError as error:
        raise ImageChanged(f"{row['file'].path} could be read when curate began: {error}; run it again") from error


def _given_box(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("key", "box", "score", "origin")} | {"phrase": row["text"]}


_AT_A_TIME = {"rewrite": 8192, "negative": 128, "box": 8192}
"""Rows in memory; negatives have images."""
_ROWS = {"rewrite": _rewrite, "negative": _negative, "box": _given_box}
