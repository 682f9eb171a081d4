"""The images of evaluations that are no part of any corpus: zero-shot images by class, images with attributes.

Nothing is read here but where they lie; every layout that `pipeline.zeroshot.sets` and `pipeline.probes.attributes`
know is known here too, without what their classes are called (which needs open_clip, and seconds).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from pipeline.artifacts.schema import Split
from pipeline.disk import tars
from pipeline.errors import InputError
from pipeline.probes import attributes
from pipeline.sources import File

_EVALUATED = (Split.VAL, Split.TEST)
_BESIDE = (".cls", ".txt", ".json")
"""What lies beside the images in a WebDataset."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """An image that must not be trained on."""

    name: str
    """What it is called where a copy of it is rejected."""
    file: File


def zeroshot(folder: Path) -> Iterator[HeldOut]:
    """Every zero-shot image, val and test, in the order of the names; none where there is no folder.

    What is hidden is left out; of the rest every file in a class's folder counts, whatever it is called, and one that
    turns out to be no image is one that is not seen.
    """
    if not folder.is_dir():
        return
    if (folder / "classnames.txt").is_file():
        for split in _EVALUATED:
            for shard in sorted((folder / split).glob("*.tar")):
                yield from _members(folder, shard)
        return
    parts = [folder / split for split in Split if _has_folders(folder / split)]
    roots = [part for part in parts if part.name in _EVALUATED] if parts else [folder]
    for root in roots:
        for path in sorted(root.glob("*/**/*")):
            if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts):
                yield HeldOut(f"zero-shot image {path.relative_to(folder)}", File(str(path)))


def _has_folders(folder: Path) -> bool:
    return folder.is_dir() and any(path.is_dir() for path in folder.iterdir())


def _members(folder: Path, shard: Path) -> Iterator[HeldOut]:
    try:
        for member in tars.whole(shard):
            if PurePath(member.name).suffix not in _BESIDE:
                name = f"zero-shot image {shard.relative_to(folder)}/{member.name}"
                yield HeldOut(name, File(str(shard), member.offset, member.size))
    except tars.DamagedTar as error:
        raise InputError(f"{shard} is no whole tar ({error}); download it again (zeroshot.path)") from error


def with_attributes(folder: Path) -> Iterator[HeldOut]:
    """The test images of a set with attributes; none where there is no folder.

    Those that a probe learns from are not among them: nothing is measured on them.

    Raises:
        attributes.NoAttributes: the folder is in none of the layouts, or damaged.
    """
    if not folder.is_dir():
        return
    found = attributes.read(folder)
    for path, training in zip(found.paths, found.training, strict=True):
        if not training:
            yield HeldOut(f"image with attributes {path.relative_to(folder)}", File(str(path)))


def collections(zeroshot_folder: Path, attributes_folder: Path | None) -> dict[Path, list[HeldOut]]:
    """The images of both, by folder; empty where there is no folder.

    Args:
        zeroshot_folder: of zero-shot images.
        attributes_folder: of images with attributes; None where no probe reads them.
    """
    found = {zeroshot_folder: list(zeroshot(zeroshot_folder))}
    if attributes_folder is not None:
        found[attributes_folder] = list(with_attributes(attributes_folder))
    return found
