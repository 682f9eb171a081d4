"""Images by class, for zero-shot classification, in one of three layouts.

The project's own: `<folder>/<split>/<class>/<image>` for the splits val and test, and optionally classes.json with
`{"templates": ["a photo of a {}"], "classes": [{"folder", "name", "seen"}]}`. Without it class names are folder
names, the templates are open_clip's seven, and every class counts as seen.

As torchvision's ImageFolder reads it: `<folder>/<class>/<image>`, with the same classes.json. Where folders are the
1,000 synsets of ImageNet (n01440764 ..), names and the 80 templates are open_clip's.

As CLIP_benchmark's WebDatasets are: `classnames.txt`, `zeroshot_classification_templates.txt` (a `{c}` for the name)
and `<split>/*.tar`, each sample an image and its class's number in `cls`.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.artifacts.schema import Split
from pipeline.disk import files, tars
from pipeline.errors import InputError
from pipeline.images import decoding
from pipeline.images.formats import EXTENSIONS
from pipeline.machine.progress import track

if TYPE_CHECKING:
    from pipeline.clip.image_files import ImageFile

_IMAGE_FOLDER = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_NAMES = frozenset(_IMAGE_FOLDER) | {
    extension for extension, form in Image.registered_extensions().items() if form in EXTENSIONS
}
"""How images are named: as torchvision's ImageFolder knows them, and whatever else is decoded elsewhere."""
_LONGEST_NUMBER = 100
"""Bytes of a file that holds a class's number."""
_SYNSET = re.compile(r"n\d{8}")


class NoZeroshotData(InputError):
    """The zero-shot set is missing, empty, or in none of the layouts."""


@dataclass(frozen=True)
class ZeroshotSet:
    """Classes and images of one split.

    Attributes:
        seen: bool [classes], whether the corpora show the class.
        templates: prompts with one `{}`.
        paths: images, ordered by class and name, or as a WebDataset has them.
        labels: int64 [images].
    """

    names: list[str]
    seen: NDArray[np.bool_]
    templates: list[str]
    paths: Sequence[ImageFile]
    labels: NDArray[np.int64]


def read(folder: Path, split: Split) -> ZeroshotSet:
    """Find the images of one split (val or test) of a folder in the project's own layout.

    Raises:
        NoZeroshotData: no such folder, no class, or a class without images.
    """
    root = folder / split
    if not root.is_dir():
        raise NoZeroshotData(f"no folder {root}; expected images as {root}/<class>/<image> (zeroshot.path)")
    return _folders(root, folder / "classes.json")


def find(folder: Path, split: Split) -> ZeroshotSet:
    """Find the images of one split in any of the layouts; a plain ImageFolder has but one.

    Raises:
        NoZeroshotData: none of the layouts, no class, or a class without images.
    """
    if (folder / "classnames.txt").is_file():
        return _webdataset(folder, split)
    splits = [one for one in Split if (folder / one).is_dir() and any(map(Path.is_dir, (folder / one).iterdir()))]
    if split in splits:
        return read(folder, split)
    if splits:
        there = ", ".join(splits)
        raise NoZeroshotData(f"{folder} has no {split} split with class folders; it has {there}")
    if not folder.is_dir():
        raise NoZeroshotData(f"there is no folder {folder}; expected images as {folder}/<class>/<image>")
    return _folders(folder, folder / "classes.json")


def _folders(root: Path, described: Path) -> ZeroshotSet:
    """Classes as folders below `root`; `described` may name them."""
    if described.is_file():
        content = files.read_json(described)
        try:
            classes = [(c["folder"], c["name"], c.get("seen", True)) for c in content["classes"]]
            templates = content["templates"]
        except (KeyError, TypeError) as error:
            raise NoZeroshotData(
                f"{described}: {error!r}; expected templates, and classes with folder and name"
            ) from error
    else:
        from open_clip import IMAGENET_CLASSNAMES, OPENAI_IMAGENET_TEMPLATES, SIMPLE_IMAGENET_TEMPLATES

        folders = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
        if len(folders) == len(IMAGENET_CLASSNAMES) and all(map(_SYNSET.fullmatch, folders)):
            classes = [(name, called, True) for name, called in zip(folders, IMAGENET_CLASSNAMES, strict=True)]
            templates = [template("{}") for template in OPENAI_IMAGENET_TEMPLATES]
        else:
            classes = [(name, name.replace("_", " "), True) for name in folders]
            templates = [template("{}") for template in SIMPLE_IMAGENET_TEMPLATES]
    _check_templates(templates, described)
    if odd := next((c for c in classes if not all(isinstance(text, str) and text.strip() for text in c[:2])), None):
        raise NoZeroshotData(f"{described}: folder {odd[0]!r}, name {odd[1]!r}; expected texts")
    if odd := next((c for c in classes if not isinstance(c[2], bool)), None):
        raise NoZeroshotData(f"{described}: class {odd[1]!r} has seen {odd[2]!r}; expected true or false")
    if twice := [name for name, n in Counter(Path(c[0]).as_posix() for c in classes).items() if n > 1]:
        raise NoZeroshotData(f"{described}: folder {twice[0]!r} stands there twice; expected one class a folder")
    if outside := next((c[0] for c in classes if ".." in Path(c[0]).parts or Path(c[0]).is_absolute()), None):
        raise NoZeroshotData(f"{described}: folder {outside!r}; expected one below {root}")
    if not classes:
        raise NoZeroshotData(f"{root} has no class folders")
    paths: list[Path] = []
    labels: list[int] = []
    others: list[Path] = []
    for label, (name, _, _) in enumerate(classes):
        inside = [p for p in (root / name).rglob("*") if not _is_hidden(p.relative_to(root)) and not p.is_dir()]
        here = sorted(path for path in inside if path.suffix.lower() in _NAMES)
        if not here:
            raise NoZeroshotData(
                f"{root / name} holds no images{_such_as(inside)}; every class needs some in every split"
            )
        for path in here:
            _check_size(path, path.stat().st_size if path.exists() else 0)
        others += (path for path in inside if path.suffix.lower() not in _NAMES)
        paths += here
        labels += [label] * len(here)
    if others:
        print(f"{root}: {len(others):,} files are not named as images and left out{_such_as(others)}", file=sys.stderr)
    names, seen = [name for _, name, _ in classes], np.array([seen for _, _, seen in classes])
    return ZeroshotSet(names, seen, templates, paths, np.array(labels, dtype=np.int64))


