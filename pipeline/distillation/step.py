"""One training step: embed a batch in as many pieces and processes as it takes, lose over the whole of it.

Embeddings are small, activations are not. So the loss and its gradient are taken at the embeddings of the whole batch,
and only then go back through the towers, piece by piece (gradient caching: Gao et al. 2021, arXiv 2101.06983). The
gradients are those of the whole batch at once, in the memory of one piece; the price is a second forward. Processes
gather each other's embeddings, so that a batch's negatives are all of it, wherever they were embedded.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from pipeline.clip.encode import Compute
from pipeline.distillation.batches import Batch
from pipeline.distillation.recipes import Embedded, Recipe, Terms
from pipeline.distillation.student import Student
from pipeline.training.distributed import Group


class Step:
    """Adds the gradients of a batch to a student's parameters.

    Args:
        student: on its device.
        recipe: whose terms are minimised.
        weights: factor of every term.
        base_scale: 1/tau of the base.
        group: the processes that share a batch.
        chunk: pictures of this process that go through a tower at once; 0 for all, without a second forward.
        compute: device and dtype of the towers' forwards (autocast unless float32).
        compiled: whether the towers are compiled (torch.compile).
    """

    def __init__(
        self,
        student: Student,
        recipe: Recipe,
        weights: Mapping[str, float],
        *,
        base_scale: float,
        group: Group,
        chunk: int,
        compute: Compute,
        compiled: bool,
    ) -> None:
        assert recipe.terms is not None, "a closed form has no steps"
        self.student, self.terms, self.weights, self.base_scale = student, recipe.terms, weights, base_scale
        self.group, self.chunk, self.compute, self.compiled = group, chunk, compute, compiled
        self.prepare()

    def prepare(self) -> None:
        """Wrap the towers for several processes and compile them; again after other parameters are trained."""
        self.towers: Any = self.student.towers
        if self.group.size > 1 and any(p.requires_grad for p in self.towers.parameters()):
            self.towers = DistributedDataParallel(self.towers, broadcast_buffers=False)
        if self.compiled:
            torch.use_deterministic_algorithms(  # as it is already; this call tells the compiler, too
                torch.are_deterministic_algorithms_enabled(),
                warn_only=torch.is_deterministic_algorithms_warn_only_enabled(),
            )
            torch.compiler.reset()  # what was compiled does not notice that other parameters are trained
            self.towers = torch.compile(self.towers)

    def __call__(self, batch: Batch, scaler: torch.amp.GradScaler) -> Terms:
        """Terms of the batch, weighted; their gradients are added to `.grad` (averaged over processes, scaled)."""
        pieces = 1 if not self.chunk else -(-len(batch.pixels) // self.chunk)
        if pieces == 1:
            image, text = self._forward(batch.pixels, batch.tokens)
        else:
            with torch.no_grad():
                parts = [self._forward(*piece) for piece in self._pieces(batch, pieces)]
            image, text = torch.cat([p[0] for p in parts]), _joined([p[1] for p in parts])

        all_images = self.group.gather(image).requires_grad_()
        all_texts = None if text is None else self.group.gather(text).requires_grad_()
        terms = self.losses(batch, all_images, all_texts)
        scaler.scale(torch.stack(list(terms.values())).sum()).backward()
        self.group.average(self.student.heads)

        # Every process has the loss of the whole batch; DistributedDataParallel takes the mean of what each sends back.
        image_gradient = self._own(all_images)
        text_gradient = None if all_texts is None else self._own(all_texts)
        if pieces == 1:
            _backward((image, image_gradient), (text, text_gradient))
        else:
            gradients = zip(image_gradient.tensor_split(pieces), _split(text_gradient, pieces), strict=True)
            for i, (piece, (of_image, of_text)) in enumerate(zip(self._pieces(batch, pieces), gradients, strict=True)):
                with self._unsynchronised(i < pieces - 1):
                    image, text = self._forward(*piece)
                    _backward((image, of_image), (text, of_text))
        return {name: term.detach() for name, term in terms.items()}

    def losses(self, batch: Batch, image: Tensor, tokens: Tensor | None) -> Terms:
        """The recipe's terms of embedded pictures [B, d] and distinct texts [T, d] (or none, where f_T is frozen).

        With regions the pictures [2 B, d] of every process are followed by its regions.
        """
        student, region_in_target = self.student, None
        if batch.base_region is not None:
            image, region = image.unflatten(0, (self.group.size, 2, -1)).transpose(0, 1).flatten(1, 2)
            region_in_target = student.image_in_target(region)
        text = batch.base_text if tokens is None else tokens[batch.text_places]
        negatives = batch.negatives
        if tokens is not None and batch.allowed is not None:
            negatives = tokens[batch.negative_places]
        embedded = Embedded(
            image=image, text=text, scale=student.scale, owner=batch.owner, positives=batch.positives,
            image_in_target=student.image_in_target(image), text_in_target=student.text_in_target(text),
            target=batch.target, base_image=batch.base_image, base_text=batch.base_text, base_scale=self.base_scale,
            text_is_frozen=tokens is None, noise=batch.noise, negatives=negatives, allowed=batch.allowed,
            region_in_target=region_in_target, base_region=batch.base_region, language=batch.language,
            text_in_language=None if student.to_language is None else student.to_language(text),
            image_concepts=None if student.to_concepts is None else student.to_concepts(image),
            text_concepts=None if student.to_concepts is None else student.to_concepts(text),
            concepts=batch.concepts, shares=batch.shares,
        )  # fmt: skip
        terms = self.terms(embedded)
        return {name: self.weights.get(name, 1.0) * term for name, term in terms.items()}

    def _forward(self, pixels: Tensor, tokens: Tensor | None) -> tuple[Tensor, Tensor | None]:
        with self.compute.autocast():
            found: tuple[Tensor, Tensor | None] = self.towers(pixels, tokens)
        return found

    @staticmethod
    def _pieces(batch: Batch, pieces: int) -> Any:
        return zip(batch.pixels.tensor_split(pieces), _split(batch.tokens, pieces), strict=True)

    def _own(self, leaf: Tensor) -> Tensor:
        """The gradient at this process's rows, times the number of processes."""
        if leaf.grad is None:
            return torch.zeros_like(leaf)[self.group.part(len(leaf))]
        return leaf.grad[self.group.part(len(leaf))] * self.group.size

    def _unsynchronised(self, really: bool) -> Any:
        inner = getattr(self.towers, "_orig_mod", self.towers)
        return inner.no_sync() if really and isinstance(inner, DistributedDataParallel) else nullcontext()


def _split(rows: Tensor | None, pieces: int) -> Any:
    return [None] * pieces if rows is None else rows.tensor_split(pieces)


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    found = [part for part in parts if part is not None]
    return torch.cat(found) if found else None


def _backward(*given: tuple[Tensor | None, Tensor | None]) -> None:
    pairs = [(value, gradient) for value, gradient in given if value is not None and value.requires_grad]
    if pairs:
        torch.autograd.backward([value for value, _ in pairs], [gradient for _, gradient in pairs])
