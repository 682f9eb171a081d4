"""Inspections of images by actors, before curation decides on them: kept by what tells a file from all others.

A file's content is not known before it is read, so a row's key is its path, its size and when it was last changed, and
which part of it the image is. What may be another machine's fault, a file that cannot be found or read there, is not
kept: it is looked at here. Curation reads every image that it keeps once more and compares the hash of its bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.artifacts.schema import Reason
from pipeline.cluster.connection import Cluster
from pipeline.cluster.work import Carried, Task, Work
from pipeline.curation import appearance, inspection
from pipeline.curation.inspection import ImageFault, ImageLimits, Inspection, inspect
from pipeline.disk import files as disk
from pipeline.images import decoding
from pipeline.machine.batches import batches
from pipeline.machine.progress import report_new
from pipeline.sources import File
from pipeline.store import keys
from pipeline.store.collection import Collection

BLOCK = 2048
"""Files of a task."""
_ROUND = 1024
"""Tasks that are listed at a time."""
_PERHAPS_HERE = (Reason.MISSING_IMAGE, Reason.UNREADABLE_IMAGE)
"""What may be found otherwise on another machine."""
_BINARY, _STRING = pa.binary(), pa.string()
_VALUES = pa.schema(
    [
        *(("reason", _STRING), ("detail", _STRING), ("sha256", _BINARY), ("phash", pa.uint64()), ("sketch", _BINARY)),
        *(("width", pa.int64()), ("height", pa.int64()), ("extension", _STRING), ("animated", pa.bool_())),
        *(("frames", pa.list_(_BINARY)), ("sharpness", pa.float64()), ("brightness", pa.float64())),
    ]
)
_NOTHING = Inspection(b"", 0, b"", 0, 0, "")
_Found = Inspection | ImageFault


def collection(root: Path, limits: ImageLimits) -> Collection:
    """What inspections with some limits have found."""
    source = disk.code(*(Path(str(module.__file__)) for module in (appearance, inspection)))
    made_with = {"code": f"{source}, {decoding.CODE}", "limits": asdict(limits)}
    return Collection(root, "inspections", made_with, _VALUES)


@dataclass(frozen=True)
class _Block:
    """Files to be inspected, each with its key."""

    limits: ImageLimits
    files: list[tuple[bytes, File]]


@dataclass(frozen=True)
class _Inspecting:
    """Inspects images; see `inspect`."""

    def load(self, folder: Path) -> Work:
        """There is nothing to load."""

        def work(given: _Block, root: Path) -> int:
            found = [(key, inspect(file, given.limits)) for key, file in given.files]
            kept = [(key, one) for key, one in found if not _is_perhaps_here(one)]
            with collection(root, given.limits).writing() as writer:
                writer.add(keys.pack(key for key, _ in kept), *_columns([one for _, one in kept]))
            return len(kept)

        return work


def _is_perhaps_here(found: _Found) -> bool:
    return isinstance(found, ImageFault) and found.reason in _PERHAPS_HERE


def _columns(found: list[_Found]) -> Iterator[list[object]]:
    faults = [one if isinstance(one, ImageFault) else None for one in found]
    yield [str(fault.reason) if fault else "" for fault in faults]
    yield [fault.detail if fault else "" for fault in faults]
    images = [one if isinstance(one, Inspection) else _NOTHING for one in found]
    for name in _VALUES.names[2:]:
        yield [getattr(image, name) for image in images]


class Foreseen:
    """A `looking.Foresight` that has actors inspect what is expected.

    Args:
        cluster: where they are.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._collections: dict[ImageLimits, Collection] = {}
        self._stated = lru_cache(maxsize=1 << 12)(_state)

    def expect(self, files: Iterable[File | None], limits: ImageLimits) -> None:
        """Have actors inspect whatever is new of these files."""
        held = self._opened(limits)
        for some in batches(batches(files, BLOCK), _ROUND):
            tasks = [task for part in some if (task := self._task(part, held, limits))]
            report_new("inspect by actors", sum(task.rows for task in tasks), sum(map(len, some)))
            self._cluster.run(_Inspecting(), tasks, "inspect by actors", Carried({}), [held.folder.name])
            self._cluster.fetch([held])

    def _task(self, files: list[File | None], held: Collection, limits: ImageLimits) -> Task | None:
        """Those of some files of which nothing is known; None if there are none."""
        known = [(key, file) for file in files if file and (key := self._key(file))]
        wanted = keys.pack(key for key, _ in known)
        lacking = keys.first_of(wanted, held.missing(wanted))
        given = [(key, replace(file, path=_absolute(file.path))) for key, file in (known[i] for i in lacking)]
        if not given:
            return None
        first, last = (f"{file.path} {file.offset}" for file in (given[0][1], given[-1][1]))
        return Task(f"{first} to {last}", "files", len(given), partial(_Block, limits, given))

    def find(self, files: list[File | None], limits: ImageLimits) -> list[_Found | None]:
        """What actors have found; None of what they could not read, or have not seen."""
        held = self._opened(limits)
        known = [(i, key) for i, file in enumerate(files) if file and (key := self._key(file))]
        wanted = keys.pack(key for _, key in known)
        places = np.flatnonzero(~held.missing(wanted))
        found: list[_Found | None] = [None] * len(files)
        rows = held.take(wanted[places]).to_pylist()
        for (i, _), row in zip((known[place] for place in places), rows, strict=True):
            reason, detail = row.pop("reason"), row.pop("detail")
            image = ImageFault(Reason(reason), detail) if reason else Inspection(**row | {"frames": (*row["frames"],)})
            found[i] = image
        return found

    def _opened(self, limits: ImageLimits) -> Collection:
        if limits not in self._collections:
            opened = self._collections[limits] = collection(self._cluster.root, limits)
            self._cluster.fetch([opened])
        return self._collections[limits]

    def _key(self, file: File) -> bytes | None:
        """What tells a file, and the image's place in it, from all others; None if it is not here."""
        stated = self._stated(file.path)
        return stated and keys.from_bytes(stated, f"{file.offset} {file.length}".encode())


def _absolute(path: str) -> str:
    """Where a file is for whoever works in another folder."""
    return os.path.abspath(path)  # noqa: PTH100  links stay as they are


def _state(path: str) -> bytes | None:
    """A file's path, size and time of its last change; of a cell in a parquet, of that."""
    absolute = Path(_absolute(path))
    for place in (absolute, absolute.parent):
        try:
            found = place.stat()
        except FileNotFoundError:
            return None
        except NotADirectoryError:
            continue
        except OSError:
            return None
        return os.fsencode(absolute) + f"\0{found.st_size} {found.st_mtime_ns}".encode()
    return None
