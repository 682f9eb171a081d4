"""Train the meta-teacher on cached features."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.machine.in_flight import collect, feed
from pipeline.retrieval.metrics import evaluate
from pipeline.teacher.data import FeatureSet, TeacherBatch
from pipeline.teacher.model import MetaTeacher
from pipeline.training import objectives
from pipeline.training.loop import Loop, Trained, differentiate
from pipeline.training.schedule import warmup_cosine


@dataclass(frozen=True)
class TeacherTraining:
    """How the teacher is trained; published values in brackets.

    Attributes:
        epochs: passes over the images, a caption drawn for each (5 with B towers, 1 with L).
        batch: images a step (32-64).
        lr: of Adam (1e-5).
        temperature: of InfoNCE (0.05).
        caption_dropout: share of rows whose text stream is masked, so that the teacher can embed an image alone
            (none published).
        seed: of weights, order and dropout.
    """

    epochs: int
    batch: int
    lr: float
    temperature: float
    caption_dropout: float
    seed: int


def embed_by_batches(
    teacher: MetaTeacher,
    features: FeatureSet,
    rows: NDArray[np.int64],
    captions: NDArray[np.int64],
    *,
    with_text: bool,
    batch: int = 512,
) -> Iterator[Tensor]:
    """z of manifest rows, each with one of its captions or, without text, alone: unit float32 [batch, d]."""
    device = str(next(teacher.parameters()).device)

    def load(start: int) -> TeacherBatch:
        part = slice(start, start + batch)
        return features.batch(rows[part], captions[part], np.full(len(rows[part]), with_text))

    def forward(b: TeacherBatch) -> Tensor:
        with torch.inference_mode():
            z: Tensor = teacher(b.regions, b.region_mask, b.spans, b.span_mask)
        return z

    yield from collect(device, map(forward, feed(device, load, range(0, len(rows), batch))))


def embed(
    teacher: MetaTeacher,
    features: FeatureSet,
    rows: NDArray[np.int64],
    captions: NDArray[np.int64],
    *,
    with_text: bool,
    batch: int = 512,
) -> Tensor:
    """All of `embed_by_batches`, unit float32 [n, d]."""
    return torch.cat(list(embed_by_batches(teacher, features, rows, captions, with_text=with_text, batch=batch)))


def embed_images(teacher: MetaTeacher, features: FeatureSet, batch: int = 512) -> Tensor:
    """z of every image alone (text stream masked), unit float32 [n, d].

    Of a teacher that reads no images it is the mean of what it makes of the image's captions, made unit again.
    """
    if features.reads_images:
        return torch.cat(list(images_by_batches(teacher, features, batch)))
    return means_of_pairs(embed_pairs(teacher, features, batch), np.diff(features.caption_start))


def means_of_pairs(pairs: Tensor, counts: NDArray[np.int64]) -> Tensor:
    """Of some images with so many captions each the means of their z, made unit again: float32 [images, d]."""
    owner = torch.from_numpy(np.repeat(np.arange(len(counts)), counts))
    return F.normalize(torch.zeros(len(counts), pairs.shape[1]).index_add_(0, owner, pairs), dim=-1)


def images_by_batches(teacher: MetaTeacher, features: FeatureSet, batch: int = 512) -> Iterator[Tensor]:
    """z of every image alone, a batch after the other, of a teacher that reads images."""
    rows = np.arange(len(features))
    return embed_by_batches(teacher, features, rows, np.zeros_like(rows), with_text=False, batch=batch)


def embed_pairs(teacher: MetaTeacher, features: FeatureSet, batch: int = 512) -> Tensor:
    """z of every image with each of its captions, unit float32 [captions, d], in the order of the captions table."""
    return torch.cat(list(pairs_by_batches(teacher, features, batch)))


def pairs_by_batches(teacher: MetaTeacher, features: FeatureSet, batch: int = 512) -> Iterator[Tensor]:
    """The same, a batch after the other."""
    rows = np.repeat(np.arange(len(features)), np.diff(features.caption_start))
    captions = np.arange(len(rows)) - features.caption_start[rows]
    return embed_by_batches(teacher, features, rows, captions, with_text=True, batch=batch)


def retrieval_of(z: Tensor, features: FeatureSet) -> dict[str, float]:
    """Recall@1 both ways of image targets against the frozen caption embeddings of the same samples."""
    owner = np.repeat(np.arange(len(features)), np.diff(features.caption_start))
    figures = evaluate(z.numpy(), features.caption_embeddings.astype(np.float32), owner)
    return {
        "text_to_image": float(figures["text_to_image"]["recall@1"].mean()),
        "image_to_text": float(figures["image_to_text"]["recall@1"].mean()),
    }


def train(
    teacher: MetaTeacher,
    features: FeatureSet,
    validation: FeatureSet,
    training: TeacherTraining,
    *,
    checkpoint: Path | None = None,
    fingerprint: str = "",
) -> Trained:
    """Train by symmetric InfoNCE(z, frozen CLIP embedding of the caption); equal captions are positives.

    z has read the caption that it is scored against (the published leak). `caption_dropout` makes a share of the rows
    do without, and the best epoch is chosen by what image-only targets retrieve on validation data; with none, as
    published, those are not trained, and the last epoch is taken.
    """
    device = str(next(teacher.parameters()).device)
    captioned = features.captioned
    steps = len(captioned) // training.batch

    def batches(epoch: int, done: int) -> Iterator[TeacherBatch]:
        order = captioned[np.random.default_rng([training.seed, epoch]).permutation(len(captioned))]

        def load(step: int) -> TeacherBatch:
            rng = np.random.default_rng([training.seed, epoch, step])
            rows = order[step * training.batch : (step + 1) * training.batch]
            with_text = (rng.random(len(rows)) >= training.caption_dropout) | (not features.reads_images)
            return features.batch(rows, features.random_captions(rows, rng), with_text)

        return feed(device, load, range(done, steps))

    def losses(b: TeacherBatch) -> dict[str, Tensor]:
        z = teacher(b.regions, b.region_mask, b.spans, b.span_mask)
        return {"contrastive": objectives.contrastive(z, b.caption, 1 / training.temperature, b.same)}

    def validate(module: nn.Module) -> dict[str, float]:
        figures = retrieval_of(embed_images(teacher, validation), validation)
        return {f"val_{name}_recall@1": value for name, value in figures.items()}

    def score(figures: dict[str, float]) -> float:
        return figures["val_text_to_image_recall@1"] + figures["val_image_to_text_recall@1"]

    blind = training.caption_dropout == 0 and features.reads_images
    optimizer = torch.optim.Adam(teacher.parameters(), lr=training.lr, fused=True)
    total = training.epochs * steps
    schedule = warmup_cosine(optimizer, warmup=max(1, total // 20), steps=total)
    calls: dict[str, Any] = {"batches": batches, "backward": differentiate(losses), "validate": validate}
    calls["better"] = lambda new, old: blind or score(new) > score(old)
    limits: dict[str, Any] = {"epochs": training.epochs, "seed": training.seed, "steps": steps}
    resumed: dict[str, Any] = {"checkpoint": checkpoint, "fingerprint": fingerprint}
    trained = Loop("teacher", teacher, optimizer, schedule, **calls, **limits, **resumed).run()
    teacher.eval()
    return trained
