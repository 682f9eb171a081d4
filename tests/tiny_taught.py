"""Phrases of captions, and frozen teachers of other widths that have embedded everything."""

import numpy as np
from tiny_models import unit_rows

from pipeline.distillation.pairs import Phrases, Teacher

WIDTHS = (5, 7)
SCALES = (10.0, 25.0)


def phrases(captions, width=16, seed=40):
    """Every caption is a phrase, and its first word another one; texts in the order in which they are met."""
    flat = [text for texts in captions for text in texts]
    of = [list(dict.fromkeys([text, text.split()[0]])) for text in flat]
    texts = list(dict.fromkeys(phrase for group in of for phrase in group))
    ids = np.array([texts.index(phrase) for group in of for phrase in group], dtype=np.int64)
    start = np.concatenate([[0], np.cumsum([len(group) for group in of], dtype=np.int64)])
    return Phrases(texts, ids, start, unit_rows(len(texts), width, seed=seed))


def teachers(images, captions, crops=None, phrases=None, views=None):
    """Two teachers; rows are counts, None for what there is none of."""

    def rows(count, teacher, seed):
        return None if count is None else unit_rows(count, WIDTHS[teacher], seed=seed + teacher)

    return [
        Teacher(
            SCALES[k], rows(images, k, 50), rows(captions, k, 60), rows(views, k, 70), rows(crops, k, 80),
            rows(phrases, k, 90),
        )
        for k in range(2)
    ]  # fmt: skip


def taught(recipe, captions, crops):
    """What a recipe asks for of all this: keyword arguments of `Pairs`."""
    found = phrases(captions) if recipe.phrases else None
    if not recipe.teachers:
        return {"phrases": found}
    count = sum(map(len, captions))
    known = teachers(len(captions), count, crops if recipe.regions else None, found and len(found.texts))
    return {"phrases": found, "teachers": known}
