"""The models that params.yaml names, for measuring alone: nothing is fetched, and weights that are not here are random.

How long a forward takes does not depend on the weights.
"""

from __future__ import annotations

from pathlib import Path

from ultralytics import YOLO

from pipeline.artifacts import catalog
from pipeline.artifacts.workspace import Workspace
from pipeline.clip import towers
from pipeline.clip.towers import Clip
from pipeline.detector import weights
from pipeline.errors import InputError
from pipeline.models.base_models import SAMPLE_CLIP
from pipeline.params.models import (
    ClipFromDirectory,
    ClipFromOpenClip,
    ClipFromSample,
    DetectorFromSample,
    DetectorFromWeights,
    TeacherClip,
    TeacherFromSample,
)


def clip(source: ClipFromSample | ClipFromOpenClip | ClipFromDirectory | TeacherClip, device: str) -> Clip:
    """A CLIP of the size that a parameter names, on a device.

    Raises:
        InputError: it is not here, or of a kind that is only known once it has been fetched.
    """
    if isinstance(source, ClipFromDirectory):
        return towers.load(Path(source.path), device)
    if isinstance(source, ClipFromOpenClip):
        made = towers.create(towers.architecture(source.name))
    else:
        made = towers.create(SAMPLE_CLIP)
        if isinstance(source, TeacherFromSample):
            made = towers.resized(made, source.image_size)
    made.model.to(device)
    return made


def detector(source: DetectorFromSample | DetectorFromWeights, ws: Workspace) -> YOLO:
    """The detector, or the one that the stage `models` has trained.

    Raises:
        InputError: there is none yet, or a file has another hash.
    """
    if isinstance(source, DetectorFromWeights):
        return weights.load(Path(source.path), source.sha256)
    if not ws.has(catalog.DETECTOR):
        raise InputError(f"it is trained by the stage {catalog.DETECTOR.stage}, which has not run")
    return weights.load(ws.path(catalog.DETECTOR), ws.summary(catalog.DETECTOR.stage)["detector"]["sha256"])
