"""Weights of any model: the hash that stands for them, and the error when they are not what they should be."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from pipeline.disk import files
from pipeline.errors import InputError, refusing


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


def read(path: Path, advice: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file, by name.

    Raises:
        WrongWeights: there is no such file, or it is damaged; the message ends with the advice.
    """
    if not path.is_file():
        raise WrongWeights(f"there are no weights at {path}; {advice}")
    with refusing(f"{path} is no safetensors file that can be read; {advice}", WrongWeights):
        state: dict[str, Tensor] = load_file(path)
    return state


def write(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write weights as a safetensors file, whole or not at all.

    The library's own writer would leave a file of another name beside it if it were killed.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with files.whole(path) as temporary:
        temporary.write_bytes(save(tensors))
