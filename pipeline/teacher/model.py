"""The bidirectional cross-attention transformer of DCLIP (arXiv 2505.21549, section 3.2).

Shapes: B rows, M regions, N spans, D width; in a layer K of the one attend to L of the other, with H heads of width C;
R unmasked rows of a whole batch, packed. Masks are true where there is a region or span.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TINY = 1e-8
"""Shorter vectors have no direction; as torch's cosine_similarity has it."""


class CrossAttention(nn.Module):
    """x' = LN(x + MHA(x, y, y)), optionally followed by x'' = LN(x' + FFN(x')).

    A row whose y is masked out entirely gets x' = LN(x): attention over nothing adds nothing.

    What is masked is not projected, since it would be about half of the arithmetic. `attention` holds the parameters;
    its own forward would project the padding, too.
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

    def forward(self, x_BKD: Tensor, x_mask_BK: Tensor, y_BLD: Tensor, y_mask_BL: Tensor) -> Tensor:
        """x having attended to the unmasked of y, [B, K, D]; masked x are not to be used."""
        x_BKD = self.norm(x_BKD + self._attend(x_BKD, x_mask_BK, y_BLD, y_mask_BL))
        if self.feed_forward is not None:
            x_BKD = self.feed_forward_norm(x_BKD + self.feed_forward(x_BKD))
        return x_BKD

    def _attend(self, x_BKD: Tensor, x_mask_BK: Tensor, y_BLD: Tensor, y_mask_BL: Tensor) -> Tensor:
        """MHA(x, y, y), zero for masked x and where all y are masked."""
        some_B1 = y_mask_BL.any(dim=1, keepdim=True)
        x_rows = existing(x_mask_BK & some_B1)
        y_rows = existing(y_mask_BL & x_mask_BK.any(dim=1, keepdim=True))
        D, heads = x_BKD.shape[-1], self.attention.num_heads
        q_weight, kv_weight = self.attention.in_proj_weight.split((D, 2 * D))
        q_bias, kv_bias = self.attention.in_proj_bias.split((D, 2 * D))
        q_BKD = pad(F.linear(pack(x_BKD, x_rows), q_weight, q_bias), x_rows, x_mask_BK)
        kv_BLE = pad(F.linear(pack(y_BLD, y_rows), kv_weight, kv_bias), y_rows, y_mask_BL)
        (q_GKC,), (k_GLC, v_GLC) = split_heads(q_BKD, 1, heads), split_heads(kv_BLE, 2, heads)
        seen_BL = y_mask_BL | ~some_B1  # softmax over nothing is NaN: over all, and not used
        added_BL = torch.zeros_like(kv_BLE[..., 0]).masked_fill(~seen_BL, -torch.inf)
        added_G1L = added_BL.repeat_interleave(heads, dim=0)[:, None]
        # for so few rows quicker on a CPU than scaled_dot_product_attention, which is the same
        scores_GKL = torch.baddbmm(added_G1L, q_GKC, k_GLC.mT, alpha=q_GKC.shape[-1] ** -0.5)
        found_GKC = scores_GKL.softmax(dim=-1) @ v_GLC
        found_BKD = found_GKC.unflatten(0, (-1, heads)).transpose(1, 2).flatten(2)
        found_RD = pack(found_BKD, x_rows)
        return pad(self.attention.out_proj(found_RD), x_rows, x_mask_BK)


def split_heads(x_BKE: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """E = parts * heads * C to as many tensors [B * heads, K, C]."""
    z: tuple[Tensor, ...] = x_BKE.unflatten(-1, (parts, heads, -1)).permute(2, 0, 3, 1, 4).flatten(1, 2).unbind()
    return z


def existing(mask_BK: Tensor) -> Tensor:
    """Places of the unmasked in [B * K], int64 [R]."""
    return mask_BK.flatten().nonzero().squeeze(1)


def pack(x_BKD: Tensor, rows_R: Tensor) -> Tensor:
    """The rows at these places, [R, D]."""
    return x_BKD.flatten(0, 1).index_select(0, rows_R)


def pad(x_RD: Tensor, rows_R: Tensor, mask_BK: Tensor) -> Tensor:
    """[B, K, D] with these rows at their places and zeros elsewhere. Places are unique: the sum has one term."""
    x_ND = x_RD.new_zeros(mask_BK.numel(), x_RD.shape[1]).index_add_(0, rows_R, x_RD)
    return x_ND.view(*mask_BK.shape, -1)


def cosine_pool(x_BKD: Tensor, mask_BK: Tensor, temperature: float) -> Tensor:
    """sum_i w_i x_i with w = softmax_i(cos(x_i, mean x) / temperature), over unmasked i only; zero if there is none."""
    share_BK = mask_BK.to(x_BKD.dtype)
    share_BK = share_BK / share_BK.sum(1, keepdim=True).clamp(min=1)
    mean_B1D = share_BK[:, None] @ x_BKD
    dot_BK = (x_BKD @ mean_B1D.mT).squeeze(2)
    cosine_BK = dot_BK / (x_BKD.norm(dim=2).clamp(min=TINY) * mean_B1D.norm(dim=2).clamp(min=TINY))
    weights_BK = (cosine_BK / temperature).masked_fill(~mask_BK, -torch.inf).softmax(dim=1).nan_to_num(0.0)
    return torch.bmm(weights_BK[:, None], x_BKD).squeeze(1)


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
            v_BMD, t_BND = (
                image_layer(v_BMD, region_mask_BM, t_BND, span_mask_BN),
                text_layer(t_BND, span_mask_BN, v_BMD, region_mask_BM),
            )
        image_BD = cosine_pool(v_BMD, region_mask_BM, self.pool_temperature)
        text_BD = cosine_pool(t_BND, span_mask_BN, self.pool_temperature)
        has_text_B1 = span_mask_BN.any(dim=1, keepdim=True)
        return F.normalize(torch.where(has_text_B1, 0.5 * (image_BD + text_BD), image_BD), dim=-1)
