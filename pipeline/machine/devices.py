"""Where models run: whether torch can compute there at all."""

from __future__ import annotations

import re

from pipeline.errors import InputError, one_line

NAME = re.compile(r"cpu|mps|cuda(:(0|[1-9][0-9]?))?")
EXPECTED = "expected cpu, cuda, a GPU by its number such as cuda:0, or mps"


def named(device: str) -> str:
    """The device, if it is the name of one.

    Raises:
        InputError: it is none.
    """
    if not NAME.fullmatch(device):
        raise InputError(f"there is no device {device[:40]!r}; {EXPECTED}")
    return device


def check(device: str, processes: int = 1) -> None:
    """Whether torch can compute on a device of this machine; torch is imported only for another than the CPU.

    Raises:
        InputError: it is no device, it is not here or cannot be used, or there are fewer GPUs than processes.
    """
    if named(device) == "cpu":
        return
    import torch

    kind = device.partition(":")[0]
    count = torch.cuda.device_count() if kind == "cuda" else int(torch.backends.mps.is_available())
    here = [f"cuda:{number}" for number in range(count)] if kind == "cuda" else ["mps"] * count
    advice = "set compute.device, or --device, to cpu"
    if device not in (kind, *here) or not here:
        others = "".join(f" or {other}" for other in here)
        raise InputError(
            f"the device {device} is not on this machine, as torch {torch.__version__} sees it; {advice}{others}"
        )
    if kind == "cuda" and processes > count:
        raise InputError(f"compute.processes is {processes}; each needs a GPU, and there are {count}: lower it")
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"the device {device} cannot be used: {one_line(error)}; {advice}") from error
