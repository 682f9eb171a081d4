"""Any CLIP model on any retrieval or zero-shot data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.catalog import BASE_CLIP
from pipeline.artifacts.schema import Split
from pipeline.artifacts.workspace import Workspace
from pipeline.clip import encode, image_files, texts, towers
from pipeline.clip.encode import Compute
from pipeline.clip.towers import Clip
from pipeline.disk import files
from pipeline.errors import InputError
from pipeline.evaluation import datasets
from pipeline.evaluation.comparison import difference, summary, zeroshot_difference
from pipeline.evaluation.datasets import FOLD, RetrievalData
from pipeline.machine import devices
from pipeline.retrieval.metrics import evaluate, folds
from pipeline.zeroshot import accuracy, classifier, sets

Models = Mapping[str, Clip]
"""`model`, and perhaps another one, `against`, that it is compared with."""

COCO = 5000
"""Images of COCO's test split, of which folds are told, too."""


def load(name: str, ws: Workspace, device: str) -> Clip:
    """A model by name.

    Args:
        name: `student` or `base` of the pipeline, an open_clip local directory, or `<architecture>:<pretrained>`, a tag
            (open_clip downloads it) or a weights file.
        ws: the folder with a folder for every stage.
        device: where it runs.

    Raises:
        InputError: there is none of that name, or no such device.
    """
    devices.check(device)
    if name in (trained := {"student": ws.student, "base": ws.path(BASE_CLIP)}):
        return towers.load(trained[name], device)
    if files.is_dir(Path(name)):
        return towers.load(Path(name), device)
    architecture, colon, pretrained = name.partition(":")
    if not colon:
        raise InputError(f"there is no folder {name}; expected student, base, a folder, or NAME:PRETRAINED")
    clip = towers.fetch(architecture, pretrained)
    clip.model.to(device).eval()
    return clip


def retrieval(models: Models, path: Path, split: Split, compute: Compute, *, samples: int) -> dict[str, Any]:
    """Figures both ways of every model, and of the difference.

    Args:
        models: one or two.
        path: as `datasets.read` takes it.
        split: val or test.
        compute: where and how models run.
        samples: of the bootstrap.

    Returns:
        by model what `comparison.summary` has and, of COCO's 5,000 images, `text_to_image_1k` and
        `image_to_text_1k`, the mean of five folds; under `difference` what `comparison.difference` has of `model` over
        `against`; `images` and `captions`, how many; by model `captions_cut`, those with more
        tokens than it reads.
    """
    data = datasets.read(path, split)
    owner = data.owner
    found: dict[str, Any] = {"pictures": len(data.keys), "captions": len(owner), "captions_cut": {}}
    per_query = {}
    for role, clip in models.items():
        shown, captions = _embedded(clip, data, compute)
        per_query[role] = evaluate(shown, captions, owner)
        found[role] = summary(per_query[role])
        found["captions_cut"][role] = sum(texts.cut(clip, data.captions))
        if len(data.keys) == COCO:
            found[role] |= {f"{way}_1k": of_way for way, of_way in folds(shown, captions, owner, FOLD).items()}
    if "against" in models:
        found["difference"] = difference(per_query["against"], per_query["model"], owner, samples=samples, seed=0)
    return found


def _embedded(clip: Clip, data: RetrievalData, compute: Compute) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    shown = image_files.embed(clip, data.image_files, compute, "embed images").numpy()
    return shown, encode.texts(clip, data.captions, compute).numpy()


def classification(models: Models, path: Path, split: Split, compute: Compute, *, samples: int) -> dict[str, Any]:
    """Zero-shot accuracy of every model.

    Args:
        models: one or two.
        path: as `sets.find` takes it.
        split: val or test.
        compute: where and how models run.
        samples: of the bootstrap.

    Returns:
        by model `top1`, `top5`, `mean_per_class`, `classes`; beside another one `retained`, the share of its top1, and
        under `difference` what `comparison.zeroshot_difference` has; by model `prompts_cut`, how many class names in
        templates have more tokens than it reads.
    """
    data = sets.find(path, split)
    found: dict[str, Any] = {"prompts_cut": {}}
    hits = {}
    for role, clip in models.items():
        embeddings, weights = classifier.embed(clip, data, compute), classifier.class_weights(clip, data, compute)
        found[role] = accuracy.accuracy(embeddings, weights, data, seen=None)
        found["prompts_cut"][role] = sum(texts.cut(clip, accuracy.prompts(data)))
        hits[role] = accuracy.hits(embeddings, weights, data)
    if "against" in found and found["against"]["top1"]:
        found["model"]["retained"] = found["model"]["top1"] / found["against"]["top1"]
    if "against" in models:
        found["difference"] = zeroshot_difference(hits["against"], hits["model"], samples=samples, seed=0)
    return found
