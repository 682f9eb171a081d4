"""Batches without their padding, which would be about half of what a layer computes.

B samples have up to K rows of width D each; R rows exist in the whole batch. `Packing` takes tensors between

    padded   [B, K, D]      every row at its place: what a batch is made of
    packed   [R, D]         only the rows that exist, sample by sample: what layers compute with
    by head  [B * H, K, C]  padded, a matrix for every sample and head, D = H * C: what attention multiplies

and gradients between them the other way.
"""

from typing import Any

import torch
from torch import Tensor


class _Spread(torch.autograd.Function):
    """Row `source_M[i]` of x at every place i, of which each row of x has one, at `place_N`, where it belongs.

    What stands at the other places is never read, so that no gradient comes from there. This is quicker than to write
    zeros first, and its gradient quicker than the sum that torch would make of all places.
    """

    @staticmethod
    def forward(ctx: Any, x_NC: Tensor, source_M: Tensor, place_N: Tensor) -> Tensor:
        ctx.save_for_backward(place_N)
        return x_NC.index_select(0, source_M)

    @staticmethod
    def backward(ctx: Any, grad_MC: Tensor) -> tuple[Tensor, None, None]:
        return grad_MC.index_select(0, ctx.saved_tensors[0]), None, None


def _scatter(x_RD: Tensor, place_R: Tensor, count: int) -> Tensor:
    """Rows of x added up at these places of zeros, [count, D]."""
    return x_RD.new_zeros(count, x_RD.shape[1]).index_add_(0, place_R, x_RD)


class Packing:
    """Which places of a padded batch hold a row.

    Args:
        mask_BK: bool, true where there is a row.

    Attributes:
        owner_R: int64, the sample of every packed row, 0..B-1, ascending.
    """

    def __init__(self, mask_BK: Tensor) -> None:
        self.mask_BK = mask_BK
        self._place_R = mask_BK.flatten().nonzero().squeeze(1)
        self.owner_R = self._place_R // mask_BK.shape[1]

    def __len__(self) -> int:
        return len(self._place_R)

    def pack(self, x_BKD: Tensor) -> Tensor:
        """Padded rows packed, [R, D]."""
        return x_BKD.flatten(0, 1).index_select(0, self._place_R)

    def pad(self, x_RD: Tensor) -> Tensor:
        """Packed rows padded with zeros, [B, K, D]."""
        return _scatter(x_RD, self._place_R, self.mask_BK.numel()).view(*self.mask_BK.shape, -1)

    def sums(self, x_RD: Tensor) -> Tensor:
        """The sum of every sample's packed rows, [B, D]; zero of none."""
        return _scatter(x_RD, self.owner_R, len(self.mask_BK))

    def to_heads(self, x_RD: Tensor, heads: int) -> Tensor:
        """Packed rows by head, [B * H, K, C], padded with finite numbers that are not to be used; R must not be 0."""
        (B, K), head_H1 = self.mask_BK.shape, torch.arange(heads, device=x_RD.device)[:, None]
        row_B1K = (self.mask_BK.flatten().cumsum(0) - 1).clamp_(min=0).view(B, 1, K)
        source_M = (row_B1K * heads + head_H1).flatten()
        found_MC: Tensor = _Spread.apply(x_RD.view(len(self) * heads, -1), source_M, self._place_by_head(heads))
        return found_MC.view(B * heads, K, -1)

    def from_heads(self, x_GKC: Tensor, heads: int) -> Tensor:
        """Rows by head packed, the heads of a row side by side: [R, H * C]."""
        return x_GKC.flatten(0, 1).index_select(0, self._place_by_head(heads)).view(len(self), -1)

    def _place_by_head(self, heads: int) -> Tensor:
        """Where in [B * H * K] every head of every packed row stands, [R * H]."""
        K, head_H = self.mask_BK.shape[1], torch.arange(heads, device=self._place_R.device)
        return ((self.owner_R[:, None] * heads + head_H) * K + (self._place_R % K)[:, None]).flatten()
