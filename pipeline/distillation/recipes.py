"""What a student minimises: a recipe is one function from a batch to named loss terms, and one line in `RECIPES`.

Terms are weighted by `student.weights` and summed by the trainer. Names are those of `pipeline.training.objectives`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from pipeline.training.objectives import contrastive, cosine_distance, divergence, soft_cross_entropy, squared_distance


@dataclass
class Embedded:
    """A batch as a recipe sees it: B pictures, C captions of theirs; unit float32; d' is the target's width.

    Attributes:
        image: the student's f_I, [B, d].
        text: the student's f_T, or the frozen one, [C, d].
        scale: s = 1/tau.
        owner: int64 [C], the picture of each caption.
        positives: bool [B, C], whether a text is one of the picture's captions, drawn with it or not.
        image_in_target: f_I through the learnt projection to the target's width (f_I itself if equal), [B, d'].
        text_in_target: f_T likewise, [C, d'].
        target: the teacher's z, [B, d'] of pictures or [C, d'] of pairs; absent where the recipe asks for none.
        base_image: the base CLIP's f_I of the same pictures, [B, d']; absent for the base's own pairs.
        base_text: the base CLIP's f_T of the same captions, [C, d'].
        base_scale: the base's s.
        text_is_frozen: whether f_T is the base's own.
        noise: N(0, 1/d') reference points, one a picture, [B, d'].
        negatives: f_T of hard-negative captions, [H, d]; absent where the recipe asks for none.
        allowed: bool [B, H], false where a negative is one of the picture's captions.
        region_in_target: f_I of a region of every picture, projected likewise, [B, d']; absent where the recipe asks
            for none.
        base_region: the base CLIP's f_I of the same regions, [B, d'].
        language: the language model's L of the captions, unit [C, d_L]; absent where the recipe asks for no knowledge.
        text_in_language: W_e f_T, [C, d_L].
        image_concepts: a linear classifier's logits of f_I, [B, K].
        text_concepts: the same classifier's of f_T, [C, K].
        concepts: each caption's concepts, int64 [C, m].
        shares: of them, [C, m].
    """

    image: Tensor
    text: Tensor
    scale: Tensor
    owner: Tensor
    positives: Tensor
    image_in_target: Tensor
    text_in_target: Tensor
    target: Tensor | None
    base_image: Tensor | None
    base_text: Tensor
    base_scale: float
    text_is_frozen: bool
    noise: Tensor
    negatives: Tensor | None = None
    allowed: Tensor | None = None
    region_in_target: Tensor | None = None
    base_region: Tensor | None = None
    language: Tensor | None = None
    text_in_language: Tensor | None = None
    image_concepts: Tensor | None = None
    text_concepts: Tensor | None = None
    concepts: Tensor | None = None
    shares: Tensor | None = None


Terms = dict[str, Tensor]


def _given(part: Tensor | None) -> Tensor:
    assert part is not None, "RECIPES says which data and which targets a recipe gets"
    return part


def plain(b: Embedded) -> Terms:
    """L = InfoNCE(f_I, f_T), with hard negatives as further columns where the recipe has them."""
    return {"contrastive": contrastive(b.image, b.text, b.scale, b.positives, b.negatives, b.allowed)}


def preserve(b: Embedded) -> Terms:
    """L = (1 - cos(f_I, f_I_CLIP)) [+ (1 - cos(f_T, f_T_CLIP)) where the text tower is trained]."""
    return {"preserve": cosine_distance(b.image_in_target, _given(b.base_image)), **_preserve_text(b)}


def preserve_regions(b: Embedded) -> Terms:
    """L = (1 - cos(f_I(r), f_I_CLIP(r))) [+ text], r a region of the picture, drawn anew in every step.

    A region shows one thing, as the pictures of a classification set do. So what the base knows of single things stays
    as it is, while the embedding of the whole picture is free to go where its captions are.
    """
    return {"regions": cosine_distance(_given(b.region_in_target), _given(b.base_region)), **_preserve_text(b)}


def _preserve_text(b: Embedded) -> Terms:
    return {} if b.text_is_frozen else {"text": cosine_distance(b.text_in_target, b.base_text)}


def preserve_similarities(b: Embedded) -> Terms:
    """L = KL(softmax(s_CLIP <f_I_CLIP, f_T_CLIP>) || softmax(s <f_I, f_T>)), both ways: what the base sees."""
    wanted = b.base_scale * _given(b.base_image) @ b.base_text.T
    return {"preserve_similarities": divergence(b.scale * b.image @ b.text.T, wanted)}


def teacher_similarities(b: Embedded) -> Terms:
    """L = KL(softmax(s_CLIP <z, f_T_CLIP>) || softmax(s <f_I, f_T>)), both ways, z of pictures alone."""
    wanted = b.base_scale * _given(b.target) @ b.base_text.T
    return {"similarities": divergence(b.scale * b.image @ b.text.T, wanted)}


def dclip(b: Embedded) -> Terms:
    """L = (1 - cos(f_I, z)) + (1 - cos(f_T, f_T_CLIP)) + InfoNCE(f_I, f_T), z having read the caption (published).

    With a frozen text tower the second term is constant zero.
    """
    return {
        "teacher": cosine_distance(b.image_in_target[b.owner], _given(b.target)),
        "text": b.scale.new_zeros(()) if b.text_is_frozen else cosine_distance(b.text_in_target, b.base_text),
        **plain(b),
    }


def dclip_clean(b: Embedded) -> Terms:
    """L = (1 - cos(f_I, z)) + (1 - cos(f_I, f_I_CLIP)) [+ (1 - cos(f_T, f_T_CLIP))] + InfoNCE(f_I, f_T).

    z is the teacher's with its text stream masked, so that it holds nothing of the caption it is scored against. The
    other terms preserve the base; the bracket is there where the text tower is trained.
    """
    return {"teacher": cosine_distance(b.image_in_target, _given(b.target)), **preserve(b), **plain(b)}


def similarity(b: Embedded) -> Terms:
    """L = KL(teacher's similarities || the student's) + (1 - cos(f_I, f_I_CLIP)) [+ text] + InfoNCE(f_I, f_T).

    The teacher says how alike every picture and caption of the batch are, not where a picture's embedding has to be.
    """
    return {**teacher_similarities(b), **preserve(b), **plain(b)}


def preserving(b: Embedded) -> Terms:
    """L = (1 - cos(f_I, f_I_CLIP)) [+ text] + InfoNCE(f_I, f_T): `dclip_clean` without a teacher."""
    return {**preserve(b), **plain(b)}


def preserving_regions(b: Embedded) -> Terms:
    """L = (1 - cos(f_I(r), f_I_CLIP(r))) [+ text] + InfoNCE(f_I, f_T): no teacher, and only regions are preserved."""
    return {**preserve_regions(b), **plain(b)}


def dclip_regions(b: Embedded) -> Terms:
    """L = (1 - cos(f_I, z)) + (1 - cos(f_I(r), f_I_CLIP(r))) [+ text] + InfoNCE(f_I, f_T), z as in `dclip_clean`."""
    return {"teacher": cosine_distance(b.image_in_target, _given(b.target)), **preserving_regions(b)}


def preserving_similarities(b: Embedded) -> Terms:
    """L = KL(the base's similarities || the student's) + InfoNCE(f_I, f_T)."""
    return {**preserve_similarities(b), **plain(b)}


def feature_distillation(b: Embedded) -> Terms:
    """L = ||f_I - z||^2 + InfoNCE(f_I, f_T), z of the picture alone (CLIP-KD, arXiv 2307.12732)."""
    return {"teacher": squared_distance(b.image_in_target, _given(b.target)), **plain(b)}


def clip_refine(b: Embedded) -> Terms:
    """L = RaFA + HyCD (CLIP-Refine, arXiv 2504.12717); no InfoNCE.

    RaFA = 1/2 (||f_I - e||^2 + ||f_T - e||^2), one e ~ N(0, 1/d') for a picture and its captions: of unit length on
    average, as f are. HyCD = divergence to 1/2 positives + 1/2 softmax of the base's similarities. A frozen f_T
    leaves RaFA's first half.
    """
    image = squared_distance(b.image_in_target, b.noise)
    text = b.scale.new_zeros(()) if b.text_is_frozen else squared_distance(b.text_in_target, b.noise[b.owner])
    wanted = b.base_scale * _given(b.base_image) @ b.base_text.T
    return {
        "random": 0.5 * (image + text),
        "hybrid": divergence(b.scale * b.image @ b.text.T, wanted, b.positives, alpha=0.5),
    }


def knowledge(b: Embedded) -> Terms:
    """L = ||W_e f_T - L||^2 + 1/2 (H(s, softmax(A f_I)) + H(s, softmax(A f_T))), s the caption's soft labels.

    W_e and the classifier A are learnt, and dropped at the end (Knowledge-CLIP, arXiv 2412.03513; published: weights
    1 and 0.01). H is the cross entropy; every caption of a picture is a label of it.
    """
    concepts, shares = _given(b.concepts), _given(b.shares)
    of_image = soft_cross_entropy(_given(b.image_concepts)[b.owner], concepts, shares)
    of_text = soft_cross_entropy(_given(b.text_concepts), concepts, shares)
    return {
        "language": squared_distance(_given(b.text_in_language), _given(b.language)),
        "concepts": 0.5 * (of_image + of_text),
    }


def knowledge_clip(b: Embedded) -> Terms:
    """L = text embedding distillation + concept classification + InfoNCE(f_I, f_T) (Knowledge-CLIP)."""
    return {**knowledge(b), **plain(b)}


def dclip_knowledge(b: Embedded) -> Terms:
    """L = `dclip_clean` + text embedding distillation + concept classification."""
    return {**knowledge(b), **dclip_clean(b)}


@dataclass(frozen=True)
class Recipe:
    """A recipe and what it needs.

    Attributes:
        terms: the function; None for a closed form.
        target: `image` for z of the image alone, `pair` for z of image and caption, None for no target.
        teacher: what its teacher must have read, `teacher.inputs`; None if any will do.
        shuffled: a control: every image gets the target of another one.
        data: `corpora`, or `base`, a control: the base's own training pairs for as many steps.
        negatives: whether hard-negative captions are made.
        regions: whether the student looks at a region of every picture, too.
        knowledge: whether it reads the concepts stage's tables; it trains the text tower.
        linear: only a linear map of the image embeddings is found, on cached features.
    """

    terms: Callable[[Embedded], Terms] | None
    target: Literal["image", "pair"] | None = None
    teacher: Literal["regions", "image", "text"] | None = None
    shuffled: bool = False
    data: Literal["corpora", "base"] = "corpora"
    negatives: bool = False
    regions: bool = False
    knowledge: bool = False
    linear: bool = False


RECIPES: dict[str, Recipe] = {
    "contrastive": Recipe(plain),
    "hard_negatives": Recipe(plain, negatives=True),
    "preserving": Recipe(preserving),
    "preserving_regions": Recipe(preserving_regions, regions=True),
    "preserving_similarities": Recipe(preserving_similarities),
    "dclip": Recipe(dclip, target="pair", teacher="regions"),
    "dclip_clean": Recipe(dclip_clean, target="image", teacher="regions"),
    "dclip_regions": Recipe(dclip_regions, target="image", teacher="regions", regions=True),
    "similarity": Recipe(similarity, target="image", teacher="regions"),
    "feature_distillation": Recipe(feature_distillation, target="image", teacher="regions"),
    "clip_refine": Recipe(clip_refine),
    "knowledge_clip": Recipe(knowledge_clip, knowledge=True),
    "dclip+knowledge": Recipe(dclip_knowledge, target="image", teacher="regions", knowledge=True),
    "procrustes": Recipe(None, linear=True),
    "labclip": Recipe(plain, linear=True),
    "continue_base": Recipe(plain, data="base"),
    "shuffled_targets": Recipe(dclip_clean, target="image", teacher="regions", shuffled=True),
    "text_only_teacher": Recipe(dclip, target="pair", teacher="text"),
    "no_regions": Recipe(dclip_clean, target="image", teacher="image"),
}
