"""A YOLO of the sample world's architecture with random weights: it sees things everywhere, all with a low score."""

import torch
from ultralytics import YOLO

from pipeline.detector.train import architecture


def tiny_detector(folder, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "yolo11n.yaml"
    path.write_text(architecture(0.125))
    torch.manual_seed(seed)
    return YOLO(path, task="detect", verbose=False)
