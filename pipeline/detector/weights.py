"""Detector weights: a pickle, so its hash is checked first; saved so that equal weights are equal files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel, OBBModel

from pipeline.artifacts.weights import WrongWeights
from pipeline.disk import files
from pipeline.errors import refusing


def load(path: Path, sha256: str) -> YOLO:
    """Open a YOLO weights file whose sha256 is known.

    Raises:
        WrongWeights: the file is missing or its hash is another one; it is not opened then. Or it holds no detector.
    """
    if not path.is_file() or path.suffix != ".pt":  # ultralytics would build or fetch something for other names
        raise WrongWeights(f"no detector weights at {path}; give an ultralytics .pt file in models.detector.path")
    found = files.sha256(path)
    if found != sha256:
        raise WrongWeights(
            f"{path} has sha256 {found}, expected {sha256}. A .pt file can run code when it is opened, so it was not. "
            "Download it again, or write its hash into models.detector.sha256 if you trust it"
        )
    with refusing(f"{path} is no detector that ultralytics can open; give the .pt file of one", WrongWeights):
        opened = YOLO(path, task="detect")
    if not isinstance(opened.model, DetectionModel) or isinstance(opened.model, OBBModel):
        raise WrongWeights(f"{path} holds {type(opened.model).__name__}; expected a detector of upright boxes")
    return opened


def save(model: Any, path: Path) -> None:
    """Save a trained detection model without date, git state, arguments and training leftovers.

    ultralytics writes those into its own checkpoints, so that two equal trainings never give equal files.
    """
    model = model.float().eval()
    model.criterion = None
    model.args = {}
    for leftover in ("pt_path", "loss", "optimizer"):
        if leftover in model.__dict__:
            del model.__dict__[leftover]
    if isinstance(getattr(model, "yaml", None), dict):
        model.yaml.pop("yaml_file", None)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
        parameter.grad = None
    buffer = io.BytesIO()  # a file's own name would end up inside the archive
    torch.save({"model": model, "ema": None, "train_args": {}, "version": "", "date": ""}, buffer)
    with files.whole(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
