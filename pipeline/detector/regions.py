"""The regions table: YOLO boxes and crops of every image, the whole image always being region 0."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pipeline.artifacts import catalog
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import BOXES, REGIONS, Split
from pipeline.artifacts.tables import TableWriter
from pipeline.detector.cached import CachedDetector
from pipeline.machine.batches import batches

WHOLE = [0.0, 0.0, 1.0, 1.0]

_CHUNK = 512
"""Images whose crops are in memory at a time."""


def write(detector: CachedDetector, manifest: Manifest, folder: Path, metadata: dict[str, Any]) -> dict[str, float]:
    """Detect whatever is new and write regions.arrow (`schema.REGIONS`) and test_boxes.arrow (`schema.BOXES`).

    Boxes that are too small are left out (`detector.detect.large_enough`), the others are sorted by score x area and
    cut to the first `cap`; an image without a box has region 0 alone.
    test_boxes.arrow has the rows of the test images without their crops: what the report draws.

    Returns:
        counts: images, boxes, boxes that are too small, images without any, images whose boxes were cut to `cap`.
    """
    detector.fill(manifest)
    counts = {"images": 0, "boxes": 0, "boxes_too_small": 0, "images_without_boxes": 0, "images_capped": 0}
    with (
        TableWriter(folder / catalog.REGIONS.name, REGIONS, metadata) as regions_table,
        TableWriter(folder / catalog.TEST_BOXES.name, BOXES, metadata) as test_table,
    ):
        for part in batches(range(len(manifest)), _CHUNK):
            image_keys = manifest.image_keys[part]
            found = detector.regions(manifest, part)
            counts["boxes_too_small"] += sum(map(len, detector.boxes(image_keys))) - sum(map(len, found))
            rows: dict[str, list[Any]] = {name: [] for name in REGIONS.names}
            test: list[bool] = []
            for i, boxes, crops in zip(part, found, detector.crops(image_keys, found), strict=True):
                kept = boxes[: len(crops)]
                rows["key"] += [manifest.keys[i]] * (1 + len(kept))
                rows["region_index"] += range(1 + len(kept))
                rows["box"] += [WHOLE, *(list(b.corners) for b in kept)]
                rows["score"] += [1.0, *(b.score for b in kept)]
                rows["class_name"] += ["image", *(b.name for b in kept)]
                rows["crop"] += [None, *crops]
                test += [manifest.rows[i]["split"] == Split.TEST] * (1 + len(kept))
                counts["images"] += 1
                counts["boxes"] += len(kept)
                counts["images_without_boxes"] += not boxes
                counts["images_capped"] += len(boxes) > len(kept)
            regions_table.write(rows)
            test_table.write({name: [v for v, t in zip(rows[name], test, strict=True) if t] for name in BOXES.names})
    if small := counts["boxes_too_small"]:
        print(
            f"regions: {small:,} of {small + counts['boxes']:,} boxes are no regions, their longer side has fewer than "
            f"{detector.cropping.min_side} pixels (regions.min_side)",
            file=sys.stderr,
        )
    if detector.given:
        counts["images_with_given_boxes"] = len(detector.given)
    return {**counts, "boxes_per_image": counts["boxes"] / max(1, counts["images"])}
