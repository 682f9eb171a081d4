"""The losses, one function each, pure functions of embeddings. All embeddings are unit-length float32.

Notation: f_I image, f_T text, z target, s = 1/tau the scale (the inverse temperature); n images, m texts, h negatives.

torch is imported where a function calls it, since recipes name these functions and parameters only ask recipes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def contrastive(
    image: Tensor,
    text: Tensor,
    scale: Tensor | float,
    positives: Tensor | None = None,
    negatives: Tensor | None = None,
    allowed: Tensor | None = None,
) -> Tensor:
    """Symmetric InfoNCE with any number of positives a row, and captions that are only negatives.

    L = -1/2 [ mean_i sum_j P_ij log softmax_j(s <f_I_i, f_T_j>) + mean_j sum_i Q_ij log softmax_i(s <f_I_i, f_T_j>) ],
    P_ij = 1/|positives of image i| and Q_ij = 1/|positives of text j| on positives, 0 elsewhere. With one positive each
    this is CLIP's loss. Negatives are further columns of the first softmax (NegCLIP, arXiv 2210.01936).

    Args:
        image: [n, d].
        text: [m, d].
        scale: s.
        positives: bool [n, m], whether text j is right for image i; the diagonal by default. An image without one is
            left out of the first sum.
        negatives: [h, d], texts that are right for no image.
        allowed: bool [n, h], false where a negative is right for an image after all.
    """
    import torch
    import torch.nn.functional as F

    logits = scale * image @ text.T
    wide = logits
    if negatives is not None:
        extra = scale * image @ negatives.T
        wide = torch.cat([logits, extra if allowed is None else extra.masked_fill(~allowed, -inf)], dim=1)
    if positives is None:
        labels = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(wide, labels) + F.cross_entropy(logits.T, labels)) / 2
    if len(text) == 0:
        return logits.sum()
    wanted = positives.float()
    paired = positives.any(dim=1)
    row_shares = wanted / wanted.sum(dim=1, keepdim=True).clamp(min=1)
    column_shares = wanted / wanted.sum(dim=0, keepdim=True)
    rows = -(row_shares * wide.log_softmax(dim=1)[:, : len(text)]).sum(dim=1)[paired].mean()
    columns = -(column_shares * logits.log_softmax(dim=0)).sum(dim=0).mean()
    return (rows + columns) / 2


def sigmoid(
    image: Tensor,
    text: Tensor,
    scale: Tensor | float,
    bias: Tensor | float,
    positives: Tensor | None = None,
    negatives: Tensor | None = None,
    allowed: Tensor | None = None,
) -> Tensor:
    """SigLIP's loss (arXiv 2303.15343, eq. 1): whether an image and a text belong together, of every two by themselves.

    L = -1/m sum_ij log sigmoid(z_ij (s <f_I_i, f_T_j> + b)), z_ij 1 on positives, -1 elsewhere and for negatives. With
    one text an image m is the batch.

    Args:
        image: [n, d].
        text: [m, d].
        scale: s.
        bias: b, which begins below zero, since nearly all z are -1.
        positives: bool [n, m], any number in a row; the diagonal by default.
        negatives: [h, d], as in `contrastive`.
        allowed: bool [n, h], as in `contrastive`.
    """
    import torch
    import torch.nn.functional as F

    together = torch.eye(len(image), dtype=torch.bool, device=image.device) if positives is None else positives
    logits = scale * image @ text.T + bias
    total = F.logsigmoid(torch.where(together, logits, -logits)).sum()
    if negatives is not None:
        apart = F.logsigmoid(-(scale * image @ negatives.T + bias))
        total = total + (apart if allowed is None else apart.masked_fill(~allowed, 0.0)).sum()
    return -total / len(text)


def cosine_distance(found: Tensor, target: Tensor) -> Tensor:
    """mean_i (1 - cos(found_i, target_i)), in 0..2: DCLIP's pull to the teacher, and preservation of the base."""
    import torch.nn.functional as F

    return (1 - F.cosine_similarity(found, target, dim=-1)).mean()


def squared_distance(found: Tensor, target: Tensor) -> Tensor:
    """mean_i || found_i - target_i ||^2: feature distillation (CLIP-KD), random alignment (RaFA)."""
    return (found - target).square().sum(dim=-1).mean()


