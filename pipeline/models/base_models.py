"""The two models that everything starts from, by where they come from: trained here, fetched, or given."""

import shutil
from pathlib import Path

import torch

from pipeline.artifacts import shards
from pipeline.artifacts.weights import WrongWeights
from pipeline.clip import towers
from pipeline.clip.towers import Clip
from pipeline.detector import train, weights
from pipeline.disk import files
from pipeline.models.base_pairs import base_pairs
from pipeline.models.given import given
from pipeline.models.pretrain import Pretraining, Runs, pretrain
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
    source: ClipFromSample | ClipFromOpenClip | ClipFromDirectory, path: Path, *, seed: int, runs: Runs | None = None
) -> tuple[Clip, list[dict[str, float]]]:
    """The base CLIP, and its training history if it was trained here.

    Args:
        path: shards of images with one caption each, for one that is trained here.
        runs: where its training leaves checkpoints; None for nowhere.

    Raises:
        WrongWeights: it cannot be read, or is one of which no student is trained here.
    """
    if not isinstance(source, ClipFromSample):
        return _suited(given(source)), []
    torch.manual_seed(seed)
    made = towers.create(SAMPLE_CLIP)
    how = Pretraining(source.epochs, source.batch, source.lr, source.weight_decay, seed, from_scratch=True)
    return made, pretrain(made, *base_pairs(path, made), how, what="models.clip", runs=runs)


def _suited(clip: Clip) -> Clip:
    if "multimodal_cfg" in clip.config["model_cfg"]:
        raise WrongWeights(
            "a base can have no decoder of texts, as CoCa has: its text tower was trained to feed the decoder, which "
            "no recipe here trains. It can be a teacher (kind: directory or open_clip), or be measured: dclip "
            "evaluate --model"
        )
    return clip


def detector(
    source: DetectorFromSample | DetectorFromWeights, path: Path, out: Path, *, image_size: int, seed: int, device: str
) -> None:
    """Write the detector's weights file to `out`.

    Args:
        path: shards of images with boxes, for one that is trained here.
        image_size: pixels of the input it is trained for.

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
    how = source.model_dump(include={"width", "epochs", "batch", "lr"})
    trained = train.train(chosen, **how, image_size=image_size, seed=seed, device=device)
    weights.save(trained.model, out)
