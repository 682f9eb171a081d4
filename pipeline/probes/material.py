"""What is probed: captions of the train and test splits under every model, images, concept labels."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.catalog import CAPTION_EMBEDDINGS, CONCEPTS, EMBEDDED, LANGUAGE
from pipeline.artifacts.schema import Split
from pipeline.artifacts.tables import ContractError, Table
from pipeline.artifacts.workspace import Workspace
from pipeline.disk import files
from pipeline.probes.attributes import AttributeSet
from pipeline.probes.captions import NearMisses, Words
from pipeline.probes.drawn import drawn
from pipeline.probes.measure import Labels

Floats = NDArray[np.float32]
BASE = "base"


class Material:
    """The captions that text probes learn from, those that they are measured on, and images, under every model.

    The base's embeddings are those of the stage `features`, a student's those of `embed`.

    Args:
        most: training captions, at most; drawn where there are more.

    Attributes:
        owner: the image of every test caption, int64 [c].

    Raises:
        ContractError: tables are missing, or of another manifest or base.
    """

    def __init__(self, ws: Workspace, *, most: int, seed: int) -> None:
        self.ws = ws
        self._train, self._test = (ws.manifest(split) for split in (Split.TRAIN, Split.TEST))
        self._base = ws.table(EMBEDDED[BASE, "attribute_images"]).metadata["weights"]
        self._drawn = drawn(len(self._train.texts), most, seed)
        self.training = [self._train.texts[i] for i in self._drawn]
        self.test, self.owner = self._test.texts, self._test.owner

    def words(self, count: int) -> Words:
        """The word probe, of at most `count` words."""
        return Words.build(self.training, self.test, count)

    def near_misses(self, near: int) -> NearMisses:
        """Test captions and the `near` near-misses of each."""
        return NearMisses.build(self.test, self.owner, near)

    def captions(self, model: str) -> tuple[Floats, Floats]:
        """A model's embeddings of training and test captions, unit float32 [n, d] and [c, d].

        Raises:
            ContractError: others were drawn when they were embedded.
        """
        if model == BASE:
            return self._rows(self.ws.table(CAPTION_EMBEDDINGS, self._train, weights=self._base))
        training, test = (self._embedded(model, what) for what in ("training_captions", "captions"))
        owner, index = self._train.owner[self._drawn], self._train.caption_index[self._drawn]
        wanted = [(self._train.keys[i], place) for i, place in zip(owner, index, strict=True)]
        if list(zip(training.strings("key"), training.integers("caption_index"), strict=True)) != wanted:
            raise ContractError(f"{training.path} holds other captions than the probes draw; run: dvc repro embed")
        return training.vectors().astype(np.float32), test.rows_of(self._test.keys).astype(np.float32)

    def images(self, model: str) -> Floats:
        """The test images under a model, unit float32 [p, d]."""
        if model == BASE:
            return self.ws.images(self._test, weights=self._base).astype(np.float32)
        return self._embedded(model, "images").rows_of(self._test.keys).astype(np.float32)

    def attributes(self, model: str, shown: AttributeSet, folder: Path) -> Floats:
        """The images with attributes, which lie below a folder, under a model, unit float32 [n, d]."""
        table = self._embedded(model, "attribute_images")
        return table.lookup(files.names_below(folder, shown.paths)).astype(np.float32)

    def _embedded(self, model: str, what: str) -> Table:
        artifact = EMBEDDED[model, what]
        manifest = self._train if "manifest" in artifact.bound_to else None
        return self.ws.table(artifact, manifest, base=self._base)

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
        test, _ = self.ws.labels(self._test)
        return Labels(concepts[self._drawn], shares[self._drawn], test[:, 0].astype(np.int64), len(self._concepts))

    def _rows(self, table: Table) -> tuple[Floats, Floats]:
        def rows_of(keys: Sequence[str]) -> NDArray[np.float16]:
            return table.rows_of(keys)

        drawn_rows = rows_of(self._train.captioned)[self._drawn]
        return drawn_rows.astype(np.float32), rows_of(self._test.keys).astype(np.float32)
