"""Train a small class-agnostic YOLO for the sample world, with ultralytics' own trainer."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib
import yaml
from ultralytics import YOLO
from ultralytics.utils import USER_CONFIG_DIR

from pipeline.detector import keep_threads

CLASS_NAME = "object"


_SETTINGS: dict[str, Any] = {"optimizer": "AdamW", "warmup_epochs": 0.5, "deterministic": True, "time": None}
_SETTINGS |= dict.fromkeys(("close_mosaic", "workers", "patience"), 0) | {"mosaic": 0.0, "augmentations": []}
_SETTINGS |= dict.fromkeys(("plots", "val", "verbose", "cache", "amp", "compile", "channels_last"), False)
"""What ultralytics would else choose by its version, by the machine and by what is installed."""


def place_font() -> None:
    """Put a font where ultralytics looks for one when it trains; otherwise it asks a host on the network."""
    font = Path(USER_CONFIG_DIR) / "Arial.ttf"
    if not font.exists():
        font.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", font)


def architecture(width: float) -> str:
    """YOLO11's architecture at depth 0.5 and `width` of its channels (its own n scale has 0.25), as YAML."""
    text = (resources.files("ultralytics") / "cfg/models/11/yolo11.yaml").read_text(encoding="utf-8")
    cfg = yaml.safe_load(text)
    cfg["scales"] = {"n": [0.5, width, 1024]}
    return yaml.safe_dump(cfg, sort_keys=False)


def _keep_batch(trainer: Any) -> None:
    """A full GPU stops the training; ultralytics would go on with half the batch, and train another detector."""
    trainer._oom_retries = 3  # as after the last of them


def train(
    images: Iterable[tuple[str, bytes, list[list[float]]]],
    *,
    width: float,
    image_size: int,
    epochs: int,
    batch: int,
    lr: float,
    seed: int,
    device: str,
) -> YOLO:
    """Train from scratch on images with boxes.

    Args:
        images: name, JPEG bytes, boxes [x0, y0, x1, y1] in 0..1.
        width: channel multiple of the architecture.
        image_size: pixels of the detector's input.
        epochs: passes.
        batch: images a step.
        lr: initial learning rate of AdamW.
        seed: of everything; deterministic on CPU.
        device: torch device.

    What ultralytics would take from the machine is stated: further augmentations wherever albumentations is installed,
    half the batch where a GPU's memory is full.

    Returns:
        the trained detector with the single class `object`.
    """
    place_font()
    keep_threads()
    with TemporaryDirectory() as work:
        root = Path(work)
        for part in ("images", "labels"):
            (root / part / "train").mkdir(parents=True)
        for name, data, boxes in images:
            (root / "images/train" / f"{name}.jpg").write_bytes(data)
            lines = [
                f"0 {(x0 + x1) / 2:.5f} {(y0 + y1) / 2:.5f} {x1 - x0:.5f} {y1 - y0:.5f}" for x0, y0, x1, y1 in boxes
            ]
            (root / "labels/train" / f"{name}.txt").write_text("\n".join(lines) + "\n")
        data_file, model_file = root / "data.yaml", root / "yolo11n.yaml"
        data_file.write_text(
            yaml.safe_dump({"path": work, "train": "images/train", "val": "images/train", "names": {0: CLASS_NAME}})
        )
        model_file.write_text(architecture(width))
        detector = YOLO(model_file, task="detect", verbose=False)
        detector.add_callback("on_train_epoch_start", _keep_batch)
        given = {"data": str(data_file), "imgsz": image_size, "epochs": epochs, "batch": batch, "lr0": lr, "seed": seed}
        detector.train(**given, device=device, project=work, name="run", **_SETTINGS)
        return YOLO(root / "run/weights/last.pt", task="detect")
