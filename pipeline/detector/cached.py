"""The frozen detector behind the feature store: boxes by image, crops by image, boxes and how they are cut out.

So a killed run goes on where it stopped, another curation detects only on images never seen, and another size of
crop detects nothing again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from ultralytics import YOLO

from pipeline.artifacts.manifest import Manifest
from pipeline.detector.detect import CODE, PADDING, Box, crop, detect, large_enough
from pipeline.images import decoding
from pipeline.machine.ahead import ahead
from pipeline.machine.batches import batches
from pipeline.machine.progress import report_new
from pipeline.store import keys
from pipeline.store.collection import Collection, Writer
from pipeline.store.keys import Keys

_FLOATS, _STRINGS = pa.list_(pa.float32()), pa.list_(pa.string())
_BOXES = pa.schema([("corners", pa.list_(pa.list_(pa.float32(), 4))), ("scores", _FLOATS), ("names", _STRINGS)])
_CROPS = pa.schema([("crops", pa.list_(pa.binary()))])

_CHUNK = 8192
"""Images whose boxes are in memory at a time."""


@dataclass(frozen=True)
class Detection:
    """How boxes are found; see `detect`."""

    confidence: float
    iou: float
    image_size: int
    batch: int


@dataclass(frozen=True)
class Cropping:
    """Which boxes are cut out (`large_enough`, then `cap` of an image), and how (`crop`; `quality`: of the JPEG)."""

    cap: int
    min_side: int
    margin: float
    side: int
    quality: int


class CachedDetector:
    """A frozen detector, and crops of what it finds.

    Args:
        detector: the model.
        weights: sha256 of its file.
        detection: how boxes are found.
        cropping: how they are cut out.
        device: where it runs; in no fingerprint, so that a team with other machines can share.
        root: the feature store's folder.
        workers: threads that decode images while the detector computes, and cut them.
        given: boxes, the best first, of images that the detector does not look at, by the image's key.
    """

    def __init__(
        self,
        detector: YOLO,
        weights: str,
        detection: Detection,
        cropping: Cropping,
        device: str,
        root: Path,
        workers: int,
        given: Mapping[bytes, list[Box]] | None = None,
    ) -> None:
        self.detector, self.detection, self.cropping, self.device = detector, detection, cropping, device
        self.workers, self.given = workers, given or {}
        code = f"{CODE}, {decoding.CODE}"
        self._boxes = Collection(root, "boxes", {"code": code, "weights": weights, **asdict(detection)}, _BOXES)
        # Which boxes are cut stands in a row's key.
        how = {name: value for name, value in asdict(cropping).items() if name not in ("cap", "min_side")}
        self._crops = Collection(root, "crops", {"code": code, "padding": list(PADDING), **how}, _CROPS)

    @property
    def collections(self) -> list[Collection]:
        """Those that are used: of boxes, and of crops."""
        return [self._boxes, self._crops]

    @property
    def folders(self) -> list[str]:
        """Their names."""
        return [collection.folder.name for collection in self.collections]

    def lacking(self, manifest: Manifest) -> NDArray[np.int64]:
        """The rows of a manifest for which `fill` has work, int64 ascending; of equal images the first."""
        no_boxes = self._unseen(manifest.image_keys)
        known = np.flatnonzero(~no_boxes)
        wanted, some = self._crops_wanted(manifest.only(known))
        no_boxes[known] = some & self._crops.missing(wanted)
        return keys.first_of(manifest.image_keys, no_boxes)

    def known(self, manifest: Manifest) -> tuple[Keys, pa.Table]:
        """The rows of boxes that the store holds of a manifest's images, for `lend` elsewhere."""
        wanted = manifest.image_keys[~self._boxes.missing(manifest.image_keys)]
        return wanted, self._boxes.take(wanted)

    def given_of(self, manifest: Manifest) -> dict[bytes, list[Box]]:
        """The boxes that were given with a manifest's images."""
        return {image: self.given[image] for image in keys.unpack(manifest.image_keys) if image in self.given}

    def _unseen(self, image_keys: Keys) -> NDArray[np.bool_]:
        """Which images the detector has to look at, bool [n]."""
        given = np.array([image in self.given for image in keys.unpack(image_keys)], dtype=bool)
        unseen: NDArray[np.bool_] = self._boxes.missing(image_keys) & ~given
        return unseen

    def lend(self, image_keys: Keys, boxes: pa.Table, folder: Path) -> None:
        """Have it know boxes that another has found; see `Collection.lend`."""
        self._boxes.lend(image_keys, boxes, folder)

    def fill(self, manifest: Manifest) -> None:
        """Detect on images, and cut boxes out, wherever the store has no row of it."""
        image_keys = manifest.image_keys
        lacking = keys.first_of(image_keys, self._unseen(image_keys))
        report_new("detect", len(lacking), len(manifest))
        with self._boxes.writing() as boxes, self._crops.writing() as crops:
            for numbers, decoded in self._decoded(manifest, lacking, "detect"):
                found = self.detect(decoded)
                columns = (
                    [[getattr(b, name) for b in boxes] for boxes in found] for name in ("corners", "score", "name")
                )
                boxes.add(image_keys[numbers], *columns)
                self._add_crops(image_keys[numbers], decoded, self._regions(manifest, numbers, found), crops)
        wanted, some = self._crops_wanted(manifest)
        lacking = keys.first_of(wanted, some & self._crops.missing(wanted))
        if len(lacking):
            report_new("crop", len(lacking), int(some.sum()))
        with self._crops.writing() as crops:
            for numbers, decoded in self._decoded(manifest, lacking, "crop"):
                self._add_crops(image_keys[numbers], decoded, self.regions(manifest, numbers), crops)

    def _crops_wanted(self, manifest: Manifest) -> tuple[Keys, NDArray[np.bool_]]:
        """The keys of every image's crops, and which images have any."""
        image_keys = manifest.image_keys
        wanted, some = np.empty_like(image_keys), np.empty(len(image_keys), dtype=bool)
        for start in range(0, len(image_keys), _CHUNK):
            part = slice(start, start + _CHUNK)
            found = self.regions(manifest, range(len(image_keys))[part])
            wanted[part] = self._crop_keys(image_keys[part], found)
            some[part] = [len(boxes) > 0 for boxes in found]
        return wanted, some

    def _decoded(
        self, manifest: Manifest, numbers: NDArray[np.int64], what: str
    ) -> Iterator[tuple[NDArray[np.int64], list[Image.Image]]]:
        if len(numbers):
            read = (data for _, data in manifest.images(what, numbers))
            batch = self.detection.batch
            decoded = ahead(decoding.decode, read, threads=self.workers, depth=batch + self.workers)
            for part in batches(zip(numbers, decoded, strict=True), batch):
                yield np.array([i for i, _ in part]), [image for _, image in part]

    def detect(self, image_keys: Sequence[Image.Image]) -> list[list[Box]]:
        """Boxes of at most a batch of images, the best first, from the detector itself."""
        return detect(self.detector, image_keys, **asdict(self.detection), device=self.device)

    def cut(self, image: Image.Image, box: Box) -> bytes:
        """The JPEG of what is in a box."""
        cut = crop(image, box.corners, self.cropping.margin, self.cropping.side)
        return decoding.encode_jpeg(cut, self.cropping.quality)

    def _add_crops(
        self, image_keys: Keys, decoded: Sequence[Image.Image], found: Sequence[Sequence[Box]], writer: Writer
    ) -> None:
        wanted = self._crop_keys(image_keys, found)
        lacking = np.fromiter((len(boxes) > 0 for boxes in found), dtype=bool) & self._crops.missing(wanted)

        def cut_out(i: int) -> list[bytes]:
            return [self.cut(decoded[i], box) for box in found[i][: self.cropping.cap]]

        some = np.flatnonzero(lacking)
        writer.add(wanted[some], list(ahead(cut_out, some.tolist(), threads=self.workers, depth=max(1, len(some)))))

    def regions(self, manifest: Manifest, numbers: Sequence[int] | NDArray[np.int64]) -> list[list[Box]]:
        """Of these rows of a manifest the boxes that are large enough for a region, the best first.

        Raises:
            StoreError: the store has no row of an image.
        """
        return self._regions(manifest, numbers, self.boxes(manifest.image_keys[numbers]))

    def _regions(
        self, manifest: Manifest, numbers: Sequence[int] | NDArray[np.int64], found: Sequence[list[Box]]
    ) -> list[list[Box]]:
        sizes = ((manifest.rows[i]["width"], manifest.rows[i]["height"]) for i in numbers)
        return [large_enough(boxes, *size, self.cropping.min_side) for boxes, size in zip(found, sizes, strict=True)]

    def boxes(self, image_keys: Keys) -> list[list[Box]]:
        """All boxes of images whose keys are given, the best first.

        Raises:
            StoreError: the store has no row of an image.
        """
        given = [self.given.get(image) for image in keys.unpack(image_keys)]
        rows = self._boxes.take(image_keys[[boxes is None for boxes in given]])
        columns = (rows[name].to_pylist() for name in _BOXES.names)
        found = (
            [Box((c[0], c[1], c[2], c[3]), score, name) for c, score, name in zip(*values, strict=True)]
            for values in zip(*columns, strict=True)
        )
        return [next(found) if boxes is None else boxes for boxes in given]

    def crops(self, image_keys: Keys, found: Sequence[Sequence[Box]]) -> list[list[bytes]]:
        """The JPEGs of the first `cap` boxes of images whose keys are given, empty for an image without a box.

        Raises:
            StoreError: the store has no row of an image with boxes.
        """
        some = [i for i, boxes in enumerate(found) if boxes]
        rows = self._crops.take(self._crop_keys(image_keys[some], [found[i] for i in some]))
        cut = iter(rows["crops"].to_pylist())
        return [next(cut) if boxes else [] for boxes in found]

    def _crop_keys(self, image_keys: Keys, found: Iterable[Sequence[Box]]) -> Keys:
        """The key of every image's crops: of the image's own key and the corners of its boxes."""
        return keys.pack(
            keys.from_bytes(image, np.array([b.corners for b in boxes[: self.cropping.cap]], dtype="<f4").tobytes())
            for image, boxes in zip(keys.unpack(image_keys), found, strict=True)
        )
