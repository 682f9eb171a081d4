"""What recognising a folder needs: a look at its names that is quick however many files lie there, and what is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import islice
from pathlib import Path

ORDER = (
    *("mscoco", "flickr30k", "huggingface", "conceptual_captions", "img2dataset", "webdataset", "table", "folder"),
)
"""Kinds of which a folder may be several, the most particular first; any other kind comes before them."""
MOST_NAMES = 10_000
"""Names of a folder that are looked at, in the order that the disk gives them."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a folder was taken for.

    Attributes:
        kind: of source.
        by: the files, relative to the folder, that it was recognised by.
        lacking: what a whole one has besides, and what for.
    """

    kind: str
    by: tuple[str, ...]
    lacking: tuple[str, ...] = ()


@dataclass(frozen=True)
class Folder:
    """A folder whose names are read once, those of the folders in it, too."""

    path: Path

    @cached_property
    def names(self) -> Sequence[str]:
        """Of what lies directly in it, sorted; hidden ones left out."""
        return _names(self.path)

    @cached_property
    def _inner(self) -> Sequence[str]:
        folders = [name for name in self.names[:100] if (self.path / name).is_dir()]
        return [f"{name}/{inner}" for name in folders for inner in _names(self.path / name)]

    def has(self, name: str) -> bool:
        """Whether there is such a file or folder."""
        return (self.path / name).exists()

    def matching(self, pattern: str) -> list[str]:
        """Files and folders of a pattern, which may have one slash."""
        return [name for name in (self._inner if "/" in pattern else self.names) if fnmatchcase(name, pattern)]


def _names(folder: Path) -> list[str]:
    try:
        return sorted(name for path in islice(folder.iterdir(), MOST_NAMES) if not (name := path.name).startswith("."))
    except OSError:  # it is no folder, or may not be read
        return []
