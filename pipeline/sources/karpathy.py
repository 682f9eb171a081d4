"""The Karpathy splits (dataset_coco.json, dataset_flickr30k.json): which images are for evaluation only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pipeline import files
from pipeline.sources.rows import SourceError

Evaluation = dict[str, Literal["val", "test"]]


def read(path: Path, identify: Callable[[dict[str, Any]], str]) -> Evaluation:
    """Map the id of every val and test image to its split; empty if there is no such file.

    Args:
        path: the split file, `{"images": [{"split": ..., ...}]}`.
        identify: takes an entry of `images` to the source's id.
    """
    if not path.is_file():
        return {}
    try:
        return {
            identify(image): image["split"]
            for image in files.read_json(path)["images"]
            if image["split"] in ("val", "test")
        }
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(
            f"{path}: not a Karpathy split file ({error!r}); expected images with a split each"
        ) from error
