"""The two frozen models that everything starts from, by where they come from: trained here, fetched, or given."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipeline.artifacts import shards
from pipeline.artifacts.weights import WrongWeights
from pipeline.clip import towers
from pipeline.clip.towers import Clip
from pipeline.detector import train, weights
from pipeline.disk import files
from pipeline.models.base_pairs import base_pairs
from pipeline.models.pretrain import pretrain
from pipeline.params.models import (
    ClipFromDirectory,
    ClipFromOpenClip,
    ClipFromSample,
    DetectorFromSample,
    DetectorFromWeights,
)

SAMPLE_CLIP = {
    "model_cfg": {
        "embed_dim": 128,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32, "patch_size": None},
        "text_cfg": {"context_length": 26, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
}
"""The sample's base: a small ResNet, which learns shapes several times faster on a CPU than a small ViT."""


def clip(
    source: ClipFromSample | ClipFromOpenClip | ClipFromDirectory, path: Path, *, seed: int
) -> tuple[Clip, list[dict[str, float]]]:
    """The base CLIP, and its training history if it was trained here.

    Args:
        source: where it comes from.
        path: shards of images with one caption each, for one that is trained here.
        seed: of its training.

    Raises:
        WrongWeights: it cannot be read, or is one of which no student is trained here.
    """
    match source:
        case ClipFromOpenClip():
            return _suited(towers.fetch(source.name, source.pretrained)), []
        case ClipFromDirectory():
            return _suited(towers.load(Path(source.path))), []
    pixels, captions = base_pairs(path, towers.create(SAMPLE_CLIP))
    return pretrain(
        SAMPLE_CLIP, pixels, captions, epochs=source.epochs, batch=source.batch, lr=source.lr,
        weight_decay=source.weight_decay, seed=seed,
    )  # fmt: skip


def _suited(clip: Clip) -> Clip:
    if not clip.reads_bpe or "multimodal_cfg" in clip.config["model_cfg"]:
        raise WrongWeights(
            "a base has to read texts by CLIP's own tokens and have no decoder of them; others can be measured, by "
            "dclip evaluate --model"
        )
    return clip


def detector(
    source: DetectorFromSample | DetectorFromWeights, path: Path, out: Path, *, image_size: int, seed: int, device: str
) -> None:
    """Write the detector's weights file to `out`.

    Args:
        source: where it comes from.
        path: shards of images with boxes, for one that is trained here.
        out: the file.
        image_size: pixels of the input it is trained for.
        seed: of its training.
        device: torch device of its training.

    Raises:
        WrongWeights: a given file is missing or has another hash.
    """
    if isinstance(source, DetectorFromWeights):
        given = Path(source.path)
        weights.load(given, source.sha256)
        with files.whole(out) as temporary:
            shutil.copyfile(given, temporary)
        return
    scenes = ((key, data, fields["boxes"]) for key, data, fields in shards.read(path) if len(fields["boxes"]) > 1)
    chosen = [scene for _, scene in zip(range(source.images), scenes, strict=False)]
    if not chosen:
        raise WrongWeights(f"{path} holds no image with two boxes or more to train a detector on")
    trained = train.train(
        chosen, width=source.width, image_size=image_size, epochs=source.epochs, batch=source.batch, lr=source.lr,
        seed=seed, device=device,
    )  # fmt: skip
    weights.save(trained.model, out)
