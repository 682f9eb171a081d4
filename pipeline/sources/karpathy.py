"""The Karpathy splits (dataset_coco.json, dataset_flickr30k.json): which images are for evaluation only.

Layout: {"images": [{"split": "test", "filename": ..., "sentences": [{"raw": ..., "sentid": ...}]}]}; COCO's have
"cocoid" and "filepath" too. Published with Karpathy & Fei-Fei 2015, arXiv:1412.2306.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from pipeline.artifacts.schema import Reason
from pipeline.sources.json_arrays import entries, field
from pipeline.sources.rows import Caption, Held, Image, Rejected, Row, SourceError, leaves

Evaluation = dict[str, Literal["val", "test"]]

SPLITS = ("train", "restval", "val", "test")
EXPECTED = "Karpathy's split file, with a split for each of its images"


def read(path: Path, identify: Callable[[Any], str]) -> Evaluation:
    """Map the id of every val and test image to its split; empty if there is no such file.

    `identify` takes an entry of `images` to the source's id, and raises ValueError if it has none.

    Raises:
        SourceError: an entry has no split, or one for evaluation no id: some image might train that must not.
    """
    evaluation: Evaluation = {}
    for index, image in images(path):
        split = image["split"]
        if split in ("val", "test"):
            try:
                evaluation[identify(image)] = split
            except ValueError as error:
                raise SourceError(f"{path}: images[{index}]: {error}. Download it again") from error
    return evaluation


def counts(path: Path) -> dict[str, int]:
    """How many images each split of the file has; empty if there is no such file.

    Raises:
        SourceError: an entry has no split.
    """
    return dict(Counter(image["split"] for _, image in images(path)))


def rows(path: Path, read_image: Callable[[Any], Image]) -> Iterator[Row | Held]:
    """The images and captions that the split file itself holds; those of an image that cannot be read are rejected.

    `read_image` takes an entry of `images` to a row, and raises ValueError if it cannot.
    """
    for index, entry in images(path):
        place = f"{path.name}#images[{index}]"
        image, fault = None, ""
        try:
            image = read_image(entry)
        except ValueError as error:
            fault = str(error)
        value = entry.get("sentences")
        sentences = list(_sentences(value, place, path.name))
        yield Held(len(sentences), place)
        yield image or Rejected("image", "", place, Reason.MALFORMED_ROW, fault)
        for sentence_place, text in sentences:
            if image and isinstance(text, str) and isinstance(value, list):
                yield Caption(image.id, text, sentence_place)
                continue
            if not image:
                reason = f"its image cannot be read: {fault}"
            elif isinstance(value, list):
                reason = f"expected raw text, found {text!r:.200}"
            else:
                reason = f"expected a list of sentences, found {value!r:.200}"
            yield Rejected("caption", image.id if image else "", sentence_place, Reason.MALFORMED_ROW, reason)


def _sentences(value: Any, place: str, name: str) -> Iterator[tuple[str, Any]]:
    """Place and text of every sentence of an entry, in whatever form: `sentences` may be an object by number instead of
    a list, lists may be nested, and `raw` may be a list."""
    if isinstance(value, dict) and "raw" not in value:
        value = list(value.values())
    found = [(place, value)] if not isinstance(value, list) else list(leaves(value, f"{place}.sentences", "raw"))
    for sentence_place, sentence in found if value != [] else []:
        number = field(sentence, "sentid")
        yield from leaves(field(sentence, "raw"), f"{name}#{number}" if isinstance(number, int) else sentence_place)


def images(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Place and entry of every image, each with a known split; none if there is no such file.

    Raises:
        SourceError: an entry has no split.
    """
    if not path.is_file():
        return
    for index, image in enumerate(entries(path, "images", EXPECTED)):
        if field(image, "split") not in SPLITS:
            found = f"split {field(image, 'split')!r:.100}" if field(image, "split") is not None else "no split"
            raise SourceError(
                f"{path}: images[{index}] has {found}; expected {EXPECTED}, the split one of {', '.join(SPLITS)}. "
                "Download it again"
            )
        yield index, image
