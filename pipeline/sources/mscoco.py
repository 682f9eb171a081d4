"""MSCOCO: annotations/captions_<name>.json beside the image folder <name>, and optionally dataset_coco.json.

Of 2014, of 2017, or both. An image's id is its COCO id in 12 digits, which 2014 and 2017 share; file names differ.
Where there are no annotations, captions are those of dataset_coco.json, in the folders that its entries name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.artifacts.schema import Reason
from pipeline.sources import folders, karpathy
from pipeline.sources.json_arrays import entries, field, printable
from pipeline.sources.recognition import Folder, Recognised
from pipeline.sources.rows import Caption, Corpus, File, Held, Image, Rejected, Row, SourceError, leaves

SOURCE = "mscoco"
SPLIT_FILE = "dataset_coco.json"

_EXPECTED = (
    "a COCO captions file: licenses with id and name, images with id and file_name, and annotations with id, image_id "
    "and caption"
)


def read(folder: Path) -> Iterator[Row | Held]:
    """Every image and caption of all captions_*.json files, or else of dataset_coco.json.

    An image whose folder is not there has no file, as long as there is another folder.

    Raises:
        SourceError: there is neither kind of captions, none of their image folders, or a file is not in its layout.
    """
    split = karpathy.read(folder / SPLIT_FILE, lambda image: _identity(field(image, "cocoid")))
    annotations = {
        path: path.stem.removeprefix("captions_") for path in sorted((folder / "annotations").glob("captions_*.json"))
    }
    if annotations:
        present = _image_folders(folder, set(annotations.values()), " and ".join(path.name for path in annotations))
        for path, image_folder in annotations.items():
            yield from _images(path, folder / image_folder, present.get(image_folder), split)
            yield from _captions(path)
    elif (folder / SPLIT_FILE).is_file():
        yield from _from_split_file(folder, split)
    else:
        raise SourceError(f"{SOURCE}: found neither annotations/captions_*.json nor {SPLIT_FILE} in {folder}")


def recognise(folder: Folder) -> Recognised | None:
    """COCO as it is downloaded, whole or in part."""
    annotations = folder.matching("annotations/captions_*.json")
    split = folder.matching(SPLIT_FILE)
    if not annotations and not split:
        return None
    lacking = [
        f"{name}/, the images of {path}"
        for path in annotations
        if not folder.has(name := Path(path).stem.removeprefix("captions_"))
    ]
    if not split:
        lacking.append(f"{SPLIT_FILE}, Karpathy's split: without it curate.test has to be a share of the images")
    return Recognised(SOURCE, (*annotations, *split), tuple(lacking))


def _image_folders(folder: Path, wanted: set[str], name: str) -> dict[str, set[str]]:
    """File names by folder, of the wanted folders that are there."""
    there = wanted & {inner.name for inner in folder.iterdir() if inner.is_dir()}
    if not there:
        raise SourceError(
            f"{SOURCE}: found no folder of the images of {name} in {folder}; expected "
            f"{' or '.join(map(printable, sorted(wanted))) or 'entries that name one'}. Download it, or move it there"
        )
    return {image_folder: folders.names(folder / image_folder) for image_folder in there}


def _identity(number: Any) -> str:
    if type(number) is not int or not 0 <= number < 10**12:  # True is an int too
        raise ValueError(f"expected an image id of at most 12 digits, found {number!r:.50}")
    return f"{number:012d}"


def _images(path: Path, folder: Path, present: set[str] | None, split: karpathy.Evaluation) -> Iterator[Row]:
    licences = {}
    for index, entry in enumerate(entries(path, "licenses", _EXPECTED, optional=True)):
        number, name = field(entry, "id"), field(entry, "name")
        if not isinstance(number, int) or not isinstance(name, str):
            raise SourceError(f"{path}: licenses[{index}] has no id and name; expected {_EXPECTED}. Download it again")
        licences[number] = printable(name)
    for index, entry in enumerate(entries(path, "images", _EXPECTED)):
        name, licence = field(entry, "file_name"), field(entry, "license")
        try:
            identity = _identity(field(entry, "id"))
            if not isinstance(name, str):
                raise ValueError(f"expected a file_name, found {name!r:.50}")
        except ValueError as error:
            yield Rejected("image", "", f"{path.name}#images[{index}]", Reason.MALFORMED_ROW, str(error))
            continue
        file, note = _find(folder, present, name)
        named = licences.get(licence, "") if isinstance(licence, int) else ""
        url = printable(field(entry, "flickr_url") or field(entry, "coco_url"))
        yield Image(identity, file, licence=named, url=url, evaluation=split.get(identity), note=note)


def _captions(path: Path) -> Iterator[Row | Held]:
    for index, entry in enumerate(entries(path, "annotations", _EXPECTED)):
        for place, annotation in leaves(entry, f"{path.name}#annotations[{index}]", "caption"):
            number, text = field(annotation, "id"), field(annotation, "caption")
            texts = list(leaves(text, f"{path.name}#{number}" if isinstance(number, int) else place))
            yield Held(len(texts), place)
            identity = ""
            try:
                identity = _identity(field(annotation, "image_id"))
                if not isinstance(text, str):
                    raise ValueError(f"expected a caption, found {text!r:.200}")
            except ValueError as error:
                lost = [texts[0][0].removesuffix("[0]")] if len(texts) == 1 else [each for each, _ in texts]
                for each in lost:
                    yield Rejected("caption", identity, each, Reason.MALFORMED_ROW, str(error))
                continue
            yield Caption(identity, text, texts[0][0])


def _from_split_file(folder: Path, split: karpathy.Evaluation) -> Iterator[Row | Held]:
    path = folder / SPLIT_FILE
    named = (field(entry, "filepath") for entry in entries(path, "images", karpathy.EXPECTED))
    present = _image_folders(folder, {name for name in named if isinstance(name, str)}, path.name)

    def read_image(entry: Any) -> Image:
        identity, parent, name = _identity(field(entry, "cocoid")), field(entry, "filepath"), field(entry, "filename")
        if not isinstance(parent, str) or not isinstance(name, str):
            raise ValueError(f"expected filepath and filename, found {parent!r:.50} and {name!r:.50}")
        file, note = _find(folder / parent, present.get(parent), name)
        return Image(identity, file, evaluation=split.get(identity), note=note)

    yield from karpathy.rows(path, read_image)


def _find(folder: Path, present: set[str] | None, name: str) -> tuple[File | None, str]:
    """An image's file, or why there is none; `present` is what the folder holds, None if there is no folder."""
    if present is None:
        return None, f"there is no folder {printable(folder.name)}"
    if name not in present:
        return None, printable(f"there is no {folder.name}/{name}")
    return File(f"{folder}/{name}"), ""


CORPUS = Corpus(
    read=read,
    recognise=recognise,
    title="MSCOCO Captions",
    citation="Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014, arXiv:1405.0312",
    terms="captions CC BY 4.0; images under their own Flickr licences, named per image",
    split_file=SPLIT_FILE,
    identify=lambda name: name.zfill(12) if name.isascii() and name.isdigit() else name,
)
