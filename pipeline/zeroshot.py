"""Zero-shot classification: class weights from prompt templates, accuracy on a folder of pictures by class.

Layout: `<folder>/<split>/<class>/<picture>` for the splits val and test, and optionally classes.json with
`{"templates": ["a photo of a {}"], "classes": [{"folder", "name", "seen"}]}`. Without it class names are folder
names, the templates are open_clip's seven, and every class counts as seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip import SIMPLE_IMAGENET_TEMPLATES
from torch import Tensor

from pipeline import files
from pipeline.clip import encode, pictures
from pipeline.clip.encode import Compute
from pipeline.clip.towers import Clip
from pipeline.errors import InputError
from pipeline.schema import Split


class NoZeroshotData(InputError):
    """The zero-shot folder is missing, empty, or not in the layout."""


@dataclass(frozen=True)
class ZeroshotSet:
    """Classes and pictures of one split.

    Attributes:
        names: class names.
        seen: bool [classes], whether the corpora show the class.
        templates: prompts with one `{}`.
        paths: pictures, ordered by class and name.
        labels: int64 [pictures].
    """

    names: list[str]
    seen: NDArray[np.bool_]
    templates: list[str]
    paths: list[Path]
    labels: NDArray[np.int64]


def read(folder: Path, split: Split) -> ZeroshotSet:
    """Find the pictures of one split (val or test).

    Raises:
        NoZeroshotData: no such folder, no class, or a class without pictures.
    """
    root = folder / split
    if not root.is_dir():
        raise NoZeroshotData(f"no folder {root}; expected pictures as {root}/<class>/<picture> (zeroshot.path)")
    described = folder / "classes.json"
    if described.is_file():
        content = files.read_json(described)
        try:
            classes = [(c["folder"], c["name"], bool(c.get("seen", True))) for c in content["classes"]]
            templates = content["templates"]
        except (KeyError, TypeError) as error:
            raise NoZeroshotData(
                f"{described}: {error!r}; expected templates, and classes with folder and name"
            ) from error
    else:
        classes = [(p.name, p.name.replace("_", " "), True) for p in sorted(root.iterdir()) if p.is_dir()]
        templates = [template("{}") for template in SIMPLE_IMAGENET_TEMPLATES]
    if not isinstance(templates, list) or not templates or not all(map(_names_a_class, templates)):
        raise NoZeroshotData(f"{described}: templates are {templates!r}; expected a list of prompts with one {{}} each")
    if not classes:
        raise NoZeroshotData(f"{root} has no class folders")
    paths: list[Path] = []
    labels: list[int] = []
    for label, (name, _, _) in enumerate(classes):
        here = sorted(p for p in (root / name).glob("*") if p.is_file() and not p.name.startswith("."))
        if not here:
            raise NoZeroshotData(f"{root / name} holds no pictures; every class needs some in every split")
        paths += here
        labels += [label] * len(here)
    return ZeroshotSet(
        [name for _, name, _ in classes], np.array([seen for _, _, seen in classes]), templates, paths,
        np.array(labels, dtype=np.int64),
    )  # fmt: skip


def _names_a_class(template: Any) -> bool:
    """Whether a prompt has exactly one plain place, {}, for the class name."""
    try:
        parts = [part[1:] for part in Formatter().parse(template) if part[1] is not None]
    except (TypeError, ValueError):
        return False
    return parts == [("", "", None)]


def pixels(clip: Clip, data: ZeroshotSet) -> NDArray[np.uint8]:
    """Decode every picture for the tower, uint8 [n, 3, side, side]."""
    return np.stack(list(pictures.pixels(clip, data.paths, "zero-shot")))


def embed(clip: Clip, data: ZeroshotSet, compute: Compute) -> Tensor:
    """Unit float32 [n, d] of every picture, a batch in memory at a time."""
    return pictures.embed(clip, data.paths, compute, "zero-shot")


def prompts(data: ZeroshotSet) -> list[str]:
    """Every class name in every template, class by class."""
    return [template.format(name) for name in data.names for template in data.templates]


def average(vectors: Tensor, data: ZeroshotSet) -> Tensor:
    """Class weights, unit float32 [classes, d]: the unit vectors of `prompts` averaged by class, normalised again."""
    return F.normalize(vectors.view(len(data.names), len(data.templates), -1).mean(dim=1), dim=-1)


def class_weights(clip: Clip, data: ZeroshotSet, compute: Compute) -> Tensor:
    """Class weights under a model, unit float32 [classes, d]."""
    return average(encode.texts(clip, prompts(data), compute), data)


def image_vectors(clip: Clip, rows: NDArray[np.uint8], compute: Compute) -> Tensor:
    """Unit float32 [n, d]."""
    starts = range(0, len(rows), compute.batch)
    return torch.cat([encode.images(clip, rows[i : i + compute.batch], compute) for i in starts])


def ranks(vectors: Tensor, weights: Tensor, data: ZeroshotSet) -> Tensor:
    """Place of every picture's own class among all classes, from 1, int64 [n]; ties count against the picture."""
    logits = 100 * vectors @ weights.T
    own = logits.gather(1, torch.from_numpy(data.labels)[:, None])
    return (logits >= own).sum(dim=1)


def accuracy(vectors: Tensor, weights: Tensor, data: ZeroshotSet, *, seen: bool) -> dict[str, float]:
    """Top-1, top-5 and mean per class over the pictures of seen (or unseen) classes, all classes being candidates.

    Returns an empty dict if there is no such class. Ties count against the picture.
    """
    chosen = torch.from_numpy(data.seen[data.labels] == seen)
    if not chosen.any():
        return {}
    labels, rank = torch.from_numpy(data.labels)[chosen], ranks(vectors, weights, data)[chosen]
    top1 = (rank <= 1).float()
    classes = labels.unique()
    per_class = torch.stack([top1[labels == c].mean() for c in classes])
    return {
        "top1": float(top1.mean()), "top5": float((rank <= 5).float().mean()),
        "mean_per_class": float(per_class.mean()), "classes": len(classes), "candidates": len(weights),
    }  # fmt: skip
