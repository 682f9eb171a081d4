"""Several processes, of one machine or of several, that train one model: torchrun starts them.

All draw the same batch from the same seed, and each reads and embeds its part of the images and texts, so only
embeddings and gradients travel. With one process every method does nothing.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pipeline.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    """The processes of a run.

    Attributes:
        rank: which of them this is; the first writes files and validates.
        size: how many there are.
        local: which of those on its machine this is.
    """

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """Which of `count` rows are this process's; equal parts, so `count` must be a multiple of the size."""
        share = count // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def padded(self, rows: Tensor) -> Tensor:
        """The rows, the last one repeated until all processes get equally many."""
        missing = -len(rows) % self.size
        return torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])]) if missing else rows

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all processes, in order of their ranks; without gradient."""
        if self.size == 1:
            return rows.detach()
        parts = [torch.empty_like(rows) for _ in range(self.size)]
        dist.all_gather(parts, rows.detach().contiguous())
        return torch.cat(parts)

    def average(self, parameters: list[nn.Parameter]) -> None:
        """Replace gradients by their mean over the processes, where DistributedDataParallel does not."""
        if self.size > 1:
            for parameter in parameters:
                if parameter.grad is not None:
                    dist.all_reduce(parameter.grad)
                    parameter.grad /= self.size

    def from_first(self, compute: Callable[[], T]) -> T:
        """What the first process computes, given to all."""
        if self.size == 1:
            return compute()
        box = [compute() if self.first else None]
        dist.broadcast_object_list(box)
        return box[0]  # type: ignore[return-value]

    def everywhere(self, value: T) -> set[T]:
        """The values that the processes have."""
        found: list[Any] = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(found, value)
        return set(found)

    def in_turn(self, make: Callable[[], T]) -> T:
        """What every process makes for itself, so that it finds caches filled.

        The first one makes it before all others, then the first of every other machine, which may have no cache in
        common with it, then the rest.
        """
        turn = 0 if self.first else 1 if self.local == 0 else 2
        self._wait(turn)
        made = make()
        self._wait(2 - turn)
        return made

    def _wait(self, turns: int) -> None:
        """Wait so many times for all processes."""
        for _ in range(turns if self.size > 1 else 0):
            dist.barrier()


def join(device: str) -> tuple[Group, str]:
    """Join the processes that torchrun has started, if it has.

    Args:
        device: torch device; `cuda` becomes this process's own GPU.

    Returns:
        the group, and this process's device.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return Group(), device
    if device.startswith("cuda"):
        local = int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise InputError(f"compute.processes needs a GPU each, and there are {torch.cuda.device_count()}; lower it")
        device = f"cuda:{local}"
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        backend = "nccl" if device.startswith("cuda") else "gloo"
        dist.init_process_group(backend, timeout=timedelta(days=1))  # the first decodes and validates while others wait
    return Group(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0"))), device
