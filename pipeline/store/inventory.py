"""What the feature store holds: how much, whether it is sound, and what may go."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.disk import files
from pipeline.errors import Damaged, InputError
from pipeline.machine.progress import track
from pipeline.store import segment
from pipeline.store.collection import DESCRIPTION
from pipeline.store.keys import Keys

FOLDER = re.compile(r"[a-z_]+-[0-9a-f]{32}")
REPLACED = ".replaced"
"""How segments end that were set aside, since a larger one holds their rows."""
SHOWN = 9
"""Letters of a folder's name behind the collection's, hyphen included, that are shown and tell it from others."""
DAY = 86_400.0


@dataclass(frozen=True)
class Held:
    """A collection as it lies on the disk: what its rows are and were computed with, and the paths of its segments.

    Attributes:
        rows: how many all segments have together.
        bytes: size of all files, damaged and half-written ones included.
        used: when a stage last opened it or added to it, seconds since the epoch.
        damaged: segments that were set aside.
        replaced: segments that were set aside since a larger one holds their rows.
        abandoned: files that killed writers have left.
    """

    folder: Path
    name: str
    made_with: dict[str, Any]
    segments: list[Path]
    rows: int
    bytes: int
    used: float
    damaged: list[Path]
    replaced: list[Path]
    abandoned: list[Path]


def collections(root: Path, only: Iterable[str] = ()) -> list[Held]:
    """The collections of a store, by name; a store whose folder does not exist holds none.

    `only` gives names (`pictures`) or beginnings of folder names (`pictures-3f2a`); all by default.

    Raises:
        InputError: `only` names something that is not there.
    """
    folders = sorted(p for p in root.glob("*") if FOLDER.fullmatch(p.name) and p.is_dir())
    return [_held(folder) for folder in chosen(folders, only, str(root))]


def chosen(folders: Iterable[Path], only: Iterable[str], where: str) -> list[Path]:
    """Those folders of collections that `only` names; all if it names none."""
    folders, only = list(folders), list(only)
    for name in only:
        if not any(_names(name, folder) for folder in folders):
            known = ", ".join(sorted(folder.name for folder in folders)) or "nothing"
            raise InputError(f"{where} has no collection {name}; it has {known}")
    return [folder for folder in folders if not only or any(_names(name, folder) for name in only)]


def _names(name: str, folder: Path) -> bool:
    return folder.name.startswith(name if "-" in name else f"{name}-")


def _held(folder: Path) -> Held:
    segments = segment.listed(folder)
    damaged, replaced = (sorted(folder.glob(f"*{suffix}")) for suffix in (files.DAMAGED, REPLACED))
    parts = sorted(folder.glob(f".*{files.PART}"))
    old = time.time() - files.ABANDONED_SECONDS
    abandoned = [p for p in parts if 0 < _changed(p) < old]
    rows, size = sum(map(_rows, segments)), sum(_size(p) for p in folder.iterdir())
    name, made_with = folder.name.rpartition("-")[0], _made_with(folder / DESCRIPTION)
    used = _changed(folder / DESCRIPTION) or _changed(folder)
    return Held(folder, name, made_with, segments, rows, size, used, damaged, replaced, abandoned)


def _made_with(description: Path) -> dict[str, Any]:
    """What a description says; nothing if it is damaged, which `faults` tells about."""
    try:
        return dict(files.read_json(description)["made_with"])
    except (InputError, OSError, TypeError, KeyError, ValueError):
        return {}


def _size(path: Path) -> int:
    """Bytes of a file; 0 for one that another process has just renamed or removed."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _changed(path: Path) -> float:
    """When a file was changed, seconds since the epoch; 0 for one that is not there."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _rows(path: Path) -> int:
    """Rows that a segment says it has; 0 for one that is no Arrow file, which `faults` tells about."""
    said = segment.metadata(path).get("rows", "")
    return int(said) if said.isdecimal() else 0


def described_fault(path: Path, folder: str) -> str:
    """What is wrong with a collection's description; empty if its fingerprint is the one in the folder's name."""
    try:
        content = files.read_json(path)
        found = files.fingerprint(**content)
    except (InputError, OSError, TypeError) as error:
        return f"it cannot be read: {error}"
    name = f"{content['name']}-{found}" if "name" in content else found
    return "" if folder == name else f"it describes {name}, which has another name or fingerprint"


def described(path: Path, folder: str) -> dict[str, Any] | None:
    """What a collection's description says, if it is here and whole."""
    return None if described_fault(path, folder) else dict(files.read_json(path))


