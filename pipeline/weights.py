"""Weights of any model: the hash that stands for them, and the error when they are not what they should be."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from pipeline.errors import InputError


class WrongWeights(InputError):
    """Weights are missing, are not what their hash says, or do not fit the architecture."""


def weights_hash(state: Mapping[str, Tensor]) -> str:
    """sha256 over tensors sorted by name: equal weights have equal hashes however they were saved."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()
