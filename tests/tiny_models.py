"""A CLIP of a few thousand weights (and its vocabulary), another with a tokenizer of its own, and images for them."""

import copy
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipeline.clip.encode import Compute
from pipeline.clip.towers import CONFIG as CONFIG_FILE
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


WORDS = ["[PAD]", "[UNK]", "a", "cat", "dog", "red", "star"]
"""A word's token is its place."""


def save_worded_clip(folder: Path, seed: int = 0, embed_dim: int = 16, image_size: int = 32) -> None:
    """A CLIP whose configuration names a tokenizer of transformers, which lies beside it."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    made = config(embed_dim)
    made["model_cfg"]["vision_cfg"]["image_size"] = image_size
    torch.manual_seed(seed)
    create(made).save(folder)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    made["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "somebody/words"
    (folder / CONFIG_FILE).write_text(json.dumps(made))


def picture(seed: int, width: int = 48, height: int = 40) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def random_pixels(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


def unit_rows(*shape: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)
