"""Test images with captions to measure retrieval on: curated shards, or Karpathy's splits of COCO and Flickr30k."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.catalog import MANIFEST
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import Split
from pipeline.clip.image_files import ImageFile
from pipeline.errors import InputError
from pipeline.sources import flickr30k, karpathy, mscoco

FOLD = 1000
"""Images of a fold of COCO-1K."""


class NoRetrievalData(InputError):
    """There are no images with captions, or some are missing."""


@dataclass(frozen=True)
class RetrievalData:
    """Images and their captions.

    Attributes:
        keys: of the images.
        texts: the captions of each, one or more.
        images: every image's file, in this order.
    """

    keys: list[str]
    texts: list[list[str]]
    image_files: Sequence[ImageFile]

    @property
    def captions(self) -> list[str]:
        """All captions, those of an image one after the other."""
        return [text for own in self.texts for text in own]

    @property
    def owner(self) -> NDArray[np.int64]:
        """int64 [captions], the image of each caption."""
        return np.repeat(np.arange(len(self.texts)), [len(own) for own in self.texts])


def read(path: Path, split: Split = Split.TEST) -> RetrievalData:
    """Read a split.

    Args:
        path: a folder with manifest.parquet (data/curate), or dataset_coco.json, dataset_flickr30k.json or a folder
            with one, images beside it as COCO and Flickr30k are downloaded.
        split: val or test.

    Raises:
        NoRetrievalData: nothing of that kind is there, the split is empty, or images are missing.
    """
    if (path / MANIFEST.name).is_file():
        return _curated(path, split)
    for name, locate in ((mscoco.SPLIT_FILE, _in_coco), (flickr30k.SPLIT_FILE, _in_flickr30k)):
        file = path / name if path.is_dir() else path
        if file.name == name and file.is_file():
            return _karpathy(file, split, locate)
    raise NoRetrievalData(
        f"{path} holds no manifest.parquet, {mscoco.SPLIT_FILE} or {flickr30k.SPLIT_FILE}; expected a folder with "
        "curated shards (data/curate), or Karpathy's split file with the images beside it"
    )


def _curated(folder: Path, split: Split) -> RetrievalData:
    manifest = Manifest(folder, (split,))
    if not len(manifest):
        raise NoRetrievalData(f"{folder} has no {split} images")
    return RetrievalData(manifest.keys, manifest.captions, manifest.image_files)


def _karpathy(file: Path, split: Split, locate: Callable[[Path, dict[str, Any]], Path]) -> RetrievalData:
    entries = [entry for _, entry in karpathy.images(file) if entry["split"] == split]
    if not entries:
        raise NoRetrievalData(f"{file} has no {split} images")
    try:
        paths = [locate(file.parent, entry) for entry in entries]
        texts = [[_text(sentence["raw"]) for sentence in entry["sentences"]] for entry in entries]
        missing = [path for path in paths if not path.is_file()]
    except (KeyError, TypeError, OSError) as error:
        raise NoRetrievalData(
            f"{file}: {error!r}; expected of every image a file name and sentences with raw text. Download it again"
        ) from error
    if missing:
        raise NoRetrievalData(
            f"{len(missing)} of {len(paths)} {split} images of {file} are not there, such as {missing[0]}; among "
            "fewer images retrieval would look better than it is"
        )
    if twice := next((path for path, count in Counter(paths).items() if count > 1), None):
        raise NoRetrievalData(f"{file} has {twice.name} twice; either would count as an error of the other")
    if bare := next((path for path, own in zip(paths, texts, strict=True) if not own), None):
        raise NoRetrievalData(f"{file} has no caption of {bare.name}")
    return RetrievalData([path.stem for path in paths], texts, paths)


def _text(raw: Any) -> str:
    if not isinstance(raw, str) or not raw.strip():
        raise TypeError(f"found {raw!r:.100} for a text")
    return raw


def _name(text: Any) -> str:
    """A path below a folder."""
    if ".." in Path(_text(text)).parts or Path(text).is_absolute():
        raise TypeError(f"{text!r:.100} lies elsewhere")
    return str(text)


def _in_coco(folder: Path, entry: dict[str, Any]) -> Path:
    return folder / _name(entry["filepath"]) / _name(entry["filename"])


def _in_flickr30k(folder: Path, entry: dict[str, Any]) -> Path:
    places = [folder / name / _name(entry["filename"]) for name in flickr30k.IMAGE_FOLDERS]
    return next((place for place in places if place.is_file()), places[0])
