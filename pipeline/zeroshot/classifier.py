"""Zero-shot images and classes under a CLIP model."""

from torch import Tensor

from pipeline.clip import encode, image_files
from pipeline.clip.encode import Compute
from pipeline.clip.towers import Clip
from pipeline.zeroshot.accuracy import average, prompts
from pipeline.zeroshot.sets import ZeroshotSet


def embed(clip: Clip, data: ZeroshotSet, compute: Compute) -> Tensor:
    """Unit float32 [n, d] of every image, a batch in memory at a time."""
    return image_files.embed(clip, data.paths, compute, "zero-shot")


def class_weights(clip: Clip, data: ZeroshotSet, compute: Compute) -> Tensor:
    """Class weights under a model, unit float32 [classes, d]."""
    return average(encode.texts(clip, prompts(data), compute), data)
