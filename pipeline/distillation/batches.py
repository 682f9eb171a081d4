"""A batch of a student's training: tensors in groups, each of which is there whole or not at all."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.machine.in_flight import TensorGroup


@dataclass
class TextBatch(TensorGroup):
    """What the text tower reads: the distinct captions, hard negatives and phrases of the batch, each once.

    Attributes:
        tokens: int64 [T / processes, context], this process's part of them.
        places: int64 [C], each caption's row of all that are embedded.
        negative_places: int64 [H], each hard negative's; H is 0 where there are none.
        phrase_places: int64 [P], each phrase's; P is 0 where there are none.
    """

    tokens: Tensor
    places: Tensor
    negative_places: Tensor
    phrase_places: Tensor


@dataclass
class NegativeBatch(TensorGroup):
    """The hard negatives of the batch's captions.

    Attributes:
        allowed: bool [B, H], false where a negative is a caption of the image.
        base: the base's f_T of them, float32 [H, d']; None where the text tower is trained and embeds them itself.
    """

    allowed: Tensor
    base: Tensor | None


@dataclass
class RegionBatch(TensorGroup):
    """A region of each image.

    Attributes:
        pixels: uint8 [B / processes, 3, side, side], those of this process's images.
        base: the base's f_I of all of them, float32 [B, d'].
    """

    pixels: Tensor
    base: Tensor


@dataclass
class TeacherBatch(TensorGroup):
    """What a frozen CLIP of width d_k makes of the whole batch.

    Attributes:
        scale: s_k.
        image: float32 [B, d_k], of the images or views whose pixels the batch holds.
        text: float32 [C, d_k].
        region: of the regions of `RegionBatch`, float32 [B, d_k], or None.
        phrase: float32 [P, d_k], or None.
    """

    scale: float
    image: Tensor
    text: Tensor
    region: Tensor | None
    phrase: Tensor | None


@dataclass
class KnowledgeBatch(TensorGroup):
    """What the concepts stage says of the captions.

    Attributes:
        language: the language model's embeddings, float32 [C, d_L].
        concepts: int64 [C, m].
        shares: float32 [C, m].
    """

    language: Tensor
    concepts: Tensor
    shares: Tensor


@dataclass
class Batch(TensorGroup):
    """B images and C captions of theirs; pixels and tokens are this process's part, all else is the whole batch's.

    Attributes:
        pixels: [B / processes, ...] of the images.
        owner: int64 [C], each caption's image in the batch.
        positives: bool [B, C], whether a text is one of the image's captions, drawn with it or not.
        base_text: the base's f_T, float32 [C, d'].
        noise: float32 [B, d'], N(0, 1/d'), the same in every process.
        base_image: the base's f_I, float32 [B, d'], or None.
        target: the teacher's z, float32 [B, d_z] or [C, d_z], or None.
        target_text: the captions' embeddings in the same space, float32 [C, d_z]; None where it is the base's.
        target_scale: by which similarities are multiplied there; None likewise.
        base_phrase: the base's f_T of the distinct phrases of the captions, float32 [P, d'], or None.
        phrase_pairs: which caption has which phrase, int64 [2, e]: places among the C and the P; None without phrases.
    """

    names: list[str]
    pixels: Tensor
    owner: Tensor
    positives: Tensor
    base_text: Tensor
    noise: Tensor
    base_image: Tensor | None
    target: Tensor | None
    target_text: Tensor | None
    target_scale: float | None
    texts: TextBatch | None
    negatives: NegativeBatch | None
    regions: RegionBatch | None
    base_phrase: Tensor | None
    phrase_pairs: Tensor | None
    teachers: tuple[TeacherBatch, ...]
    knowledge: KnowledgeBatch | None

    @property
    def tower_images(self) -> Tensor:
        """What goes through the image tower: this process's images, then, if there are regions, a region of each."""
        return self.pixels if self.regions is None else torch.cat([self.pixels, self.regions.pixels])

    def separated(self, embedded: Tensor, processes: int) -> tuple[Tensor, Tensor | None]:
        """Embeddings of `tower_images` of all processes, one after the other: those of images, those of regions.

        Args:
            embedded: [B, d], or with regions [2 B, d].

        Returns:
            [B, d] of images, and [B, d] of a region of each or None, both in the order of the batch.
        """
        if self.regions is None:
            return embedded, None
        by_process = embedded.unflatten(0, (processes, 2, -1))
        images, regions = by_process.transpose(0, 1).flatten(1, 2)
        return images, regions
