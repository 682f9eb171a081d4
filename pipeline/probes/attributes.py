"""Images with attributes, in the published layouts of CUB-200-2011 and AWA2.

CUB-200-2011 (Wah et al. 2011): `images.txt` ("<id> <path below images/>"), `train_test_split.txt` ("<id> <0|1>"),
`attributes/attributes.txt` or `attributes.txt` ("<id> <group>::<name>"), `attributes/image_attribute_labels.txt`
("<image> <attribute> <0|1> <certainty> <seconds>"; some published lines have more columns, which are not read).

AWA2 (Xian et al. 2019): `classes.txt`, `predicates.txt` ("<number> <name>"), `predicate-matrix-binary.txt` (a line a
class), `JPEGImages/<class>/*.jpg`, `trainclasses.txt` and `testclasses.txt`. Its attributes are those of the class, so
the two parts share no class.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError

Flags = NDArray[np.bool_]


class NoAttributes(InputError):
    """There are no images with attributes, or they are not in one of the layouts."""


@dataclass(frozen=True)
class AttributeSet:
    """Images and their attributes.

    Attributes:
        groups: of each the group that its name begins with, such as "has_color" of "has_color::red"; else empty.
        labels: bool [images, attributes].
        training: bool [images], whether an image is for training.
    """

    names: list[str]
    groups: list[str]
    paths: list[Path]
    labels: Flags
    training: Flags


def read(folder: Path) -> AttributeSet:
    """Read whichever of the layouts a folder has.

    Raises:
        NoAttributes: neither is there, or a file of it is missing, damaged or names an image that is not there.
    """
    if (folder / "images.txt").is_file():
        found = _cub(folder)
    elif (folder / "predicates.txt").is_file():
        found = _awa2(folder)
    else:
        raise NoAttributes(
            f"{folder} has neither images.txt (CUB-200-2011) nor predicates.txt (AWA2); expected one of the two "
            "published layouts (probe.attributes), or probe.enabled: false"
        )
    for part, rows in (("training", found.training), ("test", ~found.training)):
        if not rows.any():
            raise NoAttributes(f"{folder} has no {part} images")
    missing = next((path for path in found.paths if not path.is_file()), None)
    if missing is not None:
        raise NoAttributes(f"{missing} is not there, but {folder} lists it")
    return found


def _lines(path: Path, columns: int) -> Iterator[tuple[int, list[str]]]:
    """Number and columns of every line that is not empty; the last column holds the rest."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NoAttributes(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(text.splitlines(), 1):
        if parts := line.split(maxsplit=columns - 1):
            if len(parts) < columns:
                raise NoAttributes(f"{path}, line {number} is {line!r}; expected {columns} columns")
            yield number, parts


def _numbered(path: Path) -> dict[int, str]:
    """What stands behind each number."""
    found: dict[int, str] = {}
    for number, (text, value) in _lines(path, 2):
        if (key := _integer(text, path, number)) in found:
            raise NoAttributes(f"{path}, line {number}: {key} is {value.strip()!r} here, and {found[key]!r} before")
        found[key] = value.strip()
    if not found:
        raise NoAttributes(f"{path} is empty; expected a line for each")
    return found


def _integer(text: str, path: Path, line: int) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise NoAttributes(f"{path}, line {line}: {text!r} is no number") from error


def _switch(text: str, path: Path, line: int) -> bool:
    if text not in ("0", "1"):
        raise NoAttributes(f"{path}, line {line}: {text!r}; expected 0 or 1")
    return text == "1"


