"""Rows that exist of padded batches: gathered, scattered and laid out by attention head, each in one pass.

Shapes: B rows, K places each, of which R in the whole batch are unmasked; H heads of width C. No place is read or
written twice, so that the gradient of a gathering is a scattering, and the reverse; only `sums` adds rows up.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def _scatter(x_NC: Tensor, places_N: Tensor, count: int) -> Tensor:
    """Rows of x at these places of [count, C], zeros elsewhere; quicker than `index_copy_`."""
    return x_NC.new_zeros(count, x_NC.shape[1]).index_add_(0, places_N, x_NC)


class _Gathered(torch.autograd.Function):
    """Rows of [M, C] at some of its places, [N, C]."""

    @staticmethod
    def forward(ctx: Any, x_MC: Tensor, places_N: Tensor) -> Tensor:
        ctx.save_for_backward(places_N)
        ctx.count = len(x_MC)
        return x_MC.index_select(0, places_N)

    @staticmethod
    def backward(ctx: Any, grad_NC: Tensor) -> tuple[Tensor, None]:
        return _scatter(grad_NC, ctx.saved_tensors[0], ctx.count), None


class _Scattered(torch.autograd.Function):
    """Rows of [N, C] at these places of [count, C], zeros elsewhere."""

    @staticmethod
    def forward(ctx: Any, x_NC: Tensor, places_N: Tensor, count: int) -> Tensor:
        ctx.save_for_backward(places_N)
        return _scatter(x_NC, places_N, count)

    @staticmethod
    def backward(ctx: Any, grad_MC: Tensor) -> tuple[Tensor, None, None]:
        return grad_MC.index_select(0, ctx.saved_tensors[0]), None, None


class _Spread(torch.autograd.Function):
    """Like `_Scattered`, but rows elsewhere are any of x's; whoever uses the result gives them no gradient."""

    @staticmethod
    def forward(ctx: Any, x_NC: Tensor, there_M: Tensor, places_N: Tensor) -> Tensor:
        ctx.save_for_backward(places_N)
        return x_NC.index_select(0, there_M)

    @staticmethod
    def backward(ctx: Any, grad_MC: Tensor) -> tuple[Tensor, None, None]:
        return grad_MC.index_select(0, ctx.saved_tensors[0]), None, None


class Packing:
    """Which places of [B, K] exist, and how to go from padded rows to packed ones and back.

    Args:
        mask_BK: true where there is a row.
    """

    def __init__(self, mask_BK: Tensor) -> None:
        self.mask_BK = mask_BK
        self._rows_R = mask_BK.flatten().nonzero().squeeze(1)
        self.owner_R = self._rows_R // mask_BK.shape[1]

    def __len__(self) -> int:
        return len(self._rows_R)

    def pack(self, x_BKD: Tensor) -> Tensor:
        """The rows that exist, [R, D]."""
        found_RD: Tensor = _Gathered.apply(x_BKD.flatten(0, 1), self._rows_R)
        return found_RD

    def pad(self, x_RD: Tensor) -> Tensor:
        """Back at their places, [B, K, D], zeros elsewhere."""
        found_ND: Tensor = _Scattered.apply(x_RD, self._rows_R, self.mask_BK.numel())
        return found_ND.view(*self.mask_BK.shape, -1)

    def sums(self, x_RD: Tensor) -> Tensor:
        """Sum of every owner's rows, [B, D]."""
        return x_RD.new_zeros(len(self.mask_BK), x_RD.shape[1]).index_add(0, self.owner_R, x_RD)

    def to_heads(self, x_RD: Tensor, heads: int) -> Tensor:
        """By head and padded with anything finite, [B * H, K, C]; there has to be a row."""
        (B, K), head_H1 = self.mask_BK.shape, torch.arange(heads, device=x_RD.device)[:, None]
        number_B1K = (self.mask_BK.flatten().cumsum(0) - 1).clamp_(min=0).view(B, 1, K)
        there_M = (number_B1K * heads + head_H1).flatten()
        found_MC: Tensor = _Spread.apply(x_RD.view(len(self) * heads, -1), there_M, self._by_head(heads))
        return found_MC.view(B * heads, K, -1)

    def from_heads(self, x_GKC: Tensor, heads: int) -> Tensor:
        """The rows that exist of [B * H, K, C], heads side by side: [R, H * C]."""
        found_MC: Tensor = _Gathered.apply(x_GKC.flatten(0, 1), self._by_head(heads))
        return found_MC.view(len(self), -1)

    def _by_head(self, heads: int) -> Tensor:
        """Where in [B * H * K] the rows of [R * H] are."""
        K, head_H = self.mask_BK.shape[1], torch.arange(heads, device=self._rows_R.device)
        return ((self.owner_R[:, None] * heads + head_H) * K + (self._rows_R % K)[:, None]).flatten()
