"""What epochs and interpolation points are chosen by: retrieval and zero-shot on validation data."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.clip import encode
from pipeline.clip.encode import Compute
from pipeline.clip.towers import Clip
from pipeline.distillation.pairs import Pairs
from pipeline.retrieval.metrics import evaluate
from pipeline.training.loop import Figures
from pipeline.zeroshot import accuracy, classifier
from pipeline.zeroshot.sets import ZeroshotSet


@dataclass(frozen=True)
class Validator:
    """Retrieval and zero-shot of a CLIP on validation data.

    Attributes:
        class_pixels: its images, uint8 [n, 3, side, side].
        class_embeddings: the base's embeddings of them, float32 [n, d].
        class_weights: the base's, float32 [classes, d]: those of a student whose text tower is frozen.
    """

    pairs: Pairs
    classes: ZeroshotSet
    class_pixels: NDArray[np.uint8]
    class_embeddings: Tensor
    class_weights: Tensor
    train_text: bool
    compute: Compute

    def __call__(self, clip: Clip) -> Figures:
        """Recall@1 both ways, zero-shot top-1 of seen and unseen classes, and with it `..._error`.

        That is the standard error, over images, of the difference to the base's top-1.
        """
        rows = np.arange(len(self.pairs.captions))
        parts = (self.pairs.pixels[rows[start : start + self.compute.batch]] for start in rows[:: self.compute.batch])
        images = torch.cat(list(encode.images_of(clip, parts, self.compute))).numpy()
        if self.train_text:
            weights = classifier.class_weights(clip, self.classes, self.compute)
            texts = encode.texts(clip, [t for ts in self.pairs.captions for t in ts], self.compute).numpy()
        else:
            weights = self.class_weights
            texts = self.pairs.caption_embeddings.astype(np.float32)
        figures = evaluate(images, texts, self.pairs.owner)
        found = {f"val_{direction}_recall@1": float(f["recall@1"].mean()) for direction, f in figures.items()}
        right = self._right(classifier.image_embeddings(clip, self.class_pixels, self.compute), weights)
        change = right - self._right(self.class_embeddings, self.class_weights)
        seen = self.classes.seen[self.classes.labels]
        for name, part in (("zeroshot", seen), ("zeroshot_unseen", ~seen)):
            if part.any():
                found[f"val_{name}_top1"] = float(right[part].mean())
                found[f"val_{name}_top1_error"] = float(change[part].std() / np.sqrt(part.sum()))
        return found

    def _right(self, embeddings: Tensor, weights: Tensor) -> NDArray[np.float64]:
        """1 for every image whose class comes first, 0 for others."""
        return (accuracy.ranks(embeddings, weights, self.classes) <= 1).double().numpy()
