"""Flickr30k: captions in one of three files, an image folder, and optionally dataset_flickr30k.json.

The files repeat the same captions; of several the first counts:

    results_20130124.token   any single *.token: name.jpg#i<TAB>caption
    results.csv              Kaggle's, perhaps in the image folder: name.jpg| i| caption
    dataset_flickr30k.json   Karpathy's split file

Kaggle's archive holds the images in flickr30k_images/flickr30k_images. An image's id is its name without .jpg; an image
of another extension is another image.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.schema import Reason
from pipeline.sources import folders, karpathy
from pipeline.sources.json_arrays import field, printable
from pipeline.sources.lines import lines
from pipeline.sources.rows import Caption, Corpus, File, Image, Rejected, Row, SourceError

SOURCE = "flickr30k"
SPLIT_FILE = "dataset_flickr30k.json"
IMAGE_FOLDERS = ("flickr30k_images", "flickr30k-images", "images", "flickr30k_images/flickr30k_images")
LICENCE = "Flickr, research use"

_HEADER = re.compile(rb"\s*image_name\s*\|\s*comment_number\s*\|\s*comment\s*")
_CSV_ROW = re.compile(rb"([^|]*)\|\s*\d+\s*(?:\|(.*)|\s([^|]*))", re.DOTALL)
"""A space may stand for the second bar: Kaggle's row `2199200615.jpg| 4   A dog runs across the grass .` has none."""


def read(folder: Path) -> Iterator[Row]:
    """Every image that the captions name, with every one of its captions.

    Raises:
        SourceError: there are no captions, several token files or no image folder, or a file is not in its layout.
    """
    split = karpathy.read(folder / SPLIT_FILE, lambda image: _identity(_file_name(image)))
    found = [f"{folder}/{name}" for name in IMAGE_FOLDERS if (folder / name).is_dir()]
    if not found:
        raise SourceError(f"{SOURCE}: no image folder in {folder}; expected one of {', '.join(IMAGE_FOLDERS)}")
    places = {name: image_folder for image_folder in reversed(found) for name in folders.names(Path(image_folder))}

    def image(name: str) -> Image:
        identity = _identity(name)
        file = File(f"{places[name]}/{name}") if name in places else None
        note = "" if file else f"there is no {name} in {' or '.join(Path(f).name for f in found)}"
        return Image(identity, file, licence=LICENCE, evaluation=split.get(identity), note=note)

    tokens = sorted(folder.glob("[!.]*.token"))
    tables = [path for path in (folder / name / "results.csv" for name in ("", *IMAGE_FOLDERS)) if path.is_file()]
    if len(tokens) > 1:
        names = ", ".join(path.name for path in tokens)
        raise SourceError(f"{SOURCE}: found {names} in {folder}, expected one *.token. Keep the one that counts")
    if tokens:
        yield from _rows(tokens[0], _token_row, "name.jpg#i<TAB>caption", image)
    elif tables:
        yield from _rows(tables[0], _csv_row, "name.jpg| i| caption", image)
    elif (folder / SPLIT_FILE).is_file():
        yield from karpathy.rows(folder / SPLIT_FILE, lambda entry: image(_file_name(entry)))
    else:
        raise SourceError(
            f"{SOURCE}: no captions in {folder}; expected results_20130124.token, results.csv or {SPLIT_FILE}"
        )


def _identity(name: str) -> str:
    return name.removesuffix(".jpg") if name.endswith(".jpg") and name != ".jpg" else f"{name}."


def _file_name(entry: Any) -> str:
    name = field(entry, "filename")
    if not isinstance(name, str) or not name or printable(name) != name:
        raise ValueError(f"expected a filename, found {name!r:.50}")
    return name


def _rows(
    path: Path, parse: Callable[[bytes], tuple[bytes, bytes] | None], layout: str, image: Callable[[str], Image]
) -> Iterator[Row]:
    for number, line in lines(path):
        if number == 1 and _HEADER.fullmatch(line):
            continue
        place = f"{path.name}:{number}"
        try:
            raw_name, text = parse(line) or (b"", b"")
            name = raw_name.decode()
        except UnicodeDecodeError:
            name = ""
        if name:
            found = image(name)
            yield found
            yield Caption(found.id, text, place)
        else:
            yield Rejected("caption", "", place, Reason.MALFORMED_ROW, f"expected {layout}")


def _token_row(line: bytes) -> tuple[bytes, bytes] | None:
    """The name of the image, and the caption."""
    reference, tab, text = line.partition(b"\t")
    return (reference.rpartition(b"#")[0], text) if tab else None


def _csv_row(line: bytes) -> tuple[bytes, bytes] | None:
    """The name of the image, and the caption."""
    row = _CSV_ROW.fullmatch(line)
    return (row[1].strip(), (row[2] or row[3] or b"").strip()) if row else None


CORPUS = Corpus(
    read=read,
    title="Flickr30k",
    citation="Young et al., From image descriptions to visual denotations, TACL 2014",
    terms="images under Flickr's terms of use, for non-commercial research and education; captions as published",
    split_file=SPLIT_FILE,
)
