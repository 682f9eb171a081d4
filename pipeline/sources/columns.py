"""Which columns of a table hold what: named in params.yaml, or else told by what they are called."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import PurePath
from typing import Any, Literal

from pipeline.sources.caption_tables import named_captions
from pipeline.sources.rows import SourceError
from pipeline.sources.side_files import COLUMNS

Evaluation = Literal["val", "test"]

_THING = r"(?:image|img|picture|photo|pic)"
_PATHS = (
    re.compile(rf"(?:{_THING}[ _-]?)?file[ _-]?(?:name|path)|(?:{_THING}[ _-]?)?path", re.IGNORECASE),
    re.compile(rf"{_THING}s?(?:[ _-]?(?:file|name))?|file", re.IGNORECASE),
    re.compile(r"name", re.IGNORECASE),
)
"""How columns of paths are called, the surest first."""
_URL = re.compile(rf"(?:{_THING}[ _-]?)?(?:url|link|uri|src)s?", re.IGNORECASE)
_BYTES = re.compile(rf"{_THING}s?(?:[ _-]?bytes)?|bytes|jpe?g|png|webp|content", re.IGNORECASE)
_SPLIT = re.compile(r"splits?", re.IGNORECASE)
_LICENCE = re.compile(r"licen[cs]e", re.IGNORECASE)
_LONGEST_NAME = 100

_SPLITS: dict[str, Evaluation | None] = {
    **dict.fromkeys(("train", "training", "restval")),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_PART = re.compile(r"(?P<split>[a-z]+)(?:[-_]?\d+(?:-of-\d+)?)?", re.IGNORECASE)
"""The name of a file or folder of one split: test, val2017, or test-00000-of-00004 as Hugging Face writes it."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of columns, or fields of JSON. An empty one is told from the names that there are."""

    path: str = ""
    """Of the image's file, relative to the table or absolute."""
    url: str = ""
    bytes: str = ""
    captions: tuple[str, ...] = ()
    """Of a caption, or a list of captions, each."""
    split: str = ""
    licence: str = ""
    id: str = ""
    """By which rows of one image are known, in place of its path or url."""
    rewrites: tuple[str, ...] = ()
    negatives: tuple[str, ...] = ()
    boxes: tuple[str, ...] = ()

    def named(self) -> list[str]:
        """Every column that is used."""
        values = (getattr(self, field.name) for field in fields(self))
        return [name for value in values for name in ([value] if isinstance(value, str) else value) if name]

    def check(self, names: Sequence[str], where: object, binary: Collection[str] = ()) -> None:
        """Stop where a column that is named is none of the table's.

        Args:
            names: every column of the table.
            where: what the table is called in errors.
            binary: those of `names` that hold bytes.

        Raises:
            SourceError: names the column, and those that there are.
        """
        if missing := [name for name in self.named() if name not in names]:
            raise SourceError(f"{where}: there is no column {missing[0]!r}; {listing(names)}. Correct `columns`")
        if self.bytes and self.bytes not in binary:
            raise SourceError(f"{where}: column {self.bytes!r} holds no bytes. A file's name belongs into columns.path")

    def told(self, names: Sequence[str], binary: Collection[str] = ()) -> Columns:
        """These, with those told from the names that nothing was said of."""
        free = [name for name in names if name not in self.named() and len(name) <= _LONGEST_NAME]
        known = self
        if not (self.path or self.url or self.bytes):
            known = replace(known, **_image(free, binary))
        free = [name for name in free if name not in known.named()]
        captions = known.captions or tuple(free[c] for c in named_captions(free, -1))
        free = [name for name in free if name not in captions]
        return replace(
            known,
            captions=captions,
            url=known.url or next(filter(_URL.fullmatch, free), ""),
            split=known.split or next(filter(_SPLIT.fullmatch, free), ""),
            licence=known.licence or next(filter(_LICENCE.fullmatch, free), ""),
        )

    def __str__(self) -> str:
        image = self.bytes or self.path or self.url
        parts = [f"image from column {image}"] if image else []
        parts.append(f"captions from {' and '.join(self.captions)}" if self.captions else "no captions")
        parts += [f"{name} from {getattr(self, name)}" for name in ("id", "split", "licence") if getattr(self, name)]
        parts += [f"{name} from {' and '.join(columns)}" for name in COLUMNS if (columns := getattr(self, name))]
        return ", ".join(parts)


TOLD = Columns()
"""Nothing is said, all is told from names."""


def listing(names: Sequence[str]) -> str:
    """The columns that there are, for errors."""
    return f"its columns are {', '.join(map(repr, names[:50]))}" if names else "it has no columns"


def _image(names: Sequence[str], binary: Collection[str]) -> dict[str, Any]:
    """The column that says what the image is: its bytes before its path, and a path before a url."""
    holding = [name for name in names if name in binary]
    if likely := [name for name in holding if _BYTES.fullmatch(name)] or (holding if len(holding) == 1 else []):
        return {"bytes": likely[0]}
    texts = [name for name in names if name not in binary]
    for pattern in _PATHS:
        if path := next(filter(pattern.fullmatch, texts), ""):
            return {"path": path}
    return {"url": url} if (url := next(filter(_URL.fullmatch, texts), "")) else {}


def evaluation(value: Any) -> Evaluation | None:
    """The published split that a cell names, if it keeps an image out of training.

    Raises:
        ValueError: it names none, and who knows whether the image may train.
    """
    word = value.decode(errors="replace") if isinstance(value, bytes) else value
    name = word.strip().lower() if isinstance(word, str) else ""
    if name not in _SPLITS:
        raise ValueError(f"expected a split ({', '.join(_SPLITS)}), found {value!r:.50}")
    return _SPLITS[name]


def is_split(value: Any) -> bool:
    """Whether a cell names a split."""
    return isinstance(value, str) and value.strip().lower() in _SPLITS


def published(name: str) -> Evaluation | None:
    """The split that a path within a source is of by its folders' or its own name, if that keeps it out of training."""
    path = PurePath(name)
    return next(filter(None, _splits([*path.parts[:-1], path.name.partition(".")[0]])), None)


def _splits(names: list[str]) -> Iterator[Evaluation | None]:
    for name in names:
        found = _PART.fullmatch(name)
        yield _SPLITS.get(found["split"].lower()) if found else None
