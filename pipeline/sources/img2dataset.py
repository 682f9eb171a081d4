"""What img2dataset writes: shards of some 10,000 rows, with images in tars or in folders.

00000.tar, of output_format=webdataset, holds KEY.jpg (or png, webp), KEY.txt (the caption) and KEY.json (the row);
00000/, of output_format=files, holds the same as files. 00000.parquet beside it holds every row, downloaded or not:
url, caption, key, status, error_message and more, and of output_format=parquet the images too, in a column jpg (or png,
webp). Without it the rows are those of the KEY.json, and what failed to download is not known. Tars and parquets are
not unpacked: an image is a part of its tar, or a cell of its parquet. A caption may be a list of captions. A row has
the files of its key, unless their KEY.json has another url: the parquet may be of another run than the tar.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Self

from pipeline.artifacts.schema import Reason
from pipeline.images.formats import ENDINGS
from pipeline.sources import folders
from pipeline.sources.entries import identify, key_text, url_id
from pipeline.sources.json_arrays import field, printable
from pipeline.sources.recognition import Folder, Recognised
from pipeline.sources.rows import Caption, Corpus, File, Held, Image, Rejected, Row, SourceError, leaves
from pipeline.sources.samples import Sample, Samples

COLUMNS = ("key", "url", "caption", "txt", "status", "error_message")

_OF_SHARD = re.compile(r"[0-9]+(_stats\.json|\.parquet)")
_ROWS = 1000
"""Rows of a parquet that are in memory at a time."""


@dataclass(frozen=True, slots=True)
class Record:
    """A row: a url, and what came of it."""

    url: str
    caption: Any
    """A text, a list of texts, where a text lies (`File`), None if it is not known, or whatever else stands there."""
    file: File | None
    note: str
    """Why there is no file."""
    place: str


class _Damaged(Exception):
    """A parquet cannot be read any further."""


def shards(folder: Path) -> list[str]:
    """Every shard below a folder: its path relative to it, without .tar or .parquet.

    Tars may have any name; a folder, or a parquet that lies alone, is a shard if its name is a number.
    """
    found = set()
    for name in folders.below(folder):
        path = PurePosixPath(name)
        if path.suffix == ".tar" or (path.suffix == ".parquet" and path.stem.isdecimal()):
            found.add(str(path.with_suffix("")))
        elif path.suffix in (".json", ".txt") and path.parent.name.isdecimal() and not path.stem.endswith("_stats"):
            found.add(str(path.parent))
    return sorted(found)


def read(folder: Path, shard: str) -> Iterator[Record | Rejected | Held]:
    """Every row of a shard's parquet, then whatever else the shard holds, and how many captions each of them has.

    Of a damaged tar or parquet all that can be read is used. What cannot is named: by the rows of the parquet if they
    can be read, have the captions and are all that the tar holds, else by one `Rejected` for every gap.
    """
    name = PurePosixPath(shard).name
    samples = Samples(folder / shard)
    gaps = samples.gaps
    path = folder / f"{shard}.parquet"
    complete = False
    if path.is_file():
        try:
            with _Parquet(path) as table:
                if table.images and not samples.all:
                    gaps = []
                lost = "; ".join([*gaps[:1], *table.odd])
                for number, row in enumerate(table.rows()):
                    key = key_text(row["key"])
                    place = f"{shard}.parquet#{key}" if key else f"{shard}.parquet:{number + 1}"
                    sample = samples.take(key, printable(row["url"]).strip())
                    if isinstance(sample, str):
                        missing, sample = f"{name}: {sample}" if sample else lost, Sample(key, {})
                    else:
                        missing = sample.doubt or lost
                    if table.images and row.get("status") in (None, "success"):
                        image = {table.images: File(f"{path}/{table.images}", number)}
                        sample = Sample(key, image | sample.parts)
                    yield from _record(row, sample, place, missing or f"{name} holds no image {key}")
                foreign = any(sample.url for sample in samples.all if not sample.taken)
                complete = not foreign and ("caption" in table.columns or "txt" in table.columns)
        except _Damaged as error:
            yield Rejected("image", "", f"{shard}.parquet", Reason.MALFORMED_ROW, str(error))
    for gap in () if complete else gaps:
        yield Rejected("image", "", f"{shard}.tar", Reason.MALFORMED_ROW, gap)
    for sample in samples.all:
        if sample.taken:
            continue
        key, parts = sample.key, sample.parts
        place = f"{shard}#{key}"
        try:
            row = sample.record()
        except (KeyError, OSError, ValueError, RecursionError) as error:
            reason = f"{key}.json: {error}" if "json" in parts else sample.doubt or f"there is no {key}.json"
            yield Rejected("image", "", place, Reason.MALFORMED_ROW, f"{reason}, so its url is not known")
            if "txt" in parts:
                yield Held(1, place)
                yield Rejected("caption", "", place, Reason.MALFORMED_ROW, f"{reason}, so its image is not known")
            continue
        yield from _record(row, sample, place, sample.doubt or f"{name} holds no image {key}")


def rows(folder: Path, shard: str, identify: Callable[[str], str], licence: str = "") -> Iterator[Row | Held]:
    """Every row of a shard, as images and captions; `identify` takes a url to an id."""
    for record in read(folder, shard):
        if isinstance(record, Rejected | Held):
            yield record
            continue
        identity = identify(record.url)
        yield Image(identity, record.file, licence=licence, url=record.url, note=record.note)
        for place, caption in captions(record):
            try:
                text = caption.read() if isinstance(caption, File) else caption
            except OSError as error:
                yield Rejected("caption", identity, place, Reason.MALFORMED_ROW, str(error))
                continue
            if isinstance(text, str | bytes):
                yield Caption(identity, text, place)
            else:
                reason = f"expected text, found {text!r:.200}"
                yield Rejected("caption", identity, place, Reason.MALFORMED_ROW, reason)


def captions(record: Record) -> list[tuple[str, Any]]:
    """Place and text of every caption of a row; none if it is not known."""
    return [] if record.caption is None or record.caption == [] else list(leaves(record.caption, record.place))


def _record(row: Any, sample: Sample, place: str, missing: str) -> Iterator[Record | Rejected | Held]:
    """A row of the parquet, or a KEY.json; `missing` is why there is no image of a download that succeeded."""
    url, status = field(row, "url"), printable(field(row, "status"))
    if status not in ("", "success"):
        error = printable(field(row, "error_message"))
        missing = f"{status}: {error}" if error else status
    parts = sample.parts
    file = next((parts[extension] for extension in ENDINGS if extension in parts), None)
    texts = (field(row, "caption"), parts.get("txt"), field(row, "txt"))
    caption = next((text for text in texts if text is not None), None)
    if caption is None and "json" in parts:
        with suppress(OSError, ValueError, RecursionError):  # it is but another copy of the row
            caption = field(sample.record(), "caption")
    record = Record(url="", caption=caption, file=file, note="" if file else missing, place=place)
    if isinstance(url, str) and url.strip() and printable(url) == url:
        yield Held(len(captions(record)), place)
        yield replace(record, url=url.strip())
        return
    found = captions(record) or [(place, None)]  # without any the row itself is told
    yield Held(len(found), place)
    for caption_place, _ in found:
        yield Rejected("caption", "", caption_place, Reason.MALFORMED_ROW, f"expected a url, found {url!r:.100}")


class _Parquet:
    """A parquet of img2dataset, a few rows in memory at a time; a context manager.

    Attributes:
        columns: their names.
        images: the column that holds images; empty if there is none.
        odd: columns that should, and hold something else.

    Raises:
        _Damaged: it cannot be read, or is none of img2dataset's.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        from pipeline.sources.cells import holds_bytes

        self._errors = (pa.ArrowException, OSError, ValueError)
        self._done = 0
        with self._explained():
            self._table = pq.ParquetFile(path, memory_map=False)
            schema = self._table.schema_arrow
        self.columns = schema.names
        if "key" not in self.columns or "url" not in self.columns:
            raise _Damaged(f"not img2dataset's: expected columns key and url, found {', '.join(self.columns)}"[:200])
        named = [(name, schema.types[schema.names.index(name)]) for name in ENDINGS if name in schema.names]
        self.images = next((name for name, kind in named if holds_bytes(kind)), "")
        self.odd = [f"its column {name} holds {kind}, expected binary" for name, kind in named if not holds_bytes(kind)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._table.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            reason = str(error).partition("\n")[0][:150]
            lost = "rows that failed to download are not known"
            raise _Damaged(f"damaged after row {self._done} ({reason}); {lost}") from error

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every row, of its columns those of COLUMNS."""
        wanted = [name for name in COLUMNS if name in self.columns]
        with self._explained():
            for batch in self._table.iter_batches(_ROWS, columns=wanted):
                yield from batch.to_pylist()
                self._done += batch.num_rows


def _every(folder: Path) -> Iterator[Row | Held]:
    """Every row of all shards; rows of the same url are captions of one image.

    Raises:
        SourceError: there is no shard.
    """
    found = shards(folder)
    if not found:
        raise SourceError(
            f"found no shards of img2dataset in or below {folder}; expected 00000.tar, 00000/ or 00000.parquet"
        )
    for shard in found:
        yield from rows(folder, shard, url_id)


def recognise(folder: Folder) -> Recognised | None:
    """Shards with a number, by what is written of each of them."""
    by = [name for name in folder.names if _OF_SHARD.fullmatch(name)]
    return Recognised("img2dataset", tuple(by[:3])) if by else None


CORPUS = Corpus(
    read=_every,
    recognise=recognise,
    title="images and captions that img2dataset downloaded",
    citation="Beaumont, img2dataset, https://github.com/rom1504/img2dataset",
    terms="images belong to the pages they are from",
    identify=identify,
)
