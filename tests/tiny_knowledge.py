"""What the concepts stage would say of captions: vectors of width 5, and two of seven concepts with their shares."""

import numpy as np
from tiny_models import unit_rows

from pipeline.distillation.pairs import Knowledge
from pipeline.recipes import RECIPES

WIDTH, CONCEPTS = 5, 7


def knowledge(captions):
    first = np.arange(captions, dtype=np.int32) % CONCEPTS
    larger = np.linspace(0.5, 0.9, captions, dtype=np.float32)
    return Knowledge(
        unit_rows(captions, WIDTH, seed=8), np.stack([first, (first + 3) % CONCEPTS], axis=1),
        np.stack([larger, 1 - larger], axis=1), CONCEPTS,
    )  # fmt: skip


def heads(recipe):
    """What a student of a recipe has beside its towers."""
    return {"language_dimension": WIDTH, "concepts": CONCEPTS} if RECIPES[recipe].knowledge else {}
