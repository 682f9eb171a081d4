"""Batches on their way to a device, and results on their way back, while the device computes.

A GPU works through what Python has asked of it, in order, and Python need not wait. It does wait, and the GPU after it,
wherever a batch is copied from memory that may be paged out, or a result is read as soon as it was asked for. So two
batches are in flight: while one is computed with, the next is gathered, pinned and copied by threads and by a line of
the GPU's own (a CUDA stream), and results are read when those of the next batch have been asked for. On a CPU, which
would only compete with itself, all is done where it stands, and results are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from pipeline.machine.ahead import ahead, early

IN_FLIGHT = 2
"""Batches on a GPU: one is computed with, one on its way."""


@dataclass
class TensorGroup:
    """Tensors, and groups of them, that move together; anything else in it stays as it is."""


T = TypeVar("T")
Batch = TypeVar("Batch", bound=Tensor | TensorGroup | tuple)
"""A tensor, or several in a group or a tuple."""


def each(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """The same batch of changed tensors."""
    return cast(Batch, _each(batch, change))


def _each(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, TensorGroup):
        return replace(value, **{name: _each(part, change) for name, part in vars(value).items()})
    return tuple(_each(part, change) for part in value) if isinstance(value, tuple) else value


def feed(device: str, load: Callable[[T], Batch], tasks: Iterable[T], *, threads: int = 0) -> Iterator[Batch]:
    """What `load` makes of every task, in order, on a device.

    Args:
        device: torch device.
        load: makes a batch in the machine's memory.
        tasks: taken one after the other, in the thread of whoever consumes the batches.
        threads: that load; 0 for the one that consumes, and for one beside it where a GPU computes.

    Raises:
        whatever `load` and `tasks` raise, after all batches before it.
    """
    threads = threads or int(on_gpu(device))
    loaded = ahead(load, tasks, threads=threads, depth=threads + 1) if threads else map(load, tasks)
    if on_gpu(device):
        line = CopyLine(device)
        for sent in ahead(line.send, loaded, threads=1, depth=IN_FLIGHT):
            yield line.receive(sent)
    else:
        for batch in loaded:
            yield each(batch, lambda rows: rows.to(device))


def collect(device: str, results: Iterable[Batch]) -> Iterator[Batch]:
    """Results of a device in the machine's memory, in order.

    Args:
        device: torch device.
        results: asked of the device one after the other, as they are taken; on a GPU one before it is needed.

    Raises:
        whatever `results` raise, after all results before it.
    """
    if not on_gpu(device):
        for result in results:
            yield each(result, lambda rows: rows.cpu())
        return
    for result, arrived in early((fetched(device, result) for result in results), IN_FLIGHT):
        arrived.synchronize()
        yield result


def on_gpu(device: str) -> bool:
    """Whether a device computes while Python goes on."""
    return device.startswith("cuda")


def fetched(device: str, result: Batch) -> tuple[Batch, torch.cuda.Event]:
    """The memory that a result is being copied to, and when it is there: after all that was asked of the GPU before."""
    here = each(result, lambda rows: rows.to("cpu", non_blocking=True))  # torch takes memory that is pinned
    arrived = torch.cuda.Event(blocking=True)  # leaves the processor to threads that decode
    arrived.record(torch.cuda.current_stream(device))
    return here, arrived


class CopyLine:
    """A GPU's own line for copies, beside the one that it computes in."""

    def __init__(self, device: str) -> None:
        self._device, self._stream = device, torch.cuda.Stream(device)

    def send(self, batch: Batch) -> tuple[Batch, torch.cuda.Event]:
        """Begin to copy a batch; may be called by any thread.

        Pinned memory is kept by torch until the copy has been made.
        """
        with torch.cuda.stream(self._stream):
            there = each(batch, lambda rows: rows.pin_memory().to(self._device, non_blocking=True))
            return there, self._stream.record_event()

    def receive(self, sent: tuple[Batch, torch.cuda.Event]) -> Batch:
        """A batch that may be computed with: whatever is asked of the GPU from now on waits for its copy."""
        (batch, copied), line = sent, torch.cuda.current_stream(self._device)
        line.wait_event(copied)

        def used(rows: Tensor) -> Tensor:
            rows.record_stream(line)  # its memory goes to no other copy before what is computed with it is done
            return rows

        return each(batch, used)
