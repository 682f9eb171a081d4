"""The losses, one function each, pure functions of embeddings. All embeddings are unit-length float32 [n, d].

Notation: f_I image, f_T text, z teacher target, tau temperature (a scale is 1/tau).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive(image: Tensor, text: Tensor, scale: Tensor | float, same: Tensor | None = None) -> Tensor:
    """Symmetric InfoNCE with any number of positives a row.

    L = -1/2 [ mean_i sum_j P_ij log softmax_j(s <f_I_i, f_T_j>) + the same with images and texts exchanged ],
    P_ij = 1/|positives of i| on positives. With one positive a row this is CLIP's loss.

    Args:
        image: [n, d].
        text: [n, d]; row i belongs to image i.
        scale: s = 1/tau.
        same: bool [n, n], symmetric, true where text j is also right for image i; the diagonal by default.
    """
    logits = scale * image @ text.T
    if same is None:
        labels = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
    positives = same.float()
    positives = positives / positives.sum(dim=1, keepdim=True)
    rows = -(positives * logits.log_softmax(dim=1)).sum(dim=1).mean()
    columns = -(positives * logits.T.log_softmax(dim=1)).sum(dim=1).mean()
    return (rows + columns) / 2


def cosine_distance(found: Tensor, target: Tensor) -> Tensor:
    """mean_i (1 - cos(found_i, target_i)), in 0..2: DCLIP's pull to the teacher, and preservation of the base."""
    return (1 - F.cosine_similarity(found, target, dim=-1)).mean()
