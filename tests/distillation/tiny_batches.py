"""Pairs whose rows say which they are, and the batches that are made of them."""

from dataclasses import is_dataclass

import numpy as np
import torch

from pipeline.distillation.loader import Loader
from pipeline.distillation.pairs import Pairs
from pipeline.training.distributed import Group

# Images 0 and 3 share "cat"; image 5 says "sun" twice.
CAPTIONS = [["cat", "old cat", "grey cat"], ["dog"], ["sea", "wave"], ["pet", "cat"], ["hill"], ["sun", "sun", "day"]]
FLAT = [text for texts in CAPTIONS for text in texts]


def axes(count, start=0):
    """Vectors that say which row they are."""
    return np.eye(16, dtype=np.float16)[start : start + count]


def pairs(captions=CAPTIONS, **given):
    """Pixels and image vectors are the image's number, caption vectors the caption's."""
    count = sum(map(len, captions))
    pixels = np.arange(len(captions), dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(3, axis=1)
    return Pairs(**{
        "pixels": pixels, "captions": captions, "caption_embeddings": axes(count),
        "image_embeddings": axes(len(captions)),
        **given,
    })  # fmt: skip


def characters(texts):
    """A tokenizer of single characters, eight of them."""
    return torch.tensor([[ord(letter) for letter in text.ljust(8)[:8]] for text in texts])


def loader(data, *, tokenize=characters, batch=2, captions=None, seed=1, per_image=True, group=None, threads=1):
    return Loader(data, tokenize, batch, captions, seed, per_image, group or Group(), "cpu", threads)


def read(tokens):
    return ["".join(chr(code) for code in row).strip() for row in tokens.tolist()]


def rows_of(batch):
    return batch.pixels[:, 0, 0, 0].tolist()


def places_of(vectors):
    assert (vectors.sum(1) == 1).all()
    return vectors.argmax(1).tolist()


def fields(batch):
    """Everything in a batch by its name; what is in a group stands under "group.name"."""
    found = {}
    for name, value in vars(batch).items():
        inside = {f"{name}.{inner}": part for inner, part in fields(value).items()} if is_dataclass(value) else {}
        found |= inside or {name: value}
    return found


def assert_same(found, wanted, *, but=()):
    assert fields(found).keys() == fields(wanted).keys()
    for name, value in fields(wanted).items():
        other = fields(found)[name]
        if name in but:
            continue
        if isinstance(value, torch.Tensor):
            assert other.dtype == value.dtype and torch.equal(other, value), name
        else:
            assert other == value, name
