"""The batch that a recipe is given, made by hand: four images, six captions."""

import dataclasses

import numpy as np
import torch
from tiny_knowledge import CONCEPTS, WIDTH, knowledge
from tiny_models import unit_rows

from pipeline.recipes import RECIPES
from pipeline.recipes.embedded import Embedded, EmbeddedKnowledge, EmbeddedNegatives, EmbeddedRegions, EmbeddedTeacher

OWNER = [0, 0, 1, 2, 3, 3]
"""Six captions of four images. The first of image 1 says what the first of image 0 says."""
SCALE, BASE_SCALE, TARGET_SCALE = 20.0, 30.0, 40.0


def unit(rows, seed, width=6):
    return torch.from_numpy(unit_rows(rows, width, seed=seed))


def positives():
    found = torch.tensor(OWNER)[None, :] == torch.arange(4)[:, None]
    found[1, 0] = found[0, 2] = True
    return found


def batch(recipe="dclip_clean", text_is_frozen=True, **changed):
    """What `recipe` is given; student, base and target differ in width, so that no two spaces can be confused."""
    asked = RECIPES[recipe]
    rows = {"image": 4, "pair": 6, None: None}[asked.target]
    allowed = torch.tensor([[1, 0, 1], [1, 1, 1], [0, 1, 1], [1, 1, 1]]).bool()
    parts = {
        "image": unit(4, 1).requires_grad_(), "text": unit(6, 2).requires_grad_(not text_is_frozen),
        "scale": torch.tensor(SCALE, requires_grad=True), "owner": torch.tensor(OWNER), "positives": positives(),
        "image_in_base": unit(4, 3, 8).requires_grad_(), "image_in_target": unit(4, 18, 9).requires_grad_(),
        "text_in_base": unit(6, 4, 8).requires_grad_(not text_is_frozen),
        "target": None if rows is None else unit(rows, 5, 9), "target_text": unit(6, 19, 9),
        "target_scale": TARGET_SCALE,
        "base_image": unit(4, 6, 8) if asked.data == "corpora" else None, "base_text": unit(6, 7, 8),
        "base_scale": BASE_SCALE, "text_is_frozen": text_is_frozen, "noise": 0.8 * unit(4, 8, 8),
        "negatives": EmbeddedNegatives(unit(3, 9), allowed) if asked.negatives else None,
        "regions": regions() if asked.regions else None,
        "phrase": unit(5, 15).requires_grad_(not text_is_frozen) if asked.phrases else None,
        "phrase_pairs": torch.tensor([[0, 1, 3, 5], [0, 1, 2, 4]]) if asked.phrases else None,
        "teachers": [teacher(width, asked) for width in (5, 7)] if asked.teachers else [],
        "knowledge": known() if asked.knowledge else None,
    }  # fmt: skip
    if asked.semi:  # a fifth image, without captions
        parts["image"] = unit(5, 1).requires_grad_()
        parts["positives"] = torch.cat([positives(), torch.zeros(1, 6, dtype=torch.bool)])
    return Embedded(**{**parts, **changed})


def regions():
    return EmbeddedRegions(unit(4, 9).requires_grad_(), unit(4, 10, 8).requires_grad_(), unit(4, 11, 8))


def teacher(width, asked):
    """Of the images and captions, and of the regions and phrases where a recipe asks for them, in its own space."""
    region, phrase = (unit(rows, 20 + rows, width) if asked.phrases else None for rows in (4, 5))
    return EmbeddedTeacher(2.0 * width, unit(4, 16, width), unit(6, 17, width), region, phrase)


def known():
    """The logits are no unit vectors."""
    of = knowledge(6)
    return EmbeddedKnowledge(
        language=torch.from_numpy(of.language), text_in_language=unit(6, 12, WIDTH).requires_grad_(),
        image_concepts=(3 * unit(4, 13, CONCEPTS)).requires_grad_(),
        text_concepts=(3 * unit(6, 14, CONCEPTS)).requires_grad_(),
        concepts=torch.from_numpy(of.concepts).long(), shares=torch.from_numpy(of.shares),
    )  # fmt: skip


def arrays(b):
    """The same batch, or group of it, in numpy's float64."""
    changed = {}
    for name, value in vars(b).items():
        if dataclasses.is_dataclass(value):
            changed[name] = arrays(value)
        elif isinstance(value, list):
            changed[name] = [arrays(part) for part in value]
        elif isinstance(value, torch.Tensor) and value.is_floating_point():
            changed[name] = value.detach().numpy().astype(np.float64)
    return dataclasses.replace(b, **changed)