def _is_hidden(path: Path) -> bool:
    """Whether a file or one of its folders is."""
    return any(part.startswith(".") for part in path.parts)


def _such_as(paths: list[Path]) -> str:
    return f", such as {min(paths).name}" if paths else ""


def _check_size(image: object, size: int) -> None:
    try:
        decoding.check_bytes(size)
    except decoding.OversizedImage as error:
        raise NoZeroshotData(f"{image} has {error}; take it out") from error


def _webdataset(folder: Path, split: Split) -> ZeroshotSet:
    shards = sorted((folder / split).glob("*.tar"))
    if not shards:
        raise NoZeroshotData(f"{folder / split} holds no *.tar; expected CLIP_benchmark's layout of a WebDataset")
    names = _lines(folder / "classnames.txt")
    file = folder / "zeroshot_classification_templates.txt"
    templates = [line.replace("{c}", "{}") for line in _lines(file)]
    _check_templates(templates, file)
    image_files: list[tars.Member] = []
    labels: list[int] = []
    for shard in track(shards, "read shards", unit="shards"):
        for member, label in _samples(shard):
            if not 0 <= label < len(names):
                raise NoZeroshotData(f"{member}: class {label}; {folder / 'classnames.txt'} names {len(names)}")
            image_files.append(member)
            labels.append(label)
    seen = np.ones(len(names), dtype=bool)
    return ZeroshotSet(names, seen, templates, image_files, np.array(labels, dtype=np.int64))


def _samples(shard: Path) -> list[tuple[tars.Member, int]]:
    """Image and class of every sample, in the order of the tar."""
    image_files: dict[str, tars.Member] = {}
    classes: dict[str, int] = {}
    try:
        members = list(tars.whole(shard))
    except tars.DamagedTar as error:
        raise NoZeroshotData(f"{shard} is no whole tar ({error}); download it again") from error
    for file in members:
        folder, _, base = file.name.rpartition("/")
        name, _, extension = base.partition(".")
        key = f"{folder}/{name}".lstrip("/")
        if extension == "cls":
            small = file.size <= _LONGEST_NUMBER
            text = file.read_bytes().decode("ascii", "replace").strip() if small else "a file of that size"
            if not (text.isascii() and text.isdecimal() and len(text) < 10):
                raise NoZeroshotData(f"{file} is {text!r:.50}; expected a class's number")
            if key in classes:
                raise NoZeroshotData(f"{shard}: {key} has two classes; expected samples of different names")
            classes[key] = int(text)
        elif extension.lower() in ("jpg", "jpeg", "png", "webp"):
            if key in image_files:
                raise NoZeroshotData(f"{shard}: {key} has two images; expected samples of different names")
            _check_size(file, file.size)
            image_files[key] = file
    if not image_files:
        raise NoZeroshotData(f"{shard} holds no images; expected an image and a cls of each sample")
    if odd := set(image_files) ^ set(classes):
        raise NoZeroshotData(f"{shard}: {min(odd)} has an image or a cls alone; expected both of each sample")
    return [(image, classes[key]) for key, image in image_files.items()]


def _lines(path: Path) -> list[str]:
    try:
        found = [line.strip() for line in path.read_text(encoding="utf-8").rstrip().split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        raise NoZeroshotData(f"{path} cannot be read: {error}") from error
    if found == [""]:
        raise NoZeroshotData(f"{path} is empty")
    if "" in found:
        raise NoZeroshotData(f"{path}, line {found.index('') + 1} is empty; expected a line for each")
    return found


def _check_templates(templates: Any, path: Path) -> None:
    if not isinstance(templates, list) or not templates or not all(map(_names_a_class, templates)):
        raise NoZeroshotData(f"{path}: templates are {templates!r}; expected a list of prompts with one {{}} each")


def _names_a_class(template: Any) -> bool:
    """Whether a prompt has exactly one plain place, {}, for the class name."""
    try:
        parts = [part[1:] for part in Formatter().parse(template) if part[1] is not None]
    except (TypeError, ValueError):
        return False
    return parts == [("", "", None)]
