"""A folder of images, each with its captions beside it: 000.jpg and 000.txt, at any depth; a line is a caption.

Images that have a name in common, as 000.jpg and 000.png, have the captions of that name each. What lies below a folder
`val` or `test` (`columns.published`) is kept out of training.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import groupby
from pathlib import Path

from pipeline.artifacts.schema import Reason
from pipeline.images.formats import ENDINGS
from pipeline.sources import folders
from pipeline.sources.columns import published
from pipeline.sources.entries import file_id, identify
from pipeline.sources.json_arrays import printable
from pipeline.sources.lines import form, lines
from pipeline.sources.recognition import Folder, Recognised
from pipeline.sources.rows import Caption, Corpus, File, Held, Image, Rejected, Row, SourceError


def read(folder: Path, beside: Collection[str] = ()) -> Iterator[Row | Held]:
    """Every image below a folder, and every line of text but for those of the files `beside`.

    Raises:
        SourceError: there are no images.
    """
    found = False
    own = (name for name in folders.below(folder) if name not in beside)
    for _, names in groupby(own, key=lambda name: name.rpartition("/")[0]):
        for stem, same in groupby(sorted(names, key=_parts), key=lambda name: _parts(name)[0]):
            together = list(same)
            images = [name for name in together if _parts(name)[1] in ENDINGS]
            texts = [name for name in together if _parts(name)[1] == "txt"]
            found = found or bool(images)
            if images or texts:
                yield from _together(folder, stem, images, texts)
    if not found:
        raise SourceError(f"found no images below {folder}; expected files such as 000.jpg with 000.txt beside them")


def _together(folder: Path, stem: str, images: list[str], texts: list[str]) -> Iterator[Row | Held]:
    """The images of one name, each with the captions of that name."""
    captions = [caption for text in texts for caption in _captions(folder, text)]
    if not images:
        missing = f"there is no image beside {printable(texts[0])}"
        yield Image(file_id(f"{printable(stem)}.jpg"), None, note=missing)
    for name in images or [f"{stem}.jpg"]:
        yield Held(len(captions), name)
        identity, fault = file_id(name), ""
        if printable(name) != name:
            identity, fault = "", "its name is no UTF-8"
            yield Rejected("image", "", printable(name), Reason.MALFORMED_ROW, fault)
        elif images:
            yield Image(identity, File(f"{folder}/{name}"), evaluation=published(name))
        for place, text in captions:
            reason = text.reason if isinstance(text, _Unread) else f"its image cannot be read: {fault}" if fault else ""
            if isinstance(text, _Unread) or fault:
                yield Rejected("caption", identity, place, Reason.MALFORMED_ROW, reason)
            else:
                yield Caption(identity, text, place)


class _Unread:
    """A text that cannot be read."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def _captions(folder: Path, name: str) -> list[tuple[str, bytes | _Unread]]:
    """Place and text of every caption of a file: lines that are not empty, and of a file of none an empty one."""
    path, place = folder / name, printable(name)
    try:
        found: list[tuple[int, bytes | _Unread]] = [each for each in lines(path, form(path)) if each[1].strip()]
    except SourceError as error:
        found = [(1, _Unread(str(error)))]
    return [(f"{place}:{number}", text) for number, text in found or [(1, b"")]]


def _parts(name: str) -> tuple[str, str]:
    """A path without its extension, and that."""
    stem, dot, extension = name.rpartition(".")
    return (stem, extension.lower()) if dot and "/" not in extension else (name, "")


def recognise(folder: Folder) -> Recognised | None:
    """Images with .txt of the same name beside them."""
    for pattern in ("*.txt", "*/*.txt"):
        for name in folder.matching(pattern):
            stem = name.removesuffix(".txt")
            if any(folder.has(f"{stem}.{ending}") for ending in ENDINGS):
                return Recognised("folder", (name,))
    return None


CORPUS = Corpus(
    read=read,
    recognise=recognise,
    title="a folder of images with their captions beside them",
    citation="",
    sees_beside=True,
    terms="nothing is known",
    identify=identify,
)
