"""From a corpus's rows to the ledger: captions cleaned and joined to their images, repeated and lost rows refused."""

import os
from collections.abc import Iterable

from pipeline.artifacts.schema import Reason, make_key
from pipeline.curation import columns
from pipeline.curation.captions import CaptionLimits, clean, digest
from pipeline.curation.ledger import Ledger, utf8
from pipeline.sources import Caption, File, Image, Rejected, Row


def take(ledger: Ledger, source: str, rows: Iterable[Row], limits: CaptionLimits) -> None:
    """Enter every row of a corpus; the order of images and captions does not matter."""
    number, last = 0, None
    for row in rows:
        if isinstance(row, Rejected):
            ledger.read[row.kind, source] += 1
            key = make_key(source, row.id) if row.id else ""
            ledger.refuse(row.kind, key, source, row.place, row.reason, row.detail)
            continue
        if row.id != last:
            number, last = _number(ledger, source, row.id), row.id
        if isinstance(row, Image):
            _take_image(ledger, source, number, row)
        elif isinstance(row, Caption):
            _take_caption(ledger, source, number, row, limits)
        else:
            columns.take(ledger, source, number, row, limits)
    ledger.flush()
    _refuse_captions(ledger, source)
    columns.refuse_unclaimed(ledger)
    ledger.db.execute("DELETE FROM images WHERE NOT declared")


def _number(ledger: Ledger, source: str, identity: str) -> int:
    """The number of the image with this id; the row that declares it may come later."""
    key = make_key(source, identity)
    found = ledger.db.execute("SELECT number FROM images WHERE key = ?", (key,)).fetchone()
    if found:
        return int(found[0])
    cursor = ledger.db.execute("INSERT INTO images (key, source, id) VALUES (?, ?, ?)", (key, source, identity))
    return int(cursor.lastrowid or 0)


def _take_caption(ledger: Ledger, source: str, number: int, row: Caption, limits: CaptionLimits) -> None:
    ledger.read["caption", source] += 1
    text = clean(row.text, limits)
    if not isinstance(text, str):
        ledger.refuse("caption", make_key(source, row.id), source, row.place, text.reason, text.detail)
        return
    ledger.add_caption(number, digest(text), text, row.place)


def _take_image(ledger: Ledger, source: str, number: int, row: Image) -> None:
    file = row.file or File("")
    new = (os.fsencode(file.path), file.offset, file.length, utf8(row.licence), utf8(row.url), utf8(row.note))
    declared, key, evaluation, *rest = ledger.db.execute(
        "SELECT declared, key, evaluation, path, offset, length, licence, url, note FROM images WHERE number = ?",
        (number,),
    ).fetchone()
    old = tuple(rest)
    if declared and (old, evaluation) == (new, row.evaluation):
        return
    ledger.read["image", source] += 1
    if declared:  # of two, the first that has a file counts
        new, spare = (new, old) if new[0] and not old[0] else (old, new)
        place = ledger.place(spare[0]) or spare[4] or row.id
        ledger.refuse("image", key, source, place, Reason.DUPLICATE_IMAGE, "another row has the same image id")
    ledger.db.execute(
        "UPDATE images SET declared = 1, evaluation = ?, path = ?, offset = ?, length = ?, licence = ?, url = ?, "
        "note = ? WHERE number = ?",
        (evaluation or row.evaluation, *new, number),
    )


def _refuse_captions(ledger: Ledger, source: str) -> None:
    """Captions without an image, and captions that their image has already, of which the first stays."""
    for reason, detail, numbers in (
        (
            Reason.MALFORMED_ROW,
            "'the corpus has no image with id ' || i.id",
            "SELECT c.number FROM captions c JOIN images i ON i.number = c.image WHERE NOT declared",
        ),
        (
            Reason.DUPLICATE_CAPTION,
            "'the image has it already: ' || substr(c.text, 1, 200)",
            "SELECT number FROM "
            "(SELECT c.number, row_number() OVER (PARTITION BY image, fold ORDER BY c.number) AS nth "
            "FROM captions c JOIN images i ON i.number = c.image WHERE i.source = :source) WHERE nth > 1",
        ),
    ):
        ledger.refuse_captions(reason, detail, numbers, source=source)
