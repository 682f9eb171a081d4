"""Regions of every picture: YOLO boxes and their crops, the whole picture always being region 0."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ultralytics import YOLO

from pipeline import images
from pipeline.clip.encode import batches
from pipeline.detector.detect import crop, detect
from pipeline.manifest import Manifest
from pipeline.schema import REGIONS
from pipeline.tables import TableWriter

WHOLE = [0.0, 0.0, 1.0, 1.0]


def write(
    detector: YOLO,
    manifest: Manifest,
    path: Path,
    metadata: dict[str, Any],
    *,
    confidence: float,
    iou: float,
    image_size: int,
    batch: int,
    cap: int,
    margin: float,
    crop_side: int,
    crop_quality: int,
    device: str,
) -> dict[str, float]:
    """Detect on every picture of the manifest and write the regions table (`schema.REGIONS`).

    Boxes are sorted by score x area and cut to the first `cap`; a picture without a box has region 0 alone. The other
    arguments are those of `detect` and `crop`.

    Returns:
        counts: pictures, boxes, pictures without a box, pictures whose boxes were cut to `cap`.
    """
    counts = {"images": 0, "boxes": 0, "images_without_boxes": 0, "images_capped": 0}
    with TableWriter(path, REGIONS, metadata) as writer:
        for samples in batches(manifest.images("detect"), batch):
            pictures = [images.decode(data) for _, data in samples]
            found = detect(
                detector, pictures, confidence=confidence, iou=iou, image_size=image_size, batch=batch, device=device
            )
            rows: dict[str, list[Any]] = {name: [] for name in REGIONS.names}
            for (key, _), picture, boxes in zip(samples, pictures, found, strict=True):
                kept = boxes[:cap]
                rows["key"] += [key] * (1 + len(kept))
                rows["region_index"] += range(1 + len(kept))
                rows["box"] += [WHOLE, *([float(v) for v in b.corners] for b in kept)]
                rows["score"] += [1.0, *(b.score for b in kept)]
                rows["class_name"] += ["image", *(b.name for b in kept)]
                crops = [crop(picture, b.corners, margin, crop_side) for b in kept]
                rows["crop"] += [None, *(images.encode_jpeg(c, crop_quality) for c in crops)]
                counts["images"] += 1
                counts["boxes"] += len(kept)
                counts["images_without_boxes"] += not boxes
                counts["images_capped"] += len(boxes) > cap
            writer.write(rows)
    return {**counts, "boxes_per_image": counts["boxes"] / max(1, counts["images"])}
