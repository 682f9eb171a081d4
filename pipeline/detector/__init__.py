"""Regions: an ultralytics YOLO, its weights checked by hash, its boxes capped and cut out as crops.

What ultralytics does to the process around it is undone here. When it is imported, it replaces `PIL.Image.open` by one
that wants to install a package whenever a file is no picture. When it trains or predicts, it reports to whatever
tracker is installed: to its makers, and to DVCLive, which would rewrite dvc.yaml.
"""

from typing import Any

import torch
from PIL import Image

_open = Image.open
from ultralytics.utils import callbacks, torch_utils  # noqa: E402

Image.open = _open


def _report_to_nobody(instance: Any) -> None:
    """In place of ultralytics' own, which adds trackers to a trainer, validator or predictor."""


callbacks.add_integration_callbacks = _report_to_nobody


def keep_threads() -> None:
    """Let ultralytics go on with torch's threads as they are: when it chooses a CPU, it sets them to this number."""
    torch_utils.NUM_THREADS = torch.get_num_threads()
