"""torch.compile, with the arithmetic that was asked for."""

from collections.abc import Callable
from typing import Any

import torch


def compiled(forward: Callable[..., Any]) -> Any:
    """A module or function, compiled when it is first called; deterministic if torch was told to be."""
    torch.use_deterministic_algorithms(  # as it is already; this call tells the compiler, too
        torch.are_deterministic_algorithms_enabled(),
        warn_only=torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    return torch.compile(forward)
