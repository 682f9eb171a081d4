"""The Karpathy splits (dataset_coco.json, dataset_flickr30k.json): which images are for evaluation only.

Layout: {"images": [{"split": "test", "filename": ..., "sentences": [{"raw": ..., "sentid": ...}]}]}; COCO's have
"cocoid" and "filepath" too. Published with Karpathy & Fei-Fei 2015, arXiv:1412.2306.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from pipeline.schema import Reason
from pipeline.sources.json_arrays import entries, field
from pipeline.sources.rows import Caption, Image, Rejected, Row, SourceError

Evaluation = dict[str, Literal["val", "test"]]

SPLITS = ("train", "restval", "val", "test")
EXPECTED = "Karpathy's split file, with a split for each of its images"


def read(path: Path, identify: Callable[[Any], str]) -> Evaluation:
    """Map the id of every val and test image to its split; empty if there is no such file.

    Args:
        path: the split file.
        identify: takes an entry of `images` to the source's id; raises ValueError if it has none.

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


def rows(path: Path, read_image: Callable[[Any], Image]) -> Iterator[Row]:
    """The images and captions that the split file itself holds.

    Args:
        path: the split file.
        read_image: takes an entry of `images` to a row; raises ValueError if it cannot.
    """
    for index, entry in images(path):
        place = f"{path.name}#images[{index}]"
        try:
            image = read_image(entry)
        except ValueError as error:
            yield Rejected("image", "", place, Reason.MALFORMED_ROW, str(error))
            continue
        yield image
        sentences = entry.get("sentences")
        if not isinstance(sentences, list):
            yield Rejected("caption", image.id, place, Reason.MALFORMED_ROW, "expected a list of sentences")
            continue
        for k, sentence in enumerate(sentences):
            number, text = field(sentence, "sentid"), field(sentence, "raw")
            own = f"{path.name}#{number}" if isinstance(number, int) else f"{place}.sentences[{k}]"
            if isinstance(text, str):
                yield Caption(image.id, text, own)
            else:
                yield Rejected(
                    "caption", image.id, own, Reason.MALFORMED_ROW, f"expected raw text, found {text!r:.200}"
                )


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
