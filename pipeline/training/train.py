"""Train a student: its data, its steps by recipe, its validation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import zeroshot
from pipeline.clip import encode
from pipeline.clip.encode import Compute
from pipeline.errors import InputError
from pipeline.retrieval.metrics import evaluate
from pipeline.training.interpolation import retrieval
from pipeline.training.loop import Loop, Trained
from pipeline.training.recipes import RECIPES, Recipe, StudentBatch
from pipeline.training.schedule import warmup_cosine
from pipeline.training.student import Student
from pipeline.zeroshot import ZeroshotSet


@dataclass
class Pairs:
    """Pictures with captions and everything frozen that a recipe may ask for; n pictures, c captions.

    Attributes:
        pixels: uint8 [n, 3, side, side] at the student's input size.
        captions: the captions of every picture.
        caption_vectors: the base's, unit float [c, d'], flat in the order of `captions`.
        image_vectors: the base's, unit float [n, d'], or None.
        targets: the teacher's z, unit float [n, d'] for images or [c, d'] for pairs, or None.
    """

    pixels: NDArray[np.uint8]
    captions: Sequence[Sequence[str]]
    caption_vectors: NDArray[np.floating]
    image_vectors: NDArray[np.floating] | None = None
    targets: NDArray[np.floating] | None = None

    def __post_init__(self) -> None:
        counts = np.array([len(texts) for texts in self.captions], dtype=np.int64)
        self.start = np.concatenate([[0], np.cumsum(counts)])
        number: dict[str, int] = {}
        flat = [text for texts in self.captions for text in texts]
        self.caption_ids = np.array([number.setdefault(text, len(number)) for text in flat], dtype=np.int64)
        self.distinct = list(number)
        if len(self.pixels) != len(counts) or len(self.caption_vectors) != len(flat):
            raise ValueError(
                f"{len(self.pixels)} pictures and {len(self.caption_vectors)} caption vectors, "
                f"expected {len(counts)} and {len(flat)}"
            )

    @property
    def owner(self) -> NDArray[np.int64]:
        """int64 [c], the picture of each caption."""
        return np.repeat(np.arange(len(self.captions)), np.diff(self.start))


@dataclass(frozen=True)
class StudentTraining:
    """How a student is trained; published values in brackets.

    Attributes:
        recipe: a name in `RECIPES`.
        epochs: passes over the pictures (2).
        batch: pairs a step.
        lr: of AdamW (1e-6).
        weight_decay: of matrices.
        weights: factor of every loss term (1 each).
        seed: of order and captions.
    """

    recipe: str
    epochs: int
    batch: int
    lr: float
    weight_decay: float
    weights: Mapping[str, float]
    seed: int


class Validator:
    """Retrieval and zero-shot of a student on validation data.

    Args:
        student: looked at anew by every call.
        pairs: of validation.
        classes: the zero-shot set of validation.
        class_pixels: its pictures, uint8 [n, 3, side, side].
        class_weights: the base's, float32 [classes, d]: those of a student whose text tower is frozen.
        compute: where and how.
    """

    def __init__(
        self,
        student: Student,
        pairs: Pairs,
        classes: ZeroshotSet,
        class_pixels: NDArray[np.uint8],
        class_weights: Tensor,
        compute: Compute,
    ) -> None:
        self.student, self.pairs, self.classes, self.compute = student, pairs, classes, compute
        self.class_pixels, self.frozen_weights = class_pixels, class_weights

    def __call__(self) -> dict[str, float]:
        """Recall@1 both ways, and zero-shot top-1 of seen and unseen classes."""
        clip = self.student.clip
        images = zeroshot.image_vectors(clip, self.pairs.pixels, self.compute).numpy()
        if self.student.train_text:
            weights = zeroshot.class_weights(clip, self.classes, self.compute)
            texts = encode.texts(clip, [t for ts in self.pairs.captions for t in ts], self.compute).numpy()
        else:
            weights = self.frozen_weights
            texts = self.pairs.caption_vectors.astype(np.float32)
        figures = evaluate(images, texts, self.pairs.owner)
        found = {f"val_{way}_recall@1": float(f["recall@1"].mean()) for way, f in figures.items()}
        vectors = zeroshot.image_vectors(clip, self.class_pixels, self.compute)
        for name, seen in (("zeroshot", True), ("zeroshot_unseen", False)):
            if top := zeroshot.accuracy(vectors, weights, self.classes, seen=seen):
                found[f"val_{name}_top1"] = top["top1"]
        return found


def _batches(
    student: Student, recipe: Recipe, pairs: Pairs, training: StudentTraining, device: str, epoch: int, steps: int
) -> Iterator[StudentBatch]:
    rng = np.random.default_rng([training.seed, epoch])
    counts = np.diff(pairs.start)
    order = rng.permutation(len(pairs.captions))[: steps * training.batch]

    def tensor(values: NDArray[np.floating]) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(device)

    for begin in range(0, len(order) - training.batch + 1, training.batch):
        rows = order[begin : begin + training.batch]
        caption = pairs.start[rows] + (rng.random(len(rows)) * counts[rows]).astype(np.int64)
        ids = pairs.caption_ids[caption]
        image = student.encode_images(torch.from_numpy(pairs.pixels[rows]).to(device))
        base_text = tensor(pairs.caption_vectors[caption])
        text = base_text
        if student.train_text:
            tokens = student.clip.tokenize([pairs.distinct[i] for i in ids])
            text = student.encode_texts(tokens.to(device))
        target = None
        if pairs.targets is not None:
            target = tensor(pairs.targets[rows if recipe.target == "image" else caption])
        same = torch.from_numpy(ids[:, None] == ids[None, :]).to(device)
        image_in_target, text_in_target = student.to_target(image, text)
        yield StudentBatch(
            image=image, text=text, scale=student.scale, same=same, image_in_target=image_in_target,
            text_in_target=text_in_target, target=target,
            base_image=None if pairs.image_vectors is None else tensor(pairs.image_vectors[rows]),
            base_text=base_text, text_is_frozen=not student.train_text,
        )  # fmt: skip


def of_others(targets: NDArray[np.floating] | None, seed: int) -> NDArray[np.floating]:
    """The same targets, every one at the place of another: along a random circle through all of them."""
    assert targets is not None, "RECIPES says which recipes get targets"
    circle = np.random.default_rng([seed, 0]).permutation(len(targets))
    moved = np.empty_like(targets)
    moved[circle] = targets[np.roll(circle, 1)]
    return moved


def train(
    student: Student,
    pairs: Pairs,
    validate: Validator,
    training: StudentTraining,
    *,
    device: str,
    steps: int | None = None,
    checkpoint: Path | None = None,
    fingerprint: str = "",
) -> Trained:
    """Train `student` in place by a recipe; it is left with the weights of the epoch that retrieves best on validation.

    Args:
        student: on `device`.
        pairs: training data, with the targets that the recipe asks for.
        validate: gives the figures by which the best epoch is chosen.
        training: how.
        device: torch device.
        steps: steps an epoch; by default every picture once.
        checkpoint: file for resuming.
        fingerprint: of all inputs.
    """
    recipe = RECIPES[training.recipe]
    if recipe.shuffled:
        pairs = replace(pairs, targets=of_others(pairs.targets, training.seed))
    steps = steps or len(pairs.captions) // training.batch
    if steps * training.batch > len(pairs.captions):
        raise InputError(
            f"{training.recipe}: {len(pairs.captions)} pictures, expected {steps * training.batch} for {steps} steps "
            f"of {training.batch}; give it more pictures (sample.base_pairs) or lower student.batch"
        )

    def losses(batch: StudentBatch) -> dict[str, Tensor]:
        return {name: training.weights.get(name, 1.0) * term for name, term in recipe.terms(batch).items()}

    optimizer = torch.optim.AdamW(student.parameter_groups(training.weight_decay), lr=training.lr, fused=True)
    total = steps * training.epochs
    loop = Loop(
        what="student", module=student, optimizer=optimizer,
        schedule=warmup_cosine(optimizer, warmup=max(1, total // 20), steps=total),
        epochs=training.epochs, seed=training.seed,
        batches=lambda epoch: _batches(student, recipe, pairs, training, device, epoch, steps),
        losses=losses, validate=validate,
        better=lambda new, old: retrieval(new) > retrieval(old),
        checkpoint=checkpoint, fingerprint=fingerprint,
    )  # fmt: skip
    return loop.run()
