"""Side files of a corpus, joined by the id or the key of its images: rewrites, negatives and boxes.

Rewrites and negatives are JSON lines, CSV, TSV, text or Parquet; boxes are JSON lines, Parquet, or COCO's annotations:

    {"id": "1000092795", "rewrites": ["two men talk", "two young men in a garden"]}
    {"id": "1000092795", "negatives": "two men fight", "image": "negatives/1.jpg"}
    {"id": "1000092795", "box": [12, 30, 200, 340], "phrase": "two young men", "score": 0.9}

CSV and TSV begin with a row of such names; a line of a text file is an id, a tab and a text. A record holds one value,
or several in lists.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from pipeline.artifacts.schema import Reason
from pipeline.sources.delimited import Quotes, raw_bytes, records
from pipeline.sources.json_arrays import entries, field, printable
from pipeline.sources.lines import form, lines
from pipeline.sources.rows import Box, File, Negative, Rejected, Rewrite, SourceError, leaves

ColumnName = Literal["rewrites", "negatives", "boxes"]
COLUMNS: tuple[ColumnName, ...] = get_args(ColumnName)
KINDS: dict[str, Literal["rewrite", "negative", "box"]] = {
    "rewrites": "rewrite",
    "negatives": "negative",
    "boxes": "box",
}
"""What a row of each column is called where rows are counted."""

ColumnRow = Rewrite | Negative | Box | Rejected

_ROWS = 1024
_NEVER = re.compile(r"(?!)")
_COCO_NAME = re.compile(r"COCO_\w+?_0*(?=\d)")
_COCO = (
    "COCO's annotations: images with id and file_name, categories with id and name, annotations with image_id and bbox"
)


class Malformed(ValueError):
    """A record, or a value in it, cannot be used."""


def read(
    column: ColumnName, source: str, files: Sequence[str], folder: Path, identify: Callable[[str], str]
) -> Iterator[ColumnRow]:
    """Every value of a column of a corpus, or why it is none.

    Args:
        source: the corpus, as keys begin.
        files: paths below `folder`, the corpus's own.
        identify: takes what stands for an image in a file to its id in the corpus.

    Raises:
        SourceError: a file is missing, or of none of the kinds that are read.
    """
    for name in files:
        path = folder / name
        if not path.is_file():
            raise SourceError(f"{source}: there is no file {path}; put it there, or take it out of its {column}")
        yield from _file(column, source, path, folder, identify)


def _file(
    column: ColumnName, source: str, path: Path, folder: Path, identify: Callable[[str], str]
) -> Iterator[ColumnRow]:
    readers = {".jsonl": _json_lines, ".csv": _delimited, ".tsv": _delimited, ".txt": _text, ".parquet": _parquet}
    if column == "boxes":
        readers = {".jsonl": _json_lines, ".parquet": _parquet, ".json": _coco}
    if path.suffix not in readers:
        raise SourceError(f"{path}: {column} are read from {', '.join(readers)}, found {path.suffix or 'no extension'}")
    for place, record in readers[path.suffix](path):
        if isinstance(record, Malformed):
            yield Rejected(KINDS[column], "", place, Reason.MALFORMED_ROW, str(record))
            continue
        try:
            identity = _identity(record, source, identify)
        except Malformed as error:
            yield from (
                Rejected(KINDS[column], "", each, Reason.MALFORMED_ROW, str(error))
                for each, _ in _values(column, record, place)
            )
            continue
        for each, value in _values(column, record, place):
            try:
                yield row_of(column, identity, value, record, each, folder)
            except Malformed as error:
                yield Rejected(KINDS[column], identity, each, Reason.MALFORMED_ROW, str(error))


def _identity(record: Mapping[str, Any], source: str, identify: Callable[[str], str]) -> str:
    for name in ("id", "key"):
        found = record.get(name)
        if isinstance(found, bytes):
            found = found.decode(errors="replace")
        if isinstance(found, int) and not isinstance(found, bool):
            found = str(found)
        if isinstance(found, str) and found:
            if name == "id":
                return identify(printable(found))
            if found.startswith(f"{source}-"):
                return printable(found.removeprefix(f"{source}-"))
            raise Malformed(f"key {found[:50]!r} is of no image of {source}; expected {source}-<id>")
    raise Malformed(f"expected an id or a key, found {sorted(map(str, record))[:10]}")


def _values(column: ColumnName, record: Mapping[str, Any], place: str) -> list[tuple[str, Any]]:
    """The values of a record with the place of each; one at least, whatever it is."""
    if column != "boxes":
        return list(leaves(record.get(column, record.get("text")), place))
    if "boxes" in record:
        return list(leaves(record["boxes"], place, "box"))
    return [(place, record)]


def row_of(
    column: ColumnName, identity: str, value: Any, record: Mapping[str, Any], place: str, folder: Path
) -> ColumnRow:
    """The row of a value of a column.

    Args:
        record: what the value stands in, of which `image` is a negative's image, below `folder`.

    Raises:
        Malformed: it is no value of this column.
    """
    if column == "boxes":
        return _box(identity, value, place)
    if not isinstance(value, str | bytes):
        raise Malformed(f"expected a text in {column} or text, found {value!r:.100}")
    if column == "rewrites":
        return Rewrite(identity, value, place)
    image = record.get("image")
    if isinstance(image, bytes):
        image = image.decode(errors="replace")
    if image is not None and not isinstance(image, str):
        raise Malformed(f"expected the path of an image, found {image!r:.100}")
    return Negative(identity, value, place, _below(folder, image) if image else None)


def _below(folder: Path, name: str) -> File:
    path = folder / name
    if "\0" in name or not path.resolve().is_relative_to(folder.resolve()):
        raise Malformed(f"image {name[:100]!r} is not below {folder}")
    return File(str(path))


def _box(identity: str, value: Any, place: str) -> Box:
    corners, phrase, score = field(value, "box"), field(value, "phrase"), field(value, "score")
    numbers = [_number(corner) for corner in corners] if isinstance(corners, list | tuple) else []
    if len(numbers) != 4:
        raise Malformed(f"expected a box [x0, y0, x1, y1] in pixels, found {corners!r:.100}")
    if not isinstance(phrase, str) or not phrase.strip():
        raise Malformed(f"expected a phrase, found {phrase!r:.100}")
    x0, y0, x1, y1 = numbers
    return Box(identity, (x0, y0, x1, y1), printable(phrase), 1.0 if score is None else _number(score), place)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
        raise Malformed(f"expected a number, found {value!r:.50}")
    return float(value)


Records = Iterator[tuple[str, "Mapping[str, Any] | Malformed"]]


def _json_lines(path: Path) -> Records:
    for number, line in lines(path, form(path)):
        if not line.strip():
            continue
        place = f"{path.name}:{number}"
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield place, Malformed(f"no JSON: {str(error)[:200]}")
            continue
        yield place, found if isinstance(found, dict) else Malformed(f"expected an object, found {line[:100]!r}")


def _delimited(path: Path) -> Records:
    delimiter, quotes = ("\t", None) if path.suffix == ".tsv" else (",", Quotes())
    names: list[str] = []
    for record in records(lines(path, form(path)), delimiter, quotes, _NEVER):
        if not names:
            names = [name.strip().lower() for name in record.fields]
            if not {"id", "key"} & set(names):
                raise SourceError(
                    f"{path}: expected a first row that names a column id or key, found {record.raw[:200]!r}"
                )
            continue
        if not record.raw.strip():
            continue
        found: Mapping[str, Any] | Malformed
        if len(record.fields) == len(names):
            found = {name: raw_bytes(cell) for name, cell in zip(names, record.fields, strict=True) if cell}
        else:
            found = Malformed(
                f"expected {len(names)} fields, found {len(record.fields)} in {printable(record.raw)[:200]!r}"
            )
        yield f"{path.name}:{record.line}", found


def _text(path: Path) -> Records:
    for number, line in lines(path, form(path)):
        identity, tab, text = line.partition(b"\t")
        found: Mapping[str, Any] | Malformed = {"id": identity, "text": text}
        if line.strip():
            yield f"{path.name}:{number}", found if tab else Malformed(f"expected id, tab, text, found {line[:100]!r}")


def _parquet(path: Path) -> Records:
    import pyarrow as pa  # takes a while to load
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as table:
            row = 0
            for batch in table.iter_batches(_ROWS):
                for record in batch.to_pylist():
                    yield f"{path.name}:{row}", record
                    row += 1
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SourceError(f"{path} is damaged ({str(error)[:200]}); write it again") from error


def _coco(path: Path) -> Records:
    categories = list(entries(path, "categories", _COCO, optional=True))
    names = {field(one, "id"): field(one, "name") for one in categories if isinstance(field(one, "id"), int | str)}
    images = {}
    for one in entries(path, "images", _COCO):
        if isinstance(name := field(one, "file_name"), str) and isinstance(number := field(one, "id"), int | str):
            images[number] = _COCO_NAME.sub("", Path(name).stem)
    for index, one in enumerate(entries(path, "annotations", _COCO)):
        place, bbox, number = f"{path.name}#annotations[{index}]", field(one, "bbox"), field(one, "image_id")
        if not isinstance(number, int | str) or number not in images:
            yield place, Malformed(f"there is no image with id {number!r:.50}")
            continue
        try:
            x, y, width, height = map(float, bbox)
        except (TypeError, ValueError, OverflowError):
            yield place, Malformed(f"expected a bbox [x, y, width, height], found {bbox!r:.100}")
            continue
        phrase, score, kind = field(one, "phrase"), field(one, "score"), field(one, "category_id")
        phrase = phrase or (names.get(kind) if isinstance(kind, int | str) else None)
        score = None if score is None else float(score) if not isinstance(score, str | list | dict) else score
        yield place, {"id": images[number], "box": [x, y, x + width, y + height], "phrase": phrase, "score": score}
