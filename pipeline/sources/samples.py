"""Which files of a tar or a folder of img2dataset are one sample, and which sample is that of a row.

Files of one key are a sample. Joined tars use the same keys again, and then an image of one must never stand beside
the record of another: nothing is paired across the places where a tar ends or something could not be read, and where
order does not tell what belongs together nothing is paired at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from pipeline.disk import tars
from pipeline.images.formats import ENDINGS
from pipeline.sources import folders
from pipeline.sources.json_arrays import field, printable
from pipeline.sources.rows import File

_DOUBT = "several files of this key follow each other, and nothing tells which belong together"

_Named = tuple[str, str, File]
"""A file by its path without extension (two folders of a tar may use one key), and its extension."""


@dataclass(eq=False, slots=True)
class Sample:
    """Files of one key, by their extensions."""

    key: str
    parts: dict[str, File]
    doubt: str = ""
    """Why it is only one file, if it was found among several samples of its key."""
    taken: bool = False
    """Whether it is a row's already."""
    _url: str | None = None

    def record(self) -> Any:
        """What KEY.json holds.

        Raises:
            KeyError: there is none.
            OSError, ValueError, RecursionError: it cannot be read.
        """
        return json.loads(self.parts["json"].read())

    @property
    def url(self) -> str:
        """The url of its own record; empty if that is not known."""
        if self._url is None:
            self._url = ""
            with suppress(KeyError, OSError, ValueError, RecursionError):  # a sample may have no record
                self._url = printable(field(self.record(), "url")).strip()
        return self._url


class Samples:
    """Every sample of a shard, in its order.

    Attributes:
        all: the samples.
        gaps: what of the shard cannot be read.
    """

    def __init__(self, shard: Path) -> None:
        tar = shard.with_name(f"{shard.name}.tar")
        self.gaps: list[str] = []
        self.all: list[Sample] = []
        if tar.is_file():
            parts: dict[int, list[_Named]] = {}
            for each in self._members(tar):
                if named := _named(each.name, File(str(tar), each.offset, each.size)):
                    parts.setdefault(each.part, []).append(named)
            # Damage may have cut in two what was joined without an end.
            joined = bool(self.gaps) and _repeat(chain(*parts.values()))
            for part in parts.values():
                self.all += _grouped(part, joined or _repeat(part))
        elif not shard.is_dir():
            self.gaps.append(f"there is neither {tar.name} nor a folder {shard.name}")
        found = [_named(name, File(f"{shard}/{name}")) for name in sorted(folders.names(shard))]
        own_files = [each for each in found if each]
        self.all += _grouped(own_files, _repeat(own_files))
        self._called: tuple[dict[str, list[Sample]], ...] = ({}, {}, {})
        for sample in self.all:
            name_alone = sample.key.rpartition("/")[2]
            for called, name in zip(self._called, (sample.key, name_alone, _unpadded(name_alone)), strict=True):
                called.setdefault(name, []).append(sample)

    def _members(self, tar: Path) -> Iterator[tars.Member]:
        for found in tars.members(tar):
            if isinstance(found, tars.Gap):
                self.gaps.append(f"{tar.name} is {found}")
            else:
                yield found

    def take(self, key: str, url: str) -> Sample | str:
        """The sample of a row, which no other row gets then; or why there is none, empty if no sample has its key.

        A key stands at the top of a tar, or in a folder of it, perhaps without the zeros in front. Of samples with a
        record it is the one of the same url; without records a key has to be that of one sample alone.
        """
        names = (key, key, _unpadded(key))
        levels = [called[name] for called, name in zip(self._called, names, strict=True) if name and name in called]
        found = next((each for each in chain(*levels) if url and not each.taken and each.url == url), None)
        if found is None and levels:
            (first, *others) = levels[0]
            if others:
                return f"there are {len(others) + 1} samples {key}, none of which is known to be of this url"
            if url and first.url:
                again = first.url == url
                return f"{key} is another row's" if again else f"{key} is of another url, {first.url[:200]}"
            found = None if first.taken or first.doubt else first
        if found is None:
            return levels[0][0].doubt if levels else ""
        found.taken = True
        return found


def _repeat(files: Iterable[_Named]) -> bool:
    """Whether a name comes twice: tars may have been joined without their ends, as `tar -A` does."""
    names = [each[:2] for each in files]
    return len(set(names)) < len(names)


def _grouped(files: list[_Named], joined: bool) -> Iterator[Sample]:
    """Samples of files between which nothing was lost and no tar ends; if joined, only neighbours are of one."""
    if joined:
        for key, run in groupby(files, key=lambda each: each[0]):
            yield from _separated(key, run)
        return
    samples: dict[str, dict[str, File]] = {}
    for key, extension, file in files:
        samples.setdefault(key, {})[extension] = file
    yield from (Sample(key, parts) for key, parts in samples.items())


def _separated(key: str, files: Iterable[_Named]) -> Iterator[Sample]:
    """Samples of one key that follow each other, told apart if each has the same files in the same order."""
    samples: list[dict[str, File]] = []
    for _, extension, file in files:
        if not samples or extension in samples[-1]:
            samples.append({})
        samples[-1][extension] = file
    if len({tuple(parts) for parts in samples}) == 1:
        yield from (Sample(key, parts) for parts in samples)
    else:
        yield from (Sample(key, {name: file}, _DOUBT) for parts in samples for name, file in parts.items())


def _named(name: str, file: File) -> _Named | None:
    """None for what is no part of a sample."""
    folder, slash, file_name = name.removeprefix("./").rpartition("/")
    key, _, extension = file_name.partition(".")
    extension = extension.lower()
    known = extension in ENDINGS or extension in ("txt", "json")
    return (f"{folder}{slash}{key}", extension, file) if known else None


def _unpadded(key: str) -> str:
    """A number without the zeros in front of it, which it loses where it is a number; no other key looks so."""
    return f"\0{key.lstrip('0')}" if key.isascii() and key.isdecimal() else ""
