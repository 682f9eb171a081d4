"""Trainings of a tiny student on random images and vectors, and what they left."""

import numpy as np
import torch
from tiny_knowledge import knowledge
from tiny_models import random_pixels, tiny_clip, unit_rows
from tiny_taught import taught

from pipeline.distillation.pairs import Negatives, Pairs, Regions
from pipeline.distillation.student import Student
from pipeline.distillation.train import StudentTraining, train
from pipeline.recipes import RECIPES

FIGURES = {"val_text_to_image_recall@1": 0.5, "val_image_to_text_recall@1": 0.5}


def pairs(captions, pixels=None, **given):
    count = sum(len(texts) for texts in captions)
    pixels = random_pixels(len(captions)) if pixels is None else pixels
    return Pairs(pixels, captions, **{"caption_embeddings": unit_rows(count, 16, seed=1), **given})


def training(recipe, **changed):
    values = {
        "epochs": 2, "batch": 4, "lr": 1e-3, "weight_decay": 0.0, "weights": {}, "seed": 1, **changed,
    }  # fmt: skip
    return StudentTraining(recipe=recipe, **values)


def student(train_text=False, *, linear=False, embed_dim=16, temperature="learnable", **heads):
    torch.manual_seed(0)
    return Student(
        tiny_clip(embed_dim=embed_dim), base_dimension=16, train_text=train_text, temperature=temperature,
        linear=linear, **heads,
    )  # fmt: skip


def run(made, data, how, validate=lambda clip: FIGURES, **given):
    return train(made, data, validate, how, **{"device": "cpu", **given})


def one_crop_each(pictures):
    start = 2 * np.arange(pictures + 1)
    return Regions(random_pixels(pictures, seed=6), unit_rows(2 * pictures, 16, seed=7), start)


def complete(name, pictures=8, train_text=False):
    """Two captions an image, and all that a recipe may be given."""
    captions = [[f"{i} a", f"{i} b"] for i in range(pictures)]
    recipe = RECIPES[name]
    targets = {"image": pictures, "pair": 2 * pictures, None: None}[recipe.target]
    made = [[f"not {text}"] for own in captions for text in own]
    return pairs(
        captions, unit_rows(pictures, 16, seed=4) if recipe.linear else None,
        image_embeddings=None if recipe.data == "base" else unit_rows(pictures, 16, seed=2),
        targets=None if targets is None else unit_rows(targets, 16, seed=3),
        negatives=Negatives(made, None if train_text else unit_rows(len(made), 16, seed=5))
        if recipe.negatives
        else None,
        regions=one_crop_each(pictures) if recipe.regions else None,
        knowledge=knowledge(2 * pictures) if recipe.knowledge else None,
        **taught(recipe, captions, pictures),
    )  # fmt: skip


def rows_of(vectors):
    assert (vectors.sum(1) == 1).all()
    return vectors.argmax(1).tolist()


def axes(rows):
    return np.eye(16, dtype=np.float16)[rows]


def numbered(captions):
    return [f"caption {i}" for i in range(captions)]


def copies(made):
    return {name: value.detach().clone() for name, value in made.clip.model.state_dict().items()}


def moved(before, made):
    return {name for name, value in made.clip.model.state_dict().items() if not torch.equal(before[name], value)}


def scored(*scores):
    """A validation that gives these figures one after the other."""
    given = iter(scores)
    return lambda clip: {name: next(given) if "text_to" in name else 0.0 for name in FIGURES}


def copy_of(clip):
    return {name: value.detach().clone() for name, value in clip.model.state_dict().items() if value.ndim}
