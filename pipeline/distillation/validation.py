"""What epochs and interpolation points are chosen by: retrieval and zero-shot on validation data."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.clip import encode
from pipeline.clip.encode import Compute
from pipeline.clip.towers import Clip
from pipeline.distillation.pairs import ImageRows, Pairs
from pipeline.retrieval.metrics import evaluate
from pipeline.training.loop import Figures
from pipeline.zeroshot import accuracy, classifier
from pipeline.zeroshot.sets import ZeroshotSet

AN_EPOCH = 24
"""Images of each class that an epoch is looked at with. It is chosen by retrieval; a point of interpolation, which is
chosen by zero-shot, too, is looked at with all."""


@dataclass(frozen=True)
class Validator:
    """Retrieval and zero-shot of a CLIP on validation data.

    Attributes:
        class_pixels: its images, uint8 [n, 3, side, side], mapped as those of `pairs` are: a batch is in memory.
        class_embeddings: the base's embeddings of those in `class_rows`, float32 [m, d].
        class_weights: the base's, float32 [classes, d]: those of a student whose text tower is frozen.
        class_rows: which of `class_pixels` are those of `classes`, int64 [m]; all of them if None.
    """

    pairs: Pairs
    classes: ZeroshotSet
    class_pixels: ImageRows
    class_embeddings: Tensor
    class_weights: Tensor
    train_text: bool
    compute: Compute
    class_rows: NDArray[np.int64] | None = None

    def __call__(self, clip: Clip) -> Figures:
        """Recall@1 both ways, zero-shot top-1 of seen and unseen classes, and with it `..._error`.

        That is the standard error, over images, of the difference to the base's top-1.
        """
        images = self._embedded(clip, self.pairs.pixels, np.arange(len(self.pairs.pixels))).numpy()
        if self.train_text:
            weights = classifier.class_weights(clip, self.classes, self.compute)
            texts = encode.texts(clip, [t for ts in self.pairs.captions for t in ts], self.compute).numpy()
        else:
            weights = self.class_weights
            texts = self.pairs.caption_embeddings.astype(np.float32)
        figures = evaluate(images, texts, self.pairs.owner)
        found = {f"val_{direction}_recall@1": float(f["recall@1"].mean()) for direction, f in figures.items()}
        right = self._right(self._embedded(clip, self.class_pixels, self._class_rows), weights)
        change = right - self._right(self.class_embeddings, self.class_weights)
        seen = self.classes.seen[self.classes.labels]
        for name, part in (("zeroshot", seen), ("zeroshot_unseen", ~seen)):
            if part.any():
                found[f"val_{name}_top1"] = float(right[part].mean())
                found[f"val_{name}_top1_error"] = float(change[part].std() / np.sqrt(part.sum()))
        return found

    def thinned(self, most: int = AN_EPOCH) -> "Validator":
        """The same with at most `most` images of each class, evenly spaced."""
        labels = self.classes.labels
        by_class = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        kept = np.sort(np.concatenate([of_one[:: -(-len(of_one) // most)] for of_one in by_class]))
        classes = replace(self.classes, paths=[self.classes.paths[i] for i in kept], labels=labels[kept])
        return replace(
            self, classes=classes, class_rows=self._class_rows[kept], class_embeddings=self.class_embeddings[kept]
        )

    @property
    def _class_rows(self) -> NDArray[np.int64]:
        return np.arange(len(self.class_pixels)) if self.class_rows is None else self.class_rows

    def _embedded(self, clip: Clip, pixels: ImageRows, rows: NDArray[np.int64]) -> Tensor:
        """Unit float32 [n, d] of the images in `rows`."""
        parts = (pixels[rows[start : start + self.compute.batch]] for start in range(0, len(rows), self.compute.batch))
        return torch.cat(list(encode.images_of(clip, parts, self.compute)))

    def _right(self, embeddings: Tensor, weights: Tensor) -> NDArray[np.float64]:
        """1 for every image whose class comes first, 0 for others."""
        return (accuracy.ranks(embeddings, weights, self.classes) <= 1).double().numpy()