def _cub(folder: Path) -> AttributeSet:
    images = _numbered(folder / "images.txt")
    inside, beside = folder / "attributes/attributes.txt", folder / "attributes.txt"
    attributes = _numbered(inside if inside.is_file() else beside)
    row = {key: i for i, key in enumerate(images)}
    column = {key: i for i, key in enumerate(attributes)}
    split = folder / "train_test_split.txt"
    training = np.zeros(len(row), dtype=bool)
    filled = np.zeros(len(row), dtype=bool)
    for number, (key, value) in _lines(split, 2):
        place = _place(row, key, split, number, "image")
        _note(training, filled, place, _switch(value.strip(), split, number), split, number)
    if not filled.all():
        raise NoAttributes(f"{split} says nothing of image {list(row)[int((~filled).argmax())]}")
    labels = np.zeros((len(row), len(column)), dtype=bool)
    filled = np.zeros(labels.shape, dtype=bool)
    path = folder / "attributes/image_attribute_labels.txt"
    for number, (image, attribute, present, _) in _lines(path, 4):
        cell = _place(row, image, path, number, "image"), _place(column, attribute, path, number, "attribute")
        _note(labels, filled, cell, _switch(present, path, number), path, number)
    if not filled.all():
        i, j = np.argwhere(~filled)[0]
        raise NoAttributes(f"{path} says nothing of attribute {list(column)[j]} of image {list(row)[i]}")
    names = list(attributes.values())
    groups = [name.split("::")[0] if "::" in name else "" for name in names]
    return AttributeSet(names, groups, [folder / "images" / name for name in images.values()], labels, training)


def _place(known: dict[int, int], text: str, path: Path, line: int, what: str) -> int:
    key = _integer(text, path, line)
    if key not in known:
        raise NoAttributes(f"{path}, line {line}: there is no {what} {key}")
    return known[key]


def _note(values: Flags, filled: Flags, place: int | tuple[int, int], value: bool, path: Path, line: int) -> None:
    """Note what a line says, unless another has said the opposite."""
    if filled[place] and values[place] != value:
        raise NoAttributes(f"{path}, line {line} says {int(value)}, and a line before it {int(not value)}")
    values[place], filled[place] = value, True


def _awa2(folder: Path) -> AttributeSet:
    classes, names = (
        list(_numbered(folder / "classes.txt").values()),
        list(_numbered(folder / "predicates.txt").values()),
    )
    path = folder / "predicate-matrix-binary.txt"
    rows = []
    for number, (line,) in _lines(path, 1):
        row = [_switch(cell, path, number) for cell in line.split()]
        if len(row) != len(names):
            raise NoAttributes(f"{path}, line {number} has {len(row)} columns; expected {len(names)} (predicates.txt)")
        rows.append(row)
    if len(rows) != len(classes):
        raise NoAttributes(f"{path} has {len(rows)} rows; expected {len(classes)} (classes.txt)")
    class_labels = dict(zip(classes, rows, strict=True))
    paths: list[Path] = []
    labels: list[list[bool]] = []
    training: list[bool] = []
    seen: set[str] = set()
    for listed, for_training in (("trainclasses.txt", True), ("testclasses.txt", False)):
        for number, (line,) in _lines(folder / listed, 1):
            name = line.strip()
            if name not in class_labels:
                raise NoAttributes(f"{folder / listed}, line {number}: there is no class {name!r}")
            if name in seen:
                raise NoAttributes(f"{folder / listed}, line {number}: class {name!r} was listed before")
            seen.add(name)
            here = sorted((folder / "JPEGImages" / name).glob("*.jpg"))
            if not here:
                raise NoAttributes(f"{folder / 'JPEGImages' / name} has no images")
            paths += here
            labels += [class_labels[name]] * len(here)
            training += [for_training] * len(here)
    return AttributeSet(names, [""] * len(names), paths, np.array(labels, dtype=bool), np.array(training, dtype=bool))


def measurable(data: AttributeSet) -> NDArray[np.int64]:
    """Attributes that some training and test images have and some have not; of the others nothing can be said.

    Raises:
        InputError: there is none.
    """
    parts = [data.labels[data.training], data.labels[~data.training]]
    found = np.flatnonzero(np.all([part.any(axis=0) & ~part.all(axis=0) for part in parts], axis=0))
    if not len(found):
        raise InputError(
            f"none of {len(data.names)} attributes is on some training and test images and not on all of them; "
            "expected more images in probe.attributes"
        )
    return found
