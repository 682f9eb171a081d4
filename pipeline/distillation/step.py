"""One training step: embed a batch in as many pieces and processes as it takes, lose over the whole of it.

Embeddings are small, activations are not. So the loss and its gradient are taken at the embeddings of the whole batch,
and only then go back through the towers, piece by piece (gradient caching: Gao et al. 2021, arXiv 2101.06983). The
gradients are those of the whole batch at once, in the memory of one piece; the price is a second forward. Processes
gather each other's embeddings, so that a batch's negatives are all of it, wherever they were embedded.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from pipeline.clip.encode import Compute
from pipeline.distillation.batches import Batch, KnowledgeBatch
from pipeline.distillation.student import Student
from pipeline.machine.compiling import compiled
from pipeline.recipes import Recipe
from pipeline.recipes.embedded import Embedded, EmbeddedKnowledge, EmbeddedNegatives, EmbeddedRegions, EmbeddedTeacher
from pipeline.recipes.registry import Terms
from pipeline.training.distributed import Group


class Step:
    """Adds the gradients of a batch to a student's parameters.

    Args:
        weights: factor of every term.
        base_scale: 1/tau of the base.
        micro_batch: images of this process that go through a tower at once; 0 for all, without a second forward.
        compute: device and dtype of the towers' forwards (autocast unless float32).
    """

    def __init__(
        self,
        student: Student,
        recipe: Recipe,
        weights: Mapping[str, float],
        *,
        base_scale: float,
        group: Group,
        micro_batch: int,
        compute: Compute,
        compiled: bool,
    ) -> None:
        assert recipe.terms is not None, "a closed form has no steps"
        self.student, self.terms, self.weights, self.base_scale = student, recipe.terms, weights, base_scale
        self.group, self.micro_batch, self.compute, self.compiled = group, micro_batch, compute, compiled
        self.prepare()

    def prepare(self) -> None:
        """Wrap the towers for several processes and compile them; again after other parameters are trained."""
        self.towers: Any = self.student.towers
        if self.group.size > 1 and any(p.requires_grad for p in self.towers.parameters()):
            self.towers = DistributedDataParallel(self.towers, forward_sync_buffers=False)
        if self.compiled:
            torch.compiler.reset()  # what was compiled does not notice that other parameters are trained
            self.towers = compiled(self.towers)

    def __call__(self, batch: Batch, scaler: torch.amp.GradScaler) -> Terms:
        """Terms of the batch, weighted; their gradients are added to `.grad` (averaged over processes, scaled)."""
        images, tokens = batch.tower_images, None if batch.texts is None else batch.texts.tokens
        pieces = 1 if not self.micro_batch else -(-len(images) // self.micro_batch)
        if pieces == 1:
            image, text = self._forward(images, tokens)
        else:
            inputs = list(zip(images.tensor_split(pieces), _split(tokens, pieces), strict=True))
            with torch.no_grad():
                parts = [self._forward(*piece) for piece in inputs]
            image, text = torch.cat([p[0] for p in parts]), _joined([p[1] for p in parts])

        all_images = self.group.gather(image).requires_grad_()
        all_texts = None if text is None else self.group.gather(text).requires_grad_()
        terms = self.losses(batch, all_images, all_texts)
        scaler.scale(torch.stack(list(terms.values())).sum()).backward()
        self.group.average(self.student.heads)

        # Every process has the loss of the whole batch; DistributedDataParallel takes the mean of what each sends back.
        image_gradient = self._local_gradient(all_images)
        text_gradient = None if all_texts is None else self._local_gradient(all_texts)
        if pieces == 1:
            _backward((image, image_gradient), (text, text_gradient))
        else:
            gradients = zip(image_gradient.tensor_split(pieces), _split(text_gradient, pieces), strict=True)
            for i, (piece, (image_part, text_part)) in enumerate(zip(inputs, gradients, strict=True)):
                with self._unsynchronised(i < pieces - 1):
                    image, text = self._forward(*piece)
                    _backward((image, image_part), (text, text_part))
        return {name: term.detach() for name, term in terms.items()}

    def losses(self, batch: Batch, images: Tensor, texts: Tensor | None) -> Terms:
        """The recipe's terms.

        Args:
            images: `batch.tower_images` of all processes, embedded.
            texts: the distinct texts of the batch, [T, d]; None where f_T is frozen.
        """
        terms = self.terms(self._embedded(batch, images, texts))
        return {name: self.weights.get(name, 1.0) * term for name, term in terms.items()}

    def _embedded(self, batch: Batch, images: Tensor, texts: Tensor | None) -> Embedded:
        student = self.student
        image, region = batch.separated(images, self.group.size)
        text, negative = batch.base_text, batch.negatives.base if batch.negatives else None
        phrase = batch.base_phrase
        if texts is not None and batch.texts is not None:
            text, negative = texts[batch.texts.places], texts[batch.texts.negative_places]
            phrase = None if phrase is None else texts[batch.texts.phrase_places]
        regions = negatives = None
        if batch.regions is not None and region is not None:
            regions = EmbeddedRegions(region, student.image_in_base(region), batch.regions.base)
        if batch.negatives is not None and negative is not None:
            negatives = EmbeddedNegatives(negative, batch.negatives.allowed)
        return Embedded(
            image=image,
            text=text,
            scale=student.scale,
            bias=student.bias,
            owner=batch.owner,
            positives=batch.positives,
            image_in_base=student.image_in_base(image),
            image_in_target=student.image_in_target(image),
            text_in_base=student.text_in_base(text),
            base_text=batch.base_text,
            base_scale=self.base_scale,
            text_is_frozen=texts is None,
            noise=batch.noise,
            base_image=batch.base_image,
            target=batch.target,
            target_text=batch.base_text if batch.target_text is None else batch.target_text,
            target_scale=self.base_scale if batch.target_scale is None else batch.target_scale,
            negatives=negatives,
            regions=regions,
            phrase=phrase,
            phrase_pairs=batch.phrase_pairs,
            teachers=[EmbeddedTeacher(**vars(teacher)) for teacher in batch.teachers],
            knowledge=None if batch.knowledge is None else self._compared(batch.knowledge, image, text),
        )

    def _compared(self, knowledge: KnowledgeBatch, image: Tensor, text: Tensor) -> EmbeddedKnowledge:
        """Knowledge of the captions beside what the student's heads make of its embeddings."""
        to_language, to_concepts = self.student.to_language, self.student.to_concepts
        assert to_language is not None and to_concepts is not None, "a student that is given knowledge has its heads"
        return EmbeddedKnowledge(
            language=knowledge.language,
            text_in_language=to_language(text),
            image_concepts=to_concepts(image),
            text_concepts=to_concepts(text),
            concepts=knowledge.concepts,
            shares=knowledge.shares,
        )

    def _forward(self, pixels: Tensor, tokens: Tensor | None) -> tuple[Tensor, Tensor | None]:
        with self.compute.autocast():
            found: tuple[Tensor, Tensor | None] = self.towers(pixels, tokens)
        return found

    def _local_gradient(self, leaf: Tensor) -> Tensor:
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
