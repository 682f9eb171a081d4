"""Boxes of images, in batches of one fixed shape, and the crops that CLIP looks at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from ultralytics import YOLO

from pipeline.detector import keep_threads

CODE = "regions 3"
"""Raised whenever the same image and detector give other boxes or crops; `decoding.CODE` for decoding and JPEGs."""

_AS_TRAINED: dict[str, Any] = {"max_det": 300, "channels_last": True}
_AS_TRAINED |= dict.fromkeys(("classes", "quantize", "nms"))
_AS_TRAINED |= dict.fromkeys(("agnostic_nms", "augment", "compile", "dnn", "rect", "verbose", "save", "show"), False)
"""Everything else that ultralytics' prediction can be told and boxes depend on: its own defaults, stated here so that
no other version, settings file or checkpoint has others. `channels_last` it would choose by the processor."""

PADDING = (122, 116, 104)
"""CLIP's mean colour, around crops that reach over the image's edge."""


@dataclass(frozen=True)
class Box:
    """x0, y0, x1, y1 in 0..1 of the image, the detector's score, and its class name."""

    corners: tuple[float, float, float, float]
    score: float
    name: str

    @property
    def area(self) -> float:
        """The share of the image that the box covers."""
        x0, y0, x1, y1 = self.corners
        return max(0.0, x1 - x0) * max(0.0, y1 - y0)

    def longer_side(self, width: int, height: int) -> float:
        """The longer side in pixels, of an image of this size."""
        x0, y0, x1, y1 = self.corners
        return max((x1 - x0) * width, (y1 - y0) * height)


def detect(
    detector: YOLO,
    images: Sequence[Image.Image],
    *,
    confidence: float,
    iou: float,
    image_size: int,
    batch: int,
    device: str,
) -> list[list[Box]]:
    """Boxes of at most `batch` RGB images, the best `score x area` first.

    Every forward has the shape [batch, 3, image_size, image_size]: images are letterboxed (`rect=False`) and a
    short batch is padded, so an image's boxes do not depend on its neighbours. PIL images, since ultralytics takes
    arrays to be BGR.

    Raises:
        CutShort: ultralytics has left images of the batch without their boxes.
    """
    n = len(images)
    padded = [*images, *[Image.new("RGB", (image_size, image_size))] * (batch - n)]
    keep_threads()
    results = detector.predict(
        padded, imgsz=image_size, conf=confidence, iou=iou, batch=batch, device=device, **_AS_TRAINED
    )
    found: list[list[Box]] = []
    for result in results[:n]:
        corners = np.clip(result.boxes.xyxyn.cpu().numpy().astype(np.float64), 0, 1)
        scores, kinds = result.boxes.conf.cpu().numpy(), result.boxes.cls.cpu().numpy()
        boxes = [
            Box((float(c[0]), float(c[1]), float(c[2]), float(c[3])), float(score), result.names[int(kind)])
            for c, score, kind in zip(corners, scores, kinds, strict=True)
        ]
        found.append(best_first(boxes))
    return found


def best_first(boxes: Iterable[Box]) -> list[Box]:
    """Boxes that cover something, by score x area."""
    return sorted((b for b in boxes if b.area > 0), key=lambda b: (-b.score * b.area, b.corners))


def large_enough(boxes: Sequence[Box], width: int, height: int, min_side: float) -> list[Box]:
    """The boxes of an image that become regions: of fewer pixels than `min_side` a crop shows CLIP only a blur."""
    return [box for box in boxes if box.longer_side(width, height) >= min_side]


def crop(image: Image.Image, corners: Sequence[float], margin: float, side: int) -> Image.Image:
    """A square around a box, `margin` of its longer side wider each way, moved inside the image where it fits.

    Args:
        image: RGB.
        corners: x0, y0, x1, y1 in 0..1.
        margin: share of the box's longer side that is added on each side.
        side: the crop is made smaller to this many pixels, never larger.

    Returns:
        a square RGB image; nothing is squashed, and what lies outside the image has CLIP's mean colour.
    """
    w, h = image.size
    x0, y0, x1, y1 = corners[0] * w, corners[1] * h, corners[2] * w, corners[3] * h
    length = max(2, round(max(x1 - x0, y1 - y0) * (1 + 2 * margin)))

    def start(low: float, high: float, limit: int) -> int:
        first = round((low + high - length) / 2)
        return (limit - length) // 2 if length > limit else min(max(first, 0), limit - length)

    left, top = start(x0, x1, w), start(y0, y1, h)
    inside = image.crop((max(left, 0), max(top, 0), min(left + length, w), min(top + length, h)))
    if inside.size != (length, length):
        canvas = Image.new("RGB", (length, length), PADDING)
        canvas.paste(inside, (max(-left, 0), max(-top, 0)))
        inside = canvas
    return inside.resize((side, side), Image.Resampling.BICUBIC) if length > side else inside
