"""The batches of an epoch in a fixed order, gathered by threads: the same for the same seed, from any step on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.distillation.batches import Batch, KnowledgeBatch, NegativeBatch, RegionBatch, TextBatch
from pipeline.distillation.pairs import Floats, Knowledge, Negatives, Numbers, Pairs, Regions, spread
from pipeline.distillation.shown import Shown
from pipeline.machine.in_flight import feed
from pipeline.training.distributed import Group


def epoch_order(pairs: Pairs, batch: int, captions: int | None, seed: int, epoch: int) -> list[tuple[Numbers, Numbers]]:
    """An epoch's batches: image rows [batch], and which of their captions, flat, ordered by image.

    Args:
        batch: images a batch; what is left over is in other epochs.
        captions: how many captions of each image are drawn, at most; None for all. With rewrites, as many are drawn
            from captions and rewrites together (LaCLIP, arXiv 2305.20088).
        seed: of the order, with `epoch`.
        epoch: from 1.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(pairs.captions))
    place, first, taken = pairs.drawn(captions, rng)
    batches = (order[start : start + batch] for start in range(0, len(order) - batch + 1, batch))
    return [(rows, place[spread(first[rows], taken[rows])]) for rows in batches]


def _float(values: Floats, rows: Numbers) -> Tensor:
    return torch.from_numpy(values[rows].astype(np.float32))


@dataclass(frozen=True)
class Loader:
    """Batches of pairs, gathered by threads while the model computes.

    Attributes:
        tokenize: texts to token ids; None where the text tower is frozen.
        batch: images a batch, over all processes.
        captions: captions of an image in a batch, at most; None for all.
        seed: of order, captions and noise.
        per_image: whether targets are of images (or of pairs).
        threads: that gather, or decode.
    """

    pairs: Pairs
    tokenize: Callable[[list[str]], Tensor] | None
    batch: int
    captions: int | None
    seed: int
    per_image: bool
    group: Group
    device: str
    threads: int

    def __call__(self, epoch: int, steps: int, skip: int = 0) -> Iterator[Batch]:
        """The batches `skip`, `skip` + 1, ... below `steps` of an epoch, on the device."""
        order = epoch_order(self.pairs, self.batch, self.captions, self.seed, epoch)[:steps]
        _ = self.tokens  # once, before threads ask for them

        def load(number: int) -> Batch:
            return self.gather(*order[number], np.random.default_rng([self.seed, epoch, number]))

        yield from feed(self.device, load, range(skip, len(order)), threads=self.threads)

    def gather(self, rows: Numbers, captions: Numbers, rng: np.random.Generator) -> Batch:
        """One batch: image rows, flat places of their captions, and a generator for its noise, regions and views."""
        pairs = self.pairs
        ids = pairs.caption_ids[captions]
        wrong = pairs.negatives_of(rows, ids)
        width = pairs.caption_embeddings.shape[1]
        noise = rng.standard_normal((len(rows), width), dtype=np.float32) * np.float32(width**-0.5)
        place = np.zeros(len(pairs.captions), dtype=np.int64)
        place[rows] = np.arange(len(rows))
        part = self.group.part(len(rows))
        pixels = np.ascontiguousarray(pairs.pixels[rows[part]])
        shown = Shown.drawn(pairs, rows, captions, rng)
        regions = None if pairs.regions is None else self._regions(pairs.regions, shown, pixels)
        if pairs.views is not None:
            pixels = shown.views_of(pairs.views, pixels, part)
        return Batch(
            names=[pairs.names[i] if len(pairs.names) else f"row {i}" for i in rows],
            pixels=torch.from_numpy(pixels),
            owner=torch.from_numpy(place[pairs.owner[captions]]),
            positives=torch.from_numpy(pairs.belongs(rows, ids)),
            base_text=_float(pairs.caption_embeddings, captions),
            noise=torch.from_numpy(noise),
            base_image=None if pairs.image_embeddings is None else _float(pairs.image_embeddings, rows),
            target=None if pairs.targets is None else _float(pairs.targets, rows if self.per_image else captions),
            target_text=None if pairs.target_space is None else _float(pairs.target_space.captions, captions),
            target_scale=None if pairs.target_space is None else pairs.target_space.scale,
            texts=None if self.tokens is None else self._texts(ids, pairs.negative_ids[wrong], shown.phrases),
            negatives=None if pairs.negatives is None else self._negatives(pairs.negatives, rows, wrong),
            regions=regions,
            base_phrase=None if pairs.phrases is None else _float(pairs.phrases.embeddings, shown.phrases),
            phrase_pairs=None if pairs.phrases is None else torch.from_numpy(pairs.phrases.pairs(captions)),
            teachers=tuple(shown.by(teacher) for teacher in pairs.teachers),
            knowledge=None if pairs.knowledge is None else self._knowledge(pairs.knowledge, captions),
        )

    @cached_property
    def tokens(self) -> Tensor | None:
        """Token ids of every text by its number, int32 [texts, context]; None where the text tower is frozen."""
        return None if self.tokenize is None else self.tokenize(self.pairs.numbered).int()

    def _texts(self, captions: Numbers, negatives: Numbers, phrases: Numbers) -> TextBatch:
        """This process's part of the distinct texts, given by their numbers, and each one's place among all."""
        groups = [captions, negatives, self.pairs.phrase_ids[phrases]]
        distinct, places = np.unique(np.concatenate(groups), return_inverse=True)
        assert self.tokens is not None, "a trained text tower reads tokens"
        read = self.group.padded(self.tokens[torch.from_numpy(distinct)].long())
        return TextBatch(read[self.group.part(len(read))], *torch.from_numpy(places).split([*map(len, groups)]))

    def _negatives(self, negatives: Negatives, rows: Numbers, wrong: Numbers) -> NegativeBatch:
        allowed = ~self.pairs.belongs(rows, self.pairs.negative_ids[wrong])
        base = None if negatives.embeddings is None else _float(negatives.embeddings, wrong)
        return NegativeBatch(torch.from_numpy(allowed), base)

    def _regions(self, regions: Regions, shown: Shown, pixels: NDArray[np.uint8]) -> RegionBatch:
        """The regions drawn of these images; `pixels` are those of this process's images."""
        part = self.group.part(len(shown.rows))
        found = regions.pixels(pixels, shown.rows[part], shown.regions[part])
        return RegionBatch(torch.from_numpy(found), _float(regions.embeddings, shown.regions))

    @staticmethod
    def _knowledge(knowledge: Knowledge, captions: Numbers) -> KnowledgeBatch:
        concepts = torch.from_numpy(knowledge.concepts[captions].astype(np.int64))
        return KnowledgeBatch(_float(knowledge.language, captions), concepts, _float(knowledge.shares, captions))
