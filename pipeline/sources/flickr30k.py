"""Flickr30k: captions in one of three files, an image folder, and optionally dataset_flickr30k.json.

The files repeat the same captions; of several the first counts, and all but the last may be delimited otherwise
(`caption_tables`):

    results_20130124.token   any single *.token: name.jpg#i<TAB>caption
    results.csv              Kaggle's, perhaps in the image folder: name.jpg| i| caption; or captions.csv, captions.txt
    dataset_flickr30k.json   Karpathy's split file

Kaggle's archive holds the images in flickr30k_images/flickr30k_images. An image's id is its name without .jpg; an image
of another extension is another image.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.artifacts.schema import Reason
from pipeline.sources import caption_tables, folders, karpathy
from pipeline.sources.caption_tables import Layout, Table
from pipeline.sources.entries import file_id
from pipeline.sources.json_arrays import field, printable
from pipeline.sources.recognition import Folder, Recognised
from pipeline.sources.rows import Caption, Corpus, File, Held, Image, Rejected, Row, SourceError

SOURCE = "flickr30k"
SPLIT_FILE = "dataset_flickr30k.json"
IMAGE_FOLDERS = ("flickr30k_images", "flickr30k-images", "images", "flickr30k_images/flickr30k_images")
LICENCE = "Flickr, research use"

TABLES = ("results.csv", "captions.csv", "captions.txt", "flickr_annotations_30k.csv")

_CSV_ROW = re.compile(rb"([^|]*)\|\s*\d+\s*(?:\|(.*)|\s([^|]*))", re.DOTALL)
"""A space may stand for the second bar: Kaggle's row `2199200615.jpg| 4   A dog runs across the grass .` has none."""


def read(folder: Path) -> Iterator[Row | Held]:
    """Every image that the captions name, with every one of its captions.

    Raises:
        SourceError: there are no captions, several token files or no image folder, or a file is not in its layout.
    """
    split = karpathy.read(folder / SPLIT_FILE, lambda image: file_id(_file_name(image)))
    found = [f"{folder}/{name}" for name in IMAGE_FOLDERS if (folder / name).is_dir()]
    if not found:
        raise SourceError(f"{SOURCE}: no image folder in {folder}; expected one of {', '.join(IMAGE_FOLDERS)}")
    places = {name: image_folder for image_folder in reversed(found) for name in folders.names(Path(image_folder))}

    def image(name: str) -> Image:
        identity = file_id(name)
        file = File(f"{places[name]}/{name}") if name in places else None
        note = "" if file else f"there is no {name} in {' or '.join(Path(f).name for f in found)}"
        return Image(identity, file, licence=LICENCE, evaluation=split.get(identity), note=note)

    tokens = sorted(folder.glob("[!.]*.token"))
    likely = (folder / parent / name for name in TABLES for parent in ("", *IMAGE_FOLDERS))
    tables = [path for path in likely if path.is_file()]
    if len(tokens) > 1:
        names = ", ".join(path.name for path in tokens)
        raise SourceError(f"{SOURCE}: found {names} in {folder}, expected one *.token. Keep the one that counts")
    if tokens:
        yield from _rows(caption_tables.find(tokens[0], _TOKENS), image)
    elif tables:
        yield from _rows(caption_tables.find(tables[0], _KAGGLE), image)
    elif (folder / SPLIT_FILE).is_file():
        yield from karpathy.rows(folder / SPLIT_FILE, lambda entry: image(_file_name(entry)))
    else:
        raise SourceError(
            f"{SOURCE}: no captions in {folder}; expected results_20130124.token, results.csv or {SPLIT_FILE}"
        )


def recognise(folder: Folder) -> Recognised | None:
    """Flickr30k as it is handed out, whole or in part; tables that others have, too, only by the folder's name."""
    split = folder.matching(SPLIT_FILE)
    captions = folder.matching("*.token") or folder.matching("results.csv") or folder.matching("*/results.csv")
    if not captions and "flickr" in folder.path.name.lower():
        captions = [name for name in TABLES if folder.has(name)]
    if not captions and not split:
        return None
    lacking = []
    if not any(folder.has(name) for name in IMAGE_FOLDERS):
        lacking.append(f"{IMAGE_FOLDERS[0]}/, the images")
    if not split:
        lacking.append(f"{SPLIT_FILE}, Karpathy's split: without it curate.test has to be a share of the images")
    return Recognised(SOURCE, (*captions, *split), tuple(lacking))


def _file_name(entry: Any) -> str:
    name = field(entry, "filename")
    if not isinstance(name, str) or not name or printable(name) != name:
        raise ValueError(f"expected a filename, found {name!r:.50}")
    return name


def _rows(table: Table, image: Callable[[str], Image]) -> Iterator[Row | Held]:
    for entry in table.read():
        if isinstance(entry, Held):
            yield entry
            continue
        if entry.key:
            found = image(entry.key)
            yield found
            yield Caption(found.id, entry.text, entry.place)
        else:
            yield Rejected("caption", "", entry.place, Reason.MALFORMED_ROW, f"expected {table.layout.expected}")


def _token_row(line: bytes) -> tuple[str, bytes] | None:
    """The name of the image, and the caption."""
    reference, tab, caption = line.partition(b"\t")
    return _named(reference.rpartition(b"#")[0], caption) if tab else None


def _csv_row(line: bytes) -> tuple[str, bytes] | None:
    """The name of the image, and the caption."""
    row = _CSV_ROW.fullmatch(line)
    return _named(row[1].strip(), (row[2] or row[3] or b"").strip()) if row else None


def _named(name: bytes, caption: bytes) -> tuple[str, bytes] | None:
    try:
        return (name.decode(), caption) if name and b"\r" not in name else None
    except UnicodeDecodeError:
        return None


_TOKENS = Layout(
    expected="name.jpg#i<TAB>caption",
    parse=_token_row,
    delimiter="\t",
    columns=("image", "caption"),
    key=re.compile(
        r"\s*(?:[^\r\n]*[/\\])?([^/\\,;|\t\r\n]+\.(?:jpe?g|png|webp|gif|bmp|tiff?|avif))(?:#\d+)?\s*", re.IGNORECASE
    ),
    names=re.compile(r"image|(?:image|img|file)[ _-]?(?:name|id|path)?|name|path|filepath", re.IGNORECASE),
)
_KAGGLE = replace(
    _TOKENS, expected="name.jpg| i| caption", parse=_csv_row, delimiter="|", columns=("image", "number", "caption")
)

CORPUS = Corpus(
    read=read,
    recognise=recognise,
    title="Flickr30k",
    citation="Young et al., From image descriptions to visual denotations, TACL 2014",
    terms="images under Flickr's terms of use, for non-commercial research and education; captions as published",
    split_file=SPLIT_FILE,
    identify=lambda name: name.removesuffix(".jpg"),
)
