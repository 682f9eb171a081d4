"""What a student minimises: a recipe is one function from a batch to named loss terms, and one line in `RECIPES`.

Terms are weighted by `student.weights` and summed by the trainer. Equations use the names of `pipeline.objectives`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from pipeline.objectives import contrastive, cosine_distance


@dataclass
class StudentBatch:
    """Embeddings of B pairs, unit float32 [B, d]; d' is the target's width, where it differs from the student's.

    Attributes:
        image: the student's f_I.
        text: the student's f_T, or the frozen one.
        scale: 1/tau.
        same: bool [B, B], equal captions.
        image_in_target: f_I through the learnt projection to the target's width (f_I itself if equal), [B, d'].
        text_in_target: f_T likewise.
        target: the teacher's z, [B, d']; absent where the recipe asks for none.
        base_image: the base CLIP's f_I of the same picture, [B, d']; absent for the base's own pairs.
        base_text: the base CLIP's f_T of the same caption, [B, d'].
        text_is_frozen: whether f_T is the base's own.
    """

    image: Tensor
    text: Tensor
    scale: Tensor
    same: Tensor
    image_in_target: Tensor
    text_in_target: Tensor
    target: Tensor | None
    base_image: Tensor | None
    base_text: Tensor
    text_is_frozen: bool


Terms = dict[str, Tensor]


def _given(part: Tensor | None) -> Tensor:
    assert part is not None, "RECIPES says which data and which targets a recipe gets"
    return part


def plain(b: StudentBatch) -> Terms:
    """L = InfoNCE(f_I, f_T)."""
    return {"contrastive": contrastive(b.image, b.text, b.scale, b.same)}


def dclip(b: StudentBatch) -> Terms:
    """L = (1 - cos(f_I, z)) + (1 - cos(f_T, f_T_CLIP)) + InfoNCE(f_I, f_T), z having read the caption (published).

    With a frozen text tower the second term is constant zero.
    """
    return {
        "teacher": cosine_distance(b.image_in_target, _given(b.target)),
        "text": b.scale.new_zeros(()) if b.text_is_frozen else cosine_distance(b.text_in_target, b.base_text),
        **plain(b),
    }


def dclip_clean(b: StudentBatch) -> Terms:
    """L = (1 - cos(f_I, z)) + (1 - cos(f_I, f_I_CLIP)) [+ (1 - cos(f_T, f_T_CLIP))] + InfoNCE(f_I, f_T).

    z is the teacher's with its text stream masked, so that it holds nothing of the caption it is scored against. The
    second term preserves the base; the bracket is there where the text tower is trained.
    """
    terms = {
        "teacher": cosine_distance(b.image_in_target, _given(b.target)),
        "preserve": cosine_distance(b.image_in_target, _given(b.base_image)),
        **plain(b),
    }
    if not b.text_is_frozen:
        terms["text"] = cosine_distance(b.text_in_target, b.base_text)
    return terms


@dataclass(frozen=True)
class Recipe:
    """A recipe and what it needs.

    Attributes:
        terms: the function.
        target: `image` for z of the image alone, `pair` for z of image and caption, None for no target.
        shuffled: a control: every image gets the target of another one.
        data: `corpora`, or `base`, a control: the base's own training pairs for as many steps.
    """

    terms: Callable[[StudentBatch], Terms]
    target: Literal["image", "pair"] | None = None
    shuffled: bool = False
    data: Literal["corpora", "base"] = "corpora"


RECIPES: dict[str, Recipe] = {
    "contrastive": Recipe(plain),
    "dclip": Recipe(dclip, target="pair"),
    "dclip_clean": Recipe(dclip_clean, target="image"),
    "shuffled_targets": Recipe(dclip_clean, target="image", shuffled=True),
    "continue_base": Recipe(plain, data="base"),
}
