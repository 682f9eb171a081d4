"""The bidirectional cross-attention transformer of DCLIP (arXiv 2505.21549, section 3.2).

Shapes: B rows, M regions, N spans, D width. Masks are true where there is a region or span.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CrossAttention(nn.Module):
    """x' = LN(x + MHA(x, y, y)), optionally followed by x'' = LN(x' + FFN(x')).

    A row whose y is masked out entirely gets x' = LN(x): attention over nothing adds nothing.
    """

    def __init__(self, dimension: int, heads: int, feed_forward: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(dimension, heads, batch_first=True)
        self.norm = nn.LayerNorm(dimension)
        self.feed_forward: nn.Module | None = None
        if feed_forward:
            hidden = dimension * feed_forward
            self.feed_forward = nn.Sequential(nn.Linear(dimension, hidden), nn.GELU(), nn.Linear(hidden, dimension))
            self.feed_forward_norm = nn.LayerNorm(dimension)

    def forward(self, x_BKD: Tensor, y_BLD: Tensor, y_mask_BL: Tensor) -> Tensor:
        """x having attended to the unmasked of y, [B, K, D]."""
        some_B = y_mask_BL.any(dim=1)
        ignored_BL = ~y_mask_BL & some_B[:, None]  # softmax over nothing is NaN: attend to all, then drop the result
        found_BKD, _ = self.attention(x_BKD, y_BLD, y_BLD, key_padding_mask=ignored_BL, need_weights=False)
        x_BKD = self.norm(x_BKD + found_BKD * some_B[:, None, None])
        if self.feed_forward is not None:
            x_BKD = self.feed_forward_norm(x_BKD + self.feed_forward(x_BKD))
        return x_BKD


def cosine_pool(x_BKD: Tensor, mask_BK: Tensor, temperature: float) -> Tensor:
    """sum_i w_i x_i with w = softmax_i(cos(x_i, mean x) / temperature), over unmasked i only; zero if there is none."""
    mask_BK1 = mask_BK[..., None].to(x_BKD.dtype)
    mean_BD = (x_BKD * mask_BK1).sum(1) / mask_BK1.sum(1).clamp(min=1)
    cosine_BK = F.cosine_similarity(x_BKD, mean_BD[:, None], dim=-1)
    weights_BK = (cosine_BK / temperature).masked_fill(~mask_BK, -torch.inf).softmax(dim=1).nan_to_num(0.0)
    return (weights_BK[..., None] * x_BKD).sum(1)


class MetaTeacher(nn.Module):
    """z = 1/2 pool(T') + 1/2 pool(V'), T' = LN(T + MHA(T, V, V)), V' = LN(V + MHA(V, T, T)); unit length.

    Without a text (masked) z = pool(V'): an embedding of the image alone. Masks reach both attentions and the
    pooling, so a row's z does not depend on how its batch was padded.

    Args:
        dimension: D, the width of the frozen CLIP's space.
        heads: attention heads.
        depth: cross-attention layers each way; published: 1.
        feed_forward: hidden width of a feed-forward part over D; 0, as published, for none.
        pool_temperature: published: 2.0.
    """

    def __init__(
        self, dimension: int, *, heads: int, depth: int = 1, feed_forward: int = 0, pool_temperature: float = 2.0
    ) -> None:
        super().__init__()
        self.pool_temperature = pool_temperature
        self.text_layers = nn.ModuleList(CrossAttention(dimension, heads, feed_forward) for _ in range(depth))
        self.image_layers = nn.ModuleList(CrossAttention(dimension, heads, feed_forward) for _ in range(depth))

    @classmethod
    def of(cls, dimension: int, parameters: Mapping[str, Any]) -> MetaTeacher:
        """The teacher that the section `teacher` of the parameters describes."""
        names = ("heads", "depth", "feed_forward", "pool_temperature")
        return cls(dimension, **{name: parameters[name] for name in names})

    def forward(self, regions_BMD: Tensor, region_mask_BM: Tensor, spans_BND: Tensor, span_mask_BN: Tensor) -> Tensor:
        """Unit z, float [B, D]."""
        v_BMD, t_BND = regions_BMD, spans_BND
        for text_layer, image_layer in zip(self.text_layers, self.image_layers, strict=True):
            v_BMD, t_BND = image_layer(v_BMD, t_BND, span_mask_BN), text_layer(t_BND, v_BMD, region_mask_BM)
        image_BD = cosine_pool(v_BMD, region_mask_BM, self.pool_temperature)
        text_BD = cosine_pool(t_BND, span_mask_BN, self.pool_temperature)
        has_text_B1 = span_mask_BN.any(dim=1, keepdim=True)
        return F.normalize(torch.where(has_text_B1, 0.5 * (image_BD + text_BD), image_BD), dim=-1)
