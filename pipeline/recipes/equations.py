"""Every recipe: what it needs, its formula, and its equation.

A new one is a function here under `@recipe(...)`, or a `variant` of another; nothing else names it. The parts are in
`pipeline.training.objectives`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.recipes.embedded import Embedded, given
from pipeline.recipes.registry import RECIPES, Needs, Recipe, Terms, recipe, register, term, variant
from pipeline.training.objectives import (
    contrastive,
    cosine_distance,
    divergence,
    sigmoid,
    sinkhorn,
    soft_cross_entropy,
    soft_labels,
    squared_distance,
    within,
)

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["RECIPES"]

CONTRASTIVE = term("contrastive")
TEACHER = term("teacher")
SIMILARITIES = term("similarities")
TEXT = term("text")
PRESERVE = term("preserve")
REGIONS = term("regions")
AFFINITY = term("affinity")
REGION_AFFINITY = term("region_affinity")
PRESERVE_SIMILARITIES = term("preserve_similarities")
RANDOM = term("random")
HYBRID = term("hybrid")
LANGUAGE = term("language")
CONCEPTS = term("concepts", factor=0.01)
PSEUDO_CAPTIONS = term("pseudo_captions", factor=0.5)
KEYWORDS = term("keywords", factor=0.5)

IMAGE_TARGET = Needs(target="image", teacher="regions")


@recipe("contrastive", "InfoNCE of images and captions; all captions of an image, drawn or not, are positives")
def plain(b: Embedded) -> Terms:
    """L = InfoNCE(f_I, f_T), with hard negatives as further columns where the recipe has them.

    With `student.contrastive: sigmoid` SigLIP's loss stands here, and wherever a recipe has InfoNCE.
    """
    negatives, allowed = (b.negatives.text, b.negatives.allowed) if b.negatives else (None, None)
    if b.bias is not None:
        return {CONTRASTIVE: sigmoid(b.image, b.text, b.scale, b.bias, b.positives, negatives, allowed)}
    return {CONTRASTIVE: contrastive(b.image, b.text, b.scale, b.positives, negatives, allowed)}


variant(
    "hard_negatives",
    "contrastive",
    "InfoNCE with captions as further negatives in which an attribute, an object or a relation is swapped by rule",
    negatives="rule",
)
variant(
    "given_negatives",
    "contrastive",
    "InfoNCE with the captions in the column `negatives` of the data as further negatives of the batch",
    negatives="given",
    reference="[NegCLIP](https://arxiv.org/abs/2210.01936)",
)


def _preserve_text(b: Embedded) -> Terms:
    return {} if b.text_is_frozen else {TEXT: cosine_distance(b.text_in_base, b.base_text)}


@recipe("preserving", "InfoNCE + distance to the base's embedding of the image")
def preserving(b: Embedded) -> Terms:
    """L = (1 - cos(f_I, f_I_CLIP)) [+ (1 - cos(f_T, f_T_CLIP)) where the text tower is trained] + InfoNCE(f_I, f_T)."""
    return {PRESERVE: cosine_distance(b.image_in_base, given(b.base_image)), **_preserve_text(b), **plain(b)}


@recipe(
    "preserving_regions",
    "InfoNCE + distance to the base's embedding of a region of the image, drawn anew in every step; the image itself "
    "is free to move",
    Needs(regions=True),
)
def preserving_regions(b: Embedded) -> Terms:
    """L = (1 - cos(f_I(r), f_I_CLIP(r))) [+ text] + InfoNCE(f_I, f_T), r a region of the image; no teacher.

    A region shows one thing, as the images of a classification set do. So what the base knows of single things stays
    as it is, while the embedding of the whole image is free to go where its captions are.
    """
    regions = given(b.regions)
    return {REGIONS: cosine_distance(regions.in_base, regions.base), **_preserve_text(b), **plain(b)}


def _base_similarities(b: Embedded) -> Tensor:
    """s_CLIP <f_I_CLIP, f_T_CLIP>, [B, C]."""
    return b.base_scale * given(b.base_image) @ b.base_text.T


@recipe("preserving_similarities", "InfoNCE + KL to the base's similarities of the batch")
def preserving_similarities(b: Embedded) -> Terms:
    """L = KL(softmax(s_CLIP <f_I_CLIP, f_T_CLIP>) || softmax(s <f_I, f_T>)) + InfoNCE(f_I, f_T), KL both ways."""
    return {PRESERVE_SIMILARITIES: divergence(b.scale * b.image @ b.text.T, _base_similarities(b)), **plain(b)}


@recipe(
    "affinity",
    "KL to the similarities of images and captions under frozen teachers, each in its own space + InfoNCE",
    Needs(teachers="given"),
    "[MobileCLIP](https://arxiv.org/abs/2311.17049)",
)
def affinity(b: Embedded) -> Terms:
    """L = KL(mean_k softmax(s_k <I_k, T_k>) || softmax(s <f_I, f_T>)) + InfoNCE(f_I, f_T), KL both ways.

    I_k and T_k are teacher k's embeddings of the same images and captions. Only similarities are compared, so widths
    and spaces may differ, and nothing is projected.
    """
    wanted = [t.scale * t.image @ t.text.T for t in b.teachers]
    return {AFFINITY: divergence(b.scale * b.image @ b.text.T, wanted), **plain(b)}


@recipe(
    "affinity_preserving",
    "`affinity` + distance to the base's embedding of a region, as in `preserving_regions`",
    Needs(teachers="given", regions=True),
)
def affinity_preserving(b: Embedded) -> Terms:
    """L = KL(mean_k softmax(s_k <I_k, T_k>) || softmax(s <f_I, f_T>)) + `preserving_regions`."""
    return {**preserving_regions(b), **affinity(b)}


@recipe(
    "affinity_regions",
    "`affinity_preserving` + KL to the teachers' similarities of a region of every image and the captions' phrases",
    Needs(teachers="given", regions=True, phrases=True),
)
def affinity_regions(b: Embedded) -> Terms:
    """L = `affinity_preserving` + KL(mean_k softmax(s_k <I_k(r), T_k(p)>) || softmax(s <f_I(r), f_T(p)>)), both ways.

    r is a region of each image, drawn anew in every step, p the distinct phrases of the batch's captions. A region
    shows one thing, and a phrase names one: there a teacher that sees more of an image knows what a student does not.
    """
    found = b.scale * given(b.regions).image @ given(b.phrase).T
    wanted = [t.scale * given(t.region) @ given(t.phrase).T for t in b.teachers]
    return {REGION_AFFINITY: divergence(found, wanted), **affinity_preserving(b)}


@recipe(
    "dclip",
    "the published loss: pull to the teacher's embedding of image and caption + InfoNCE",
    Needs(target="pair", teacher="regions"),
    "[DCLIP](https://arxiv.org/abs/2505.21549)",
)
def dclip(b: Embedded) -> Terms:
    """L = (1 - cos(f_I, z)) + (1 - cos(f_T, f_T_CLIP)) + InfoNCE(f_I, f_T), z having read the caption (published).

    With a frozen text tower the second term is constant zero.
    """
    return {
        TEACHER: cosine_distance(b.image_in_target[b.owner], given(b.target)),
        TEXT: b.scale.new_zeros(()) if b.text_is_frozen else cosine_distance(b.text_in_base, b.base_text),
        **plain(b),
    }


@recipe(
    "dclip_clean",
    "pull to the teacher's embedding of the image alone, which has not read the caption + preservation + InfoNCE",
    IMAGE_TARGET,
)
def dclip_clean(b: Embedded) -> Terms:
    """L = (1 - cos(f_I, z)) + (1 - cos(f_I, f_I_CLIP)) [+ (1 - cos(f_T, f_T_CLIP))] + InfoNCE(f_I, f_T).

    z is the teacher's with its text stream masked, so that it holds nothing of the caption it is scored against. The
    other terms preserve the base; the bracket is there where the text tower is trained.
    """
    return {TEACHER: cosine_distance(b.image_in_target, given(b.target)), **preserving(b)}


@recipe(
    "dclip_regions",
    "pull to the teacher's embedding of the image alone + `preserving_regions`",
    Needs(target="image", teacher="regions", regions=True),
)
def dclip_regions(b: Embedded) -> Terms:
    """L = (1 - cos(f_I, z)) + (1 - cos(f_I(r), f_I_CLIP(r))) [+ text] + InfoNCE(f_I, f_T), z as in `dclip_clean`."""
    return {TEACHER: cosine_distance(b.image_in_target, given(b.target)), **preserving_regions(b)}


@recipe("similarity", "KL to the teacher's similarities of images and captions + preservation + InfoNCE", IMAGE_TARGET)
def similarity(b: Embedded) -> Terms:
    """L = KL(softmax(s_z <z, T_z>) || softmax(s <f_I, f_T>)) + (1 - cos(f_I, f_I_CLIP)) [+ text] + InfoNCE.

    The teacher says how alike every image and caption of the batch are, not where an image's embedding has to be. The
    divergence is taken both ways, and z is of images alone.
    """
    wanted = b.target_scale * given(b.target) @ b.target_text.T
    return {SIMILARITIES: divergence(b.scale * b.image @ b.text.T, wanted), **preserving(b)}


@recipe(
    "feature_distillation",
    "squared distance to the teacher's embedding + InfoNCE",
    IMAGE_TARGET,
    "[CLIP-KD](https://arxiv.org/abs/2307.12732)",
)
def feature_distillation(b: Embedded) -> Terms:
    """L = ||f_I - z||^2 + InfoNCE(f_I, f_T), z of the image alone (CLIP-KD, arXiv 2307.12732)."""
    return {TEACHER: squared_distance(b.image_in_target, given(b.target)), **plain(b)}


@recipe(
    "clip_refine",
    "random feature alignment + hybrid distillation",
    Needs(contrastive=False),
    reference="[CLIP-Refine](https://arxiv.org/abs/2504.12717)",
)
def clip_refine(b: Embedded) -> Terms:
    """L = RaFA + HyCD (CLIP-Refine, arXiv 2504.12717); no InfoNCE.

    RaFA = 1/2 (||f_I - e||^2 + ||f_T - e||^2), one e ~ N(0, 1/d') for an image and its captions: of unit length on
    average, as f are. HyCD = divergence to 1/2 positives + 1/2 softmax of the base's similarities. A frozen f_T
    leaves RaFA's first half.
    """
    image = squared_distance(b.image_in_base, b.noise)
    text = b.scale.new_zeros(()) if b.text_is_frozen else squared_distance(b.text_in_base, b.noise[b.owner])
    return {
        RANDOM: 0.5 * (image + text),
        HYBRID: divergence(b.scale * b.image @ b.text.T, _base_similarities(b), b.positives, alpha=0.5),
    }


def knowledge(b: Embedded) -> Terms:
    """L = ||W_e f_T - L||^2 + 1/2 (H(s, softmax(A f_I)) + H(s, softmax(A f_T))), s the caption's soft labels.

    W_e and the classifier A are learnt, and dropped at the end (Knowledge-CLIP, arXiv 2412.03513; published: weights
    1 and 0.01). H is the cross entropy; every caption of an image is a label of it.
    """
    known = given(b.knowledge)
    image = soft_cross_entropy(known.image_concepts[b.owner], known.concepts, known.shares)
    text = soft_cross_entropy(known.text_concepts, known.concepts, known.shares)
    return {LANGUAGE: squared_distance(known.text_in_language, known.language), CONCEPTS: 0.5 * (image + text)}


@recipe(
    "semi",
    "InfoNCE + for images without captions cross entropy to captions of the batch, assigned by optimal transport, and "
    "to the phrases of the likeliest of these",
    Needs(semi=True, phrases=True),
    "[S-CLIP](https://arxiv.org/abs/2305.14095)",
)
def semi(b: Embedded) -> Terms:
    """L = InfoNCE(f_I, f_T) + H(q, softmax(s <f_U, f_T>)) + H(k, softmax(s <f_U, f_P>)), U images without captions.

    q are the rows of the optimal transport plan between U and the images of the captions, cost 1 - <f_U, f_I>,
    regularised by 1/s (S-CLIP, arXiv 2305.14095; weights 1/2 as published). k is the softmax over the phrases P of the
    likeliest caption alone. U are negatives of all captions in InfoNCE. Without such images, or captions, L = InfoNCE.
    """
    bare = ~b.positives.any(dim=1)
    phrase, (captions, phrases) = given(b.phrase), given(b.phrase_pairs)
    if not bare.any() or not len(b.text):
        nothing = b.scale.new_zeros(())
        return {PSEUDO_CAPTIONS: nothing, KEYWORDS: nothing, **plain(b)}
    query, images = b.image[bare], b.image[b.owner]
    plan = sinkhorn(1 - query.detach() @ images.detach().T, 1 / b.scale.detach())
    has_phrase = plan.new_zeros(len(b.text), len(phrase)).index_put_((captions, phrases), plan.new_ones(())) > 0
    return {
        PSEUDO_CAPTIONS: soft_labels(b.scale * query @ b.text.T, plan / plan.sum(dim=1, keepdim=True)),
        KEYWORDS: within(b.scale * query @ phrase.T, has_phrase[plan.argmax(dim=1)]),
        **plain(b),
    }


@recipe(
    "knowledge_clip",
    "InfoNCE + distance of a linear map of the text embedding to a language model's + classification of image and "
    "caption into its concepts",
    Needs(knowledge=True),
    "[Knowledge-CLIP](https://arxiv.org/abs/2412.03513)",
)
def knowledge_clip(b: Embedded) -> Terms:
    """L = text embedding distillation + concept classification + InfoNCE(f_I, f_T) (Knowledge-CLIP)."""
    return {**knowledge(b), **plain(b)}


@recipe(
    "dclip+knowledge",
    "`dclip_clean` + the distance and the classification of `knowledge_clip`",
    Needs(target="image", teacher="regions", knowledge=True),
)
def dclip_knowledge(b: Embedded) -> Terms:
    """L = `dclip_clean` + text embedding distillation + concept classification."""
    return {**knowledge(b), **dclip_clean(b)}


register(
    Recipe(
        name="procrustes",
        about="the rotation of cached image embeddings that lies nearest to the captions', in closed form",
        terms=None,
        linear=True,
        contrastive=False,
    )
)
variant(
    "labclip",
    "contrastive",
    "InfoNCE of a linear map of the cached image embeddings; the towers never run",
    linear=True,
    reference="[LABCLIP](https://arxiv.org/abs/2502.03566)",
)

# Controls

variant("continue_base", "contrastive", "control: the base trained on with its own data for as many steps", data="base")
variant(
    "shuffled_targets",
    "dclip_clean",
    "control: `dclip_clean` with every image given another one's target",
    shuffled=True,
)
variant("text_only_teacher", "dclip", "control: `dclip` with a teacher that reads no image", teacher="text")
variant(
    "no_regions",
    "dclip_clean",
    "control: `dclip_clean` with a teacher that reads the whole image but no crops",
    teacher="image",
)
variant(
    "affinity_base",
    "affinity_regions",
    "control: `affinity_regions` with the base as its own teacher",
    teachers="base",
)
variant(
    "affinity_shuffled",
    "affinity_regions",
    "control: `affinity_regions` with every image and region given another one's embedding",
    shuffled=True,
)
