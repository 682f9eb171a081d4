"""What img2dataset writes: shards of some 10,000 rows, with images in tars or in folders.

00000.tar, of output_format=webdataset, holds KEY.jpg (or png, webp), KEY.txt (the caption) and KEY.json (the row);
00000/, of output_format=files, holds the same as files. 00000.parquet beside it holds every row, downloaded or not:
url, caption, key, status, error_message and more. Without it the rows are those of the KEY.json, and what failed to
download is not known. Tars are not extracted: an image is a part of its tar.
"""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.schema import Reason
from pipeline.sources import folders
from pipeline.sources.json_arrays import field, printable
from pipeline.sources.rows import File, Rejected

IMAGES = ("jpg", "jpeg", "png", "webp")
COLUMNS = ("key", "url", "caption", "status", "error_message")

Members = dict[str, dict[str, File]]
"""What a shard holds, by its path without extension (two folders of a tar may use one key) and by extension."""


@dataclass(frozen=True, slots=True)
class Record:
    """A row: a url, and what came of it."""

    url: str
    caption: str | File | None
    """The text, where it lies, or None if it is not known."""
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
        elif path.suffix == ".json" and path.parent.name.isdecimal() and not path.stem.endswith("_stats"):
            found.add(str(path.parent))
    return sorted(found)


def read(folder: Path, shard: str) -> Iterator[Record | Rejected]:
    """Every row of a shard's parquet, then whatever else the shard holds.

    Of a damaged tar or parquet all that can be read is used. What cannot is named: by the rows of the parquet if they
    can be read, else by one `Rejected` for the file.
    """
    name = PurePosixPath(shard).name
    members, damage = _members(folder / shard)
    table = folder / f"{shard}.parquet"
    complete = False
    elsewhere = _by_name(members)
    if table.is_file():
        try:
            for number, row in enumerate(_rows(table), start=1):
                key = row["key"] if isinstance(row["key"], str) else ""
                place = f"{shard}.parquet#{key}" if key else f"{shard}.parquet:{number}"
                parts = members.pop(key if key in members else elsewhere.get(key, ""), {})
                yield _record(row, parts, place, damage or f"{name} holds no image {key}")
            complete = True
        except _Damaged as error:
            yield Rejected("image", "", f"{shard}.parquet", Reason.MALFORMED_ROW, str(error))
    if damage and not complete:
        yield Rejected("image", "", f"{shard}.tar", Reason.MALFORMED_ROW, damage)
    for key, parts in members.items():
        place = f"{shard}#{key}"
        try:
            row = json.loads(parts["json"].read())
        except (KeyError, OSError, ValueError, RecursionError) as error:
            reason = f"{key}.json: {error}" if "json" in parts else f"there is no {key}.json"
            yield Rejected("image", "", place, Reason.MALFORMED_ROW, f"{reason}, so its url is not known")
            continue
        yield _record(row, parts, place, f"{name} holds no image {key}")


def _record(row: Any, parts: dict[str, File], place: str, missing: str) -> Record | Rejected:
    """A row of the parquet, or a KEY.json; `missing` is why there is no image of a download that succeeded."""
    url, caption, status = field(row, "url"), field(row, "caption"), printable(field(row, "status"))
    if not isinstance(url, str) or not url.strip() or printable(url) != url:
        return Rejected("caption", "", place, Reason.MALFORMED_ROW, f"expected a url, found {url!r:.100}")
    if status not in ("", "success"):
        error = printable(field(row, "error_message"))
        missing = f"{status}: {error}" if error else status
    file = next((parts[extension] for extension in IMAGES if extension in parts), None)
    return Record(
        url=url.strip(),
        caption=caption if isinstance(caption, str) else parts.get("txt"),
        file=file,
        note="" if file else missing,
        place=place,
    )


def _by_name(members: Members) -> dict[str, str]:
    """Where a parquet's key stands in the tar: at its top, or in the one folder that has it."""
    names = Counter(member.rpartition("/")[2] for member in members)
    return {member.rpartition("/")[2]: member for member in members if names[member.rpartition("/")[2]] == 1}


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a parquet, of its columns those of COLUMNS."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    done = 0
    try:
        with pq.ParquetFile(path) as table:
            names = table.schema_arrow.names
            if "key" not in names or "url" not in names:
                raise _Damaged(f"not img2dataset's: expected columns key and url, found {', '.join(names)}"[:200])
            for batch in table.iter_batches(columns=[name for name in COLUMNS if name in names]):
                yield from batch.to_pylist()
                done += batch.num_rows
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0][:150]
        raise _Damaged(f"damaged after row {done} ({reason}); rows that failed to download are not known") from error


def _members(shard: Path) -> tuple[Members, str]:
    """What a shard's tar and folder hold, and what is wrong with them."""
    members: Members = {}
    tar, damage = shard.with_name(f"{shard.name}.tar"), ""
    if tar.is_file():
        damage = _scan(tar, members)
    elif not shard.is_dir():
        damage = f"there is neither {tar.name} nor a folder {shard.name}"
    for name in sorted(folders.names(shard)):
        _add(members, name, File(f"{shard}/{name}"))
    return members, damage


def _scan(path: Path, members: Members) -> str:
    """Add the members of a tar, reading nothing but its headers; returns what is wrong with it."""
    address = str(path)
    try:
        size = path.stat().st_size
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if member.isreg() and member.offset_data + member.size <= size:
                    _add(members, member.name, File(address, member.offset_data, member.size))
            end = tar.offset
        # At a damaged header tarfile stops as it does at the end, which is zeros; a tar that was cut short has no end.
        block = File(address, end, tarfile.BLOCKSIZE).read()
        if not block or block.strip(b"\0"):
            return f"{path.name} is damaged or cut short at byte {end}"
    except (tarfile.TarError, OSError, ValueError) as error:
        return f"{path.name} is damaged, cut short or compressed: {error}"
    return ""


def _add(members: Members, name: str, file: File) -> None:
    folder, slash, own = name.removeprefix("./").rpartition("/")
    key, _, extension = own.partition(".")
    if extension.lower() in (*IMAGES, "txt", "json"):
        members.setdefault(f"{folder}{slash}{key}", {}).setdefault(extension.lower(), file)
