"""What an equation is given: a batch of embeddings in groups, each of which is there whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")


@dataclass
class EmbeddedNegatives:
    """H hard-negative captions.

    Attributes:
        text: the student's f_T of them, or the frozen one, [H, d].
        allowed: bool [B, H], false where a negative is one of the image's captions.
    """

    text: Tensor
    allowed: Tensor


@dataclass
class EmbeddedRegions:
    """A region of every image.

    Attributes:
        image: the student's f_I of it, [B, d].
        in_base: the student's f_I of it through the learnt projection to the base's width, [B, d'].
        base: the base CLIP's f_I of it, [B, d'].
    """

    image: Tensor
    in_base: Tensor
    base: Tensor


@dataclass
class EmbeddedTeacher:
    """What a frozen CLIP of width d_k makes of the batch, in its own space.

    Attributes:
        scale: s_k, by which its similarities are multiplied.
        image: of the same images, or of the views that the student sees, unit [B, d_k].
        text: of the same captions, unit [C, d_k].
        region: of the regions that the student sees, unit [B, d_k], or None.
        phrase: of the phrases, unit [P, d_k], or None.
    """

    scale: float
    image: Tensor
    text: Tensor
    region: Tensor | None
    phrase: Tensor | None


@dataclass
class EmbeddedKnowledge:
    """What a language model says of the captions, and how the student compares with it.

    Attributes:
        language: the language model's L of the captions, unit [C, d_L].
        text_in_language: W_e f_T, [C, d_L].
        image_concepts: a linear classifier's logits of f_I, [B, K].
        text_concepts: the same classifier's of f_T, [C, K].
        concepts: each caption's concepts, int64 [C, m].
        shares: the share of each of them, [C, m].
    """

    language: Tensor
    text_in_language: Tensor
    image_concepts: Tensor
    text_concepts: Tensor
    concepts: Tensor
    shares: Tensor


@dataclass
class Embedded:
    """A batch as an equation sees it: B images, C captions of theirs; unit float32; d' is the base's width.

    Attributes:
        image: the student's f_I, [B, d].
        text: the student's f_T, or the frozen one, [C, d].
        scale: s = 1/tau.
        owner: int64 [C], the image of each caption.
        positives: bool [B, C], whether a text is one of the image's captions, drawn with it or not.
        image_in_base: f_I through the learnt projection to the base's width (f_I itself if equal), [B, d'].
        text_in_base: f_T likewise, [C, d'].
        image_in_target: f_I through a learnt projection into the space of the teacher's z (that of the base's features:
            `image_in_base`), [B, d_z].
        base_text: the base CLIP's f_T of the same captions, [C, d'].
        base_scale: the base's s.
        text_is_frozen: whether f_T is the base's own.
        noise: N(0, 1/d') reference points, one an image, [B, d'].
        base_image: the base CLIP's f_I of the same images, [B, d']; absent for the base's own pairs.
        target: the teacher's z, [B, d_z] of images or [C, d_z] of pairs; absent where the recipe needs none.
        target_text: the embeddings of the same captions by the CLIP whose features that teacher reads, [C, d_z].
        target_scale: that CLIP's s.
        phrase: the student's f_T of the distinct phrases of the captions, or the frozen one, [P, d], or None.
        phrase_pairs: which caption has which phrase, int64 [2, e]: numbers of captions, and of phrases; or None.
        teachers: the frozen CLIPs that the student learns from; none where the recipe needs none.
        bias: b of the sigmoid loss; absent where the softmax is asked for.
    """

    image: Tensor
    text: Tensor
    scale: Tensor
    owner: Tensor
    positives: Tensor
    image_in_base: Tensor
    text_in_base: Tensor
    image_in_target: Tensor
    base_text: Tensor
    base_scale: float
    text_is_frozen: bool
    noise: Tensor
    target_text: Tensor
    target_scale: float
    base_image: Tensor | None = None
    target: Tensor | None = None
    negatives: EmbeddedNegatives | None = None
    regions: EmbeddedRegions | None = None
    phrase: Tensor | None = None
    phrase_pairs: Tensor | None = None
    teachers: Sequence[EmbeddedTeacher] = ()
    knowledge: EmbeddedKnowledge | None = None
    bias: Tensor | None = None


def given(group: T | None) -> T:
    """A group of the batch that the recipe has said it needs."""
    assert group is not None, "a recipe is given the data and targets that its declaration says it needs"
    return group
