"""The frozen language model behind the feature store: a caption that was embedded once is never embedded again."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from pipeline.concepts.language import CODE, LanguageModel, Source
from pipeline.errors import InputError
from pipeline.machine.batches import batches
from pipeline.machine.progress import report_new, track
from pipeline.store import keys
from pipeline.store.collection import Collection

_STEP = 16
"""Texts go through the model with others whose length rounds up to the same multiple of this."""


class CachedLanguage:
    """A frozen language model and the collection that holds its embeddings, unit float16 [d].

    Args:
        source: how it is read; where it is stands in no fingerprint, its weights' hash does.
        batch: rows of every forward.
    """

    def __init__(self, model: LanguageModel, source: Source, batch: int, root: Path) -> None:
        self.model, self.batch = model, batch
        how = {name: value for name, value in asdict(source).items() if name not in ("name", "sha256")}
        made_with = {"code": CODE, "weights": model.weights, "batch": batch, **how}
        values = pa.schema([("vector", pa.list_(pa.float16(), model.dimension))])
        self.rows = Collection(root, "language", made_with, values)

    def embed(self, texts: Sequence[str]) -> int:
        """Embed those of some distinct texts that no row holds.

        Returns:
            how many were embedded.

        Raises:
            InputError: a text's embedding is zero or not finite.
        """
        wanted = keys.from_texts(texts)
        lacking = [int(i) for i in np.flatnonzero(self.rows.missing(wanted))]
        report_new("embed captions by the language model", len(lacking), len(wanted))
        if not lacking:
            return 0
        by_length: dict[int, list[int]] = defaultdict(list)
        for number, length in zip(lacking, self.model.lengths([texts[i] for i in lacking]), strict=True):
            by_length[min(-(-length // _STEP) * _STEP, self.model.limit)].append(number)
        parts = [(n, part) for n in sorted(by_length) for part in batches(by_length[n], self.batch)]
        with self.rows.writing() as writer:
            for length, part in track(parts, "embed captions by the language model", unit="batches"):
                found = F.normalize(self.model.embed([texts[i] for i in part], length, self.batch), dim=-1)
                if (bad := ~torch.isclose(found.norm(dim=-1), torch.ones(len(part)), atol=1e-3)).any():
                    raise InputError(
                        f"the language model gives no direction for {texts[part[int(bad.int().argmax())]]!r}"
                    )
                writer.add(wanted[part], found.numpy())
        return len(lacking)

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float16]:
        """Embeddings of texts that `embed` was given, float16 [n, d]."""
        return self.rows.vectors(keys.from_texts(texts))