def divergence(
    found: Tensor, targets: Tensor | Sequence[Tensor], positives: Tensor | None = None, alpha: float = 0.0
) -> Tensor:
    """How far the similarities of a batch are from those wanted, both ways.

    L = 1/2 [ mean_i KL(q_i || softmax_j found_ij) + the same along columns ], q_i = alpha P_i + (1 - alpha)
    mean_k softmax_j target^k_ij, with P as in `contrastive`. alpha 0 is plain distillation of pair similarities, of
    several teachers averaged after the softmax (MobileCLIP, arXiv 2311.17049, section 3.2), or preservation of the
    base's; alpha 1/2 is HyCD (CLIP-Refine, arXiv 2504.12717). No image or text has to belong to another, so images
    without captions are distilled, too; of no texts at all there is nothing to say, and L = 0.

    Args:
        found: logits s <f_I_i, f_T_j>, [n, m].
        targets: logits [n, m] of one teacher, or of several; no gradient goes into them.
        positives: bool [n, m]; needed if alpha > 0. An image without one has the teachers' share alone.
        alpha: share of the hard labels, 0..1.
    """
    import torch
    import torch.nn.functional as F

    if found.numel() == 0:
        return found.sum()
    teachers = [targets] if isinstance(targets, torch.Tensor) else targets
    parts = []
    for dim in (1, 0):
        wanted = torch.stack([target.detach().softmax(dim=dim) for target in teachers]).mean(dim=0)
        if alpha > 0:
            assert positives is not None, "hard labels are the positives"
            hard = positives.float()
            count = hard.sum(dim=dim, keepdim=True)
            mixed = alpha * hard / count.clamp(min=1) + (1 - alpha) * wanted
            wanted = torch.where(count > 0, mixed, wanted)
        kl = F.kl_div(found.log_softmax(dim=dim), wanted, reduction="none").sum(dim=dim)
        parts.append(kl.mean())
    return (parts[0] + parts[1]) / 2


def soft_cross_entropy(logits: Tensor, concepts: Tensor, shares: Tensor) -> Tensor:
    """-mean_i sum_m p_im log softmax_k(logits_ik) at k = c_im: concept classification against sparse soft labels.

    Args:
        logits: [n, K].
        concepts: c, int64 [n, m].
        shares: p, [n, m]; they sum to 1.
    """
    return -(shares * logits.log_softmax(dim=1).gather(1, concepts)).sum(dim=1).mean()


def sinkhorn(cost: Tensor, regularisation: Tensor | float, iterations: int = 10) -> Tensor:
    """The entropic optimal transport plan between uniform weights (Cuturi 2013, arXiv 1306.0895), no gradient.

    P = diag(u) exp(-cost / regularisation) diag(v), v and u in turn such that columns sum to 1/m and rows to 1/n; after
    the last turn rows do, columns nearly. In logarithms and float64, so that no kernel underflows.

    Args:
        cost: [n, m], n, m > 0.
        regularisation: above 0.
        iterations: turns; what S-CLIP (arXiv 2305.14095) takes by default.

    Returns:
        float [n, m] of the dtype of `cost`.
    """
    import torch

    with torch.no_grad():
        kernel = -cost.double() / regularisation
        row, column = -math.log(len(cost)), -math.log(cost.shape[1])
        u = torch.full_like(kernel[:, 0], row)
        v = torch.full_like(kernel[0], column)
        for _ in range(iterations):
            v = column - (kernel + u[:, None]).logsumexp(dim=0)
            u = row - (kernel + v[None, :]).logsumexp(dim=1)
        return (u[:, None] + kernel + v[None, :]).exp().to(cost.dtype)


def soft_labels(logits: Tensor, shares: Tensor) -> Tensor:
    """-mean_i sum_k p_ik log softmax_k(logits_ik): cross entropy against soft labels; both [n, K]."""
    return -(shares * logits.log_softmax(dim=1)).sum(dim=1).mean()


def within(logits: Tensor, candidates: Tensor) -> Tensor:
    """Cross entropy against labels of which only candidates are known: the model's own shares among them.

    -mean_i sum_k p_ik log softmax_k(logits_ik), p_i = softmax over the candidates of row i, no gradient into it; a row
    without one adds nothing. S-CLIP (arXiv 2305.14095) shares by cosine there, which can be negative.

    Args:
        logits: [n, K].
        candidates: bool [n, K].
    """
    shares = logits.detach().masked_fill(~candidates, -inf).softmax(dim=1).nan_to_num(0.0)
    return soft_labels(logits, shares)
