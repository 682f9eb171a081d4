"""Regions: an ultralytics YOLO, its weights checked by hash, its boxes capped and cut out as crops.

ultralytics replaces `PIL.Image.open` when it is imported, by one that wants to install a package whenever a file is no
picture. Every other room decodes pictures too, so the real one is put back.
"""

from PIL import Image

_open = Image.open
import ultralytics  # noqa: E402, F401

Image.open = _open
