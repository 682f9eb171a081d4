"""Regions: an ultralytics YOLO, its weights checked by hash, its boxes capped and cut out as crops.

What ultralytics does to the process around it is undone here. When it is imported, it replaces `PIL.Image.open` by one
that wants to install a package whenever a file is no image, and `torch.save` by one that tries again. When it trains
or predicts, it reports to whatever tracker is installed: to its makers, and to DVCLive, which would rewrite dvc.yaml.
Its suppression of overlapping boxes stops after some seconds and leaves the rest of a batch without boxes.
"""

import functools
import logging
from collections.abc import Callable
from typing import Any

import torch
import torchvision  # noqa: F401  ultralytics suppresses boxes by another algorithm unless this has been imported
from PIL import Image
from ultralytics.utils import callbacks, nms, patches, torch_utils

from pipeline.errors import InputError

Image.open, torch.save = patches._image_open, patches._torch_save


class CutShort(InputError):
    """A library did less than it was asked for, such as a part of a batch; what it gave is not a result."""


def _report_to_nobody(instance: Any) -> None:
    """In place of ultralytics' own, which adds trackers to a trainer, validator or predictor."""


callbacks.add_integration_callbacks = _report_to_nobody


_PATIENCE = float("inf")
"""Seconds an image for the suppression of its overlapping boxes; ultralytics gives it .05, and 2 a batch."""


class _Stop(logging.Handler):
    """Makes an error of a warning: the only one of this kind says that images were left without their boxes."""

    def emit(self, record: logging.LogRecord) -> None:
        """Stop whoever warns."""
        raise CutShort(
            f"ultralytics stopped before all boxes of a batch were found ({record.getMessage()}), so none of them is "
            "kept; run it again, and lower regions.batch if it stops again"
        )


def _without_a_time_limit(suppress: Callable[..., Any]) -> Callable[..., Any]:
    """Non-maximum suppression that takes the time it takes, however busy the machine is."""

    @functools.wraps(suppress)
    def patient(*args: Any, **how: Any) -> Any:
        return suppress(*args, **{**how, "max_time_img": _PATIENCE})

    return patient


nms.non_max_suppression = _without_a_time_limit(nms.non_max_suppression)
nms.LOGGER = logging.Logger("suppression of boxes")
nms.LOGGER.addHandler(_Stop(logging.WARNING))


def keep_threads() -> None:
    """Let ultralytics go on with torch's threads as they are: when it chooses a CPU, it sets them to this number."""
    torch_utils.NUM_THREADS = torch.get_num_threads()
