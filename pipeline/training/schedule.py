"""Learning-rate schedule: linear warm-up, then cosine to zero."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warmup_cosine(optimizer: Optimizer, *, warmup: int, steps: int) -> LambdaLR:
    """Factor (t + 1)/warmup for t < warmup, then (1 + cos(pi p))/2 with p from 0 to 1 at `steps`."""

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = (step - warmup) / max(1, steps - warmup)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    return LambdaLR(optimizer, factor)