def faults(held: Held) -> Iterator[tuple[Path, str]]:
    """Every damaged file of a collection, and what is wrong with it; all bytes are read."""
    fingerprint = held.folder.name.rpartition("-")[2]
    if fault := described_fault(held.folder / DESCRIPTION, held.folder.name):
        yield held.folder / DESCRIPTION, fault
    for path in track(held.segments, f"check {held.name}", unit="segments"):
        try:
            segment.check(path)
            segment.read(path, fingerprint)
        except FileNotFoundError:
            continue  # another process has just set it aside or collected it
        except Damaged as error:
            yield path, str(error)


@dataclass(frozen=True)
class Garbage:
    """Something that may go: a path, its bytes, and why."""

    path: Path
    bytes: int
    why: str


def garbage(
    held: Iterable[Held],
    *,
    now: float,
    older_than: float | None = None,
    max_bytes: float | None = None,
    keep: set[str] | None = None,
) -> list[Garbage]:
    """What may go: what killed writers left, what was set aside, and the collections that any of these rules names.

    Args:
        held: all collections.
        now: seconds since the epoch.
        older_than: collections that no stage has opened for so many seconds.
        max_bytes: the least recently used collections until the others have no more bytes than this.
        keep: folder names of collections that are in use; all others are named.
    """
    found: list[Garbage] = []
    rest = sorted(held, key=lambda h: h.used)
    for h in rest:
        found += [Garbage(p, p.stat().st_size, "a killed writer left it") for p in h.abandoned]
        found += [Garbage(p, p.stat().st_size, "it is damaged") for p in h.damaged]
        found += [Garbage(p, p.stat().st_size, "a larger segment holds its rows") for p in h.replaced]
    gone: dict[Path, Garbage] = {}
    for h in rest:
        if older_than is not None and now - h.used > older_than:
            gone[h.folder] = Garbage(h.folder, h.bytes, f"last used {(now - h.used) / DAY:.0f} days ago")
        elif keep is not None and h.folder.name not in keep:
            gone[h.folder] = Garbage(h.folder, h.bytes, "no table here was made from it")
    stay = {h.folder: h.bytes for h in rest if h.folder not in gone}
    for g in found:
        if g.path.parent in stay:
            stay[g.path.parent] -= g.bytes
    for h in rest:
        if max_bytes is not None and sum(stay.values()) > max_bytes and h.folder in stay:
            gone[h.folder] = Garbage(h.folder, h.bytes, "least recently used")
            del stay[h.folder]
    return [g for g in found if g.path.parent not in gone] + list(gone.values())


def beside(root: Path) -> list[Garbage]:
    """What may go of what lies beside the store: damaged checkpoints and decoded images that were set aside."""
    found = sorted(p for kind in ("runs/*/*", "pixels/*") for p in root.parent.glob(f"{kind}{files.DAMAGED}"))
    return [Garbage(path, _size(path), "it is damaged") for path in found if path.is_file()]


def forget(held: Held, keys: Keys) -> int:
    """Take the rows of keys, uint64 [n, 2], out of a collection, so that they are computed again; all others stay.

    A segment that has one is written again without it, and then removed: a kill in between takes nothing away.
    Returns how many rows there were; those of damaged segments, which nobody reads, do not count.
    """
    with files.alone(held.folder):
        return sum(_forget(path, held.folder.name.rpartition("-")[2], keys) for path in segment.listed(held.folder))


def _forget(path: Path, fingerprint: str, keys: Keys) -> int:
    try:
        segment.check(path)
        rows = segment.read(path, fingerprint)
    except (Damaged, FileNotFoundError):
        return 0
    stored = np.stack([rows["high"].to_numpy(), rows["low"].to_numpy()], axis=1)
    gone = (stored[:, None] == keys[None]).all(axis=2).any(axis=1)
    if gone.any():
        if not gone.all():
            rest = pa.Table.from_batches([rows.filter(pa.array(~gone))]).drop_columns(["high", "low"])
            segment.write(path.parent, stored[~gone], rest.replace_schema_metadata(), segment.metadata(path))
        path.unlink(missing_ok=True)
    return int(gone.sum())


def remove(items: Iterable[Garbage]) -> None:
    """Remove what may go; a kill in the middle leaves smaller collections, all of them sound."""
    for item in items:
        if not item.path.is_dir():
            item.path.unlink(missing_ok=True)
            continue
        with files.alone(item.path):
            for path in sorted(item.path.iterdir(), key=lambda p: p.name == DESCRIPTION):  # the description last
                path.unlink(missing_ok=True)
            with suppress(OSError):  # a stage is just adding to it
                item.path.rmdir()
