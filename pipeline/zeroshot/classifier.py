"""Zero-shot images and classes under a CLIP model."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.clip import encode, image_files
from pipeline.clip.encode import Compute
from pipeline.clip.towers import Clip
from pipeline.zeroshot.accuracy import average, prompts
from pipeline.zeroshot.sets import ZeroshotSet


def pixels(clip: Clip, data: ZeroshotSet, workers: int = 1) -> NDArray[np.uint8]:
    """Decode every image for the tower by some threads, uint8 [n, 3, side, side]."""
    return np.stack(list(image_files.pixels(clip, data.paths, "zero-shot", workers)))


def embed(clip: Clip, data: ZeroshotSet, compute: Compute) -> Tensor:
    """Unit float32 [n, d] of every image, a batch in memory at a time."""
    return image_files.embed(clip, data.paths, compute, "zero-shot")


def class_weights(clip: Clip, data: ZeroshotSet, compute: Compute) -> Tensor:
    """Class weights under a model, unit float32 [classes, d]."""
    return average(encode.texts(clip, prompts(data), compute), data)


def image_embeddings(clip: Clip, rows: NDArray[np.uint8], compute: Compute) -> Tensor:
    """Unit float32 [n, d]."""
    parts = (rows[i : i + compute.batch] for i in range(0, len(rows), compute.batch))
    return torch.cat(list(encode.images_of(clip, parts, compute)))
