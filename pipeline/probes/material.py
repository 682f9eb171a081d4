"""What is probed: captions of the train and test splits under every model, test pictures, concept labels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.catalog import CAPTION_EMBEDDINGS, CONCEPTS, LANGUAGE
from pipeline.artifacts.schema import Split
from pipeline.artifacts.tables import Table
from pipeline.artifacts.workspace import Workspace
from pipeline.clip import encode, pictures
from pipeline.clip.encode import Compute
from pipeline.clip.towers import Clip
from pipeline.probes.captions import NearMisses, Words
from pipeline.probes.measure import Labels

Floats = NDArray[np.float32]


class Material:
    """The captions that text probes learn from, those that they are measured on, and the test pictures.

    Args:
        ws: the folder with a folder for every stage.
        base: hash of the base's weights.
        most: training captions, at most; drawn where there are more.
        seed: of the draw.

    Attributes:
        training: texts of the drawn training captions.
        test: texts of the test captions.
        owner: the picture of every test caption, int64 [c].

    Raises:
        ContractError: tables are missing, or of another manifest or base.
    """

    def __init__(self, ws: Workspace, base: str, *, most: int, seed: int) -> None:
        self.ws, self._base = ws, base
        self._train, self._test = (ws.manifest(split) for split in (Split.TRAIN, Split.TEST))
        every = [text for own in self._train.captions for text in own]
        drawn = np.random.default_rng(seed).choice(len(every), size=min(most, len(every)), replace=False)
        self._drawn: NDArray[np.int64] = np.sort(drawn)
        self.training = [every[i] for i in self._drawn]
        self.test = [text for own in self._test.captions for text in own]
        self.owner: NDArray[np.int64] = np.repeat(np.arange(len(self._test)), [len(own) for own in self._test.captions])

    def words(self, count: int) -> Words:
        """The word probe, of at most `count` words."""
        return Words.of(self.training, self.test, count)

    def near_misses(self, near: int) -> NearMisses:
        """Test captions and the `near` near-misses of each."""
        return NearMisses.of(self.test, self.owner, near)

    def cached(self) -> tuple[Floats, Floats]:
        """The base's embeddings of training and test captions, unit float32 [n, d] and [c, d]."""
        return self._rows(self.ws.table(CAPTION_EMBEDDINGS, self._train, weights=self._base))

    def embedded(self, clip: Clip, compute: Compute) -> tuple[Floats, Floats]:
        """Another model's embeddings of the same captions."""
        training, test = (encode.texts(clip, texts, compute).numpy() for texts in (self.training, self.test))
        return training, test

    def images(self, clip: Clip, compute: Compute) -> Floats:
        """The test pictures under a model, unit float32 [p, d]; the base's are read from the cache."""
        if clip.weights == self._base:
            return self.ws.images(self._test, weights=self._base).astype(np.float32)
        return pictures.embed(clip, self._test.pictures, compute, "embed test pictures").numpy()

    @cached_property
    def _concepts(self) -> Table:
        return self.ws.table(CONCEPTS, self._train)

    def language(self) -> tuple[Floats, Floats] | None:
        """The language model's embeddings of the same captions; None where concepts are not enabled."""
        if not len(self._concepts):
            return None
        return self._rows(self.ws.table(LANGUAGE, self._train))

    def labels(self) -> Labels | None:
        """Concepts of the same captions; None where concepts are not enabled."""
        if not len(self._concepts):
            return None
        concepts, shares = self.ws.labels(self._train)
        of_test, _ = self.ws.labels(self._test)
        return Labels(concepts[self._drawn], shares[self._drawn], of_test[:, 0].astype(np.int64), len(self._concepts))

    def _rows(self, table: Table) -> tuple[Floats, Floats]:
        def of(keys: Sequence[str]) -> NDArray[np.float16]:
            return table.of(keys)

        return of(self._train.keys)[self._drawn].astype(np.float32), of(self._test.keys).astype(np.float32)
