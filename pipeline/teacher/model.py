"""The bidirectional cross-attention transformer of DCLIP (arXiv 2505.21549, section 3.2).

Shapes: B rows, M regions, N spans, D width; in a layer K of the one attend to L of the other, with H heads of width C,
G = B * H; R or S rows that exist in a whole batch, packed. Masks are true where there is a region or span.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.artifacts.weights import WrongWeights
from pipeline.errors import InputError, refusing
from pipeline.teacher.packing import Packing


class CrossAttention(nn.Module):
    """x' = LN(x + MHA(x, y, y)), optionally followed by x'' = LN(x' + FFN(x')).

    Where no y exists x' = LN(x): attention over nothing adds nothing. Only rows that exist are computed with, since
    padding would be about half of the arithmetic: `attention` holds the parameters; its own forward would pad.
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

    def forward(self, x_RD: Tensor, x: Packing, y_SD: Tensor, y: Packing) -> Tensor:
        """x having attended to y, [R, D]; R and S are the rows of all the batch's x and y."""
        x_RD = self.norm(x_RD + self._attend(x_RD, x, y_SD, y))
        if self.feed_forward is not None:
            x_RD = self.feed_forward_norm(x_RD + self.feed_forward(x_RD))
        return x_RD

    def _attend(self, x_RD: Tensor, x: Packing, y_SD: Tensor, y: Packing) -> Tensor:
        """MHA(x, y, y), zero where no y exists."""
        some_B = y.mask_BK.any(dim=1)
        attending_R = some_B[x.owner_R]
        if not attending_R.any():
            return torch.zeros_like(x_RD)
        if not attending_R.all():
            inside = Packing(attending_R[None])
            part_PD = inside.pack(x_RD[None])
            return inside.pad(self._attend(part_PD, Packing(x.mask_BK & some_B[:, None]), y_SD, y))[0]
        D, heads = x_RD.shape[1], self.attention.num_heads
        q_weight, k_weight, v_weight = self.attention.in_proj_weight.split(D)
        q_bias, k_bias, v_bias = self.attention.in_proj_bias.split(D)
        q_GKC = x.to_heads(F.linear(x_RD, q_weight, q_bias) * (D // heads) ** -0.5, heads)
        k_GLC = y.to_heads(F.linear(y_SD, k_weight, k_bias), heads)
        v_GLC = y.to_heads(F.linear(y_SD, v_weight, v_bias), heads)
        hidden_BL = ~y.mask_BK & some_B[:, None]  # a softmax over nothing would be NaN
        added_G1L = q_GKC.new_zeros(y.mask_BK.shape).masked_fill_(hidden_BL, -torch.inf).repeat_interleave(heads, 0)
        # for so few rows quicker on a CPU than scaled_dot_product_attention, which is the same
        scores_GKL = torch.baddbmm(added_G1L[:, None], q_GKC, k_GLC.mT)
        found_RD: Tensor = self.attention.out_proj(x.from_heads(scores_GKL.softmax(dim=-1) @ v_GLC, heads))
        return found_RD


def cosine_pool(x_RD: Tensor, x: Packing, temperature: float) -> Tensor:
    """sum_i w_i x_i with w = softmax_i(cos(x_i, mean x) / temperature) of every owner, [B, D]; zero if it has no x."""
    mean_BD = x.sums(x_RD) / x.mask_BK.sum(dim=1, keepdim=True).clamp(min=1)
    cosine_R = F.cosine_similarity(x_RD, mean_BD.index_select(0, x.owner_R), dim=1)
    logits_BK = x.pad(cosine_R[:, None] / temperature).squeeze(2).masked_fill(~x.mask_BK, -torch.inf)
    weights_BK = logits_BK.softmax(dim=1).nan_to_num(0.0)
    return x.sums(x.pack(weights_BK[:, :, None]) * x_RD)


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
    def from_parameters(cls, dimension: int, parameters: Mapping[str, Any]) -> MetaTeacher:
        """The teacher that the section `teacher` of the parameters describes.

        Raises:
            InputError: its heads do not divide the dimension.
        """
        if dimension % parameters["heads"]:
            raise InputError(f"teacher.heads is {parameters['heads']}, expected a divisor of {dimension}")
        names = ("heads", "depth", "feed_forward", "pool_temperature")
        return cls(dimension, **{name: parameters[name] for name in names})

    def filled(self, state: Mapping[str, Tensor]) -> MetaTeacher:
        """The same with the weights of a teacher that was trained with these parameters.

        Raises:
            WrongWeights: they are those of another teacher.
        """
        with refusing("the teacher's weights are not those of these features and parameters", WrongWeights):
            self.load_state_dict(state)
        return self

    def forward(self, regions_BMD: Tensor, region_mask_BM: Tensor, spans_BND: Tensor, span_mask_BN: Tensor) -> Tensor:
        """Unit z, float [B, D]."""
        v, t = Packing(region_mask_BM), Packing(span_mask_BN)
        v_RD, t_SD = v.pack(regions_BMD), t.pack(spans_BND)
        for text_layer, image_layer in zip(self.text_layers, self.image_layers, strict=True):
            v_RD, t_SD = image_layer(v_RD, v, t_SD, t), text_layer(t_SD, t, v_RD, v)
        image_BD, text_BD = cosine_pool(v_RD, v, self.pool_temperature), cosine_pool(t_SD, t, self.pool_temperature)
        has_text_B1 = span_mask_BN.any(dim=1, keepdim=True)
        return F.normalize(torch.where(has_text_B1, 0.5 * (image_BD + text_BD), image_BD), dim=-1)
