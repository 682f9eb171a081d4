"""Regions: an ultralytics YOLO, its weights checked by hash, its boxes capped and cut out as crops.

ultralytics replaces `PIL.Image.open` when it is imported, by one that wants to install a package whenever a file is no
picture. Every other room decodes pictures too, so the real one is put back.
"""

import torch
from PIL import Image

_open = Image.open
from ultralytics.utils import torch_utils  # noqa: E402

Image.open = _open


def keep_threads() -> None:
    """Let ultralytics go on with torch's threads as they are: when it chooses a CPU, it sets them to this number."""
    torch_utils.NUM_THREADS = torch.get_num_threads()
