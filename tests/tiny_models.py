"""A CLIP of a few thousand weights (and its vocabulary), and images for it."""

import copy

import numpy as np
import torch
from PIL import Image

from pipeline.clip.encode import Compute
from pipeline.clip.towers import Clip, create

CONFIG = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8, "patch_size": None},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.25, 0.2, 0.3]},
}

COMPUTE = Compute("cpu", "float32", 4)


def config(embed_dim: int = 16) -> dict:
    made = copy.deepcopy(CONFIG)
    made["model_cfg"]["embed_dim"] = embed_dim
    return made


def tiny_clip(seed: int = 0, embed_dim: int = 16) -> Clip:
    torch.manual_seed(seed)
    return create(config(embed_dim))


def picture(seed: int, width: int = 48, height: int = 40) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def random_pixels(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


def unit_rows(*shape: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)
