"""The views of all training images as a table, and as its readers see them: files and what is made of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import VIEWS
from pipeline.artifacts.tables import Table, TableWriter, check_index, check_keys
from pipeline.disk.provenance import provenance
from pipeline.machine.batches import batches
from pipeline.store import keys
from pipeline.store.keys import Keys
from pipeline.views.view import CODE, Augmentation, View, apply, drawn

_CHUNK = 8192
_COLOURS = ("brightness", "contrast", "saturation")


def write(manifest: Manifest, path: Path, how: Augmentation, *, count: int, seed: int) -> None:
    """Draw views 1 .. count of every image of a manifest and write them, image by image."""
    parameters = {"seed": seed, "count": count, "area": how.area, "flip": how.flip, "colour": how.colour}
    metadata = provenance("views", code=CODE, manifest=manifest.fingerprint, model="", inputs={}, parameters=parameters)
    places = ((key, number) for key in manifest.keys for number in range(1, count + 1))
    with TableWriter(path, VIEWS, metadata) as writer:
        for part in batches(places, _CHUNK):
            views = [drawn(seed, key, number, how) for key, number in part]
            named, numbers = zip(*part, strict=True)
            columns = {name: [getattr(view, name) for view in views] for name in ("box", "flip", *_COLOURS)}
            writer.write({"key": named, "view": numbers, **columns})


class ViewsOf:
    """The views of a manifest's images: a row each, image by image, view 1 to `count`.

    A source of decoded images, as `pipeline.distillation.pixels` reads them.

    Attributes:
        count: views of an image.

    Raises:
        ContractError: the table does not hold the same number of views of every image, in the manifest's order.
    """

    def __init__(self, manifest: Manifest, table: Table) -> None:
        self.manifest, self.fingerprint, self.splits = manifest, table.metadata["fingerprint"], manifest.splits
        self.count = len(table) // max(1, len(manifest))
        self.numbers: NDArray[np.int32] = table.integers("view")
        """The number of every view, int32 [n * count]."""
        self.keys: list[str] = table.strings("key")
        """The key of every view's image."""
        check_keys(self.keys, [key for key in manifest.keys for _ in range(self.count)], str(table.path))
        check_index(table, "view", np.tile(np.arange(1, self.count + 1), len(manifest)))
        self._boxes: NDArray[np.float32] = table.columns["box"].combine_chunks().flatten().to_numpy().reshape(-1, 4)
        self._flips: list[bool] = table.columns["flip"].to_pylist()
        self._colours = np.stack([table.columns[name].to_numpy() for name in _COLOURS], axis=1)

    def only(self, images: Sequence[int] | NDArray[np.int64]) -> ViewsOf:
        """Those of some of the images, by their rows in the manifest, ascending; it can be sent to another process."""
        part = object.__new__(ViewsOf)
        part.manifest, part.fingerprint, part.splits = self.manifest.only(images), self.fingerprint, self.splits
        part.count = self.count
        rows = (np.asarray(images, dtype=np.int64)[:, None] * self.count + np.arange(self.count)).reshape(-1)
        part.keys = [self.keys[row] for row in rows]
        part._flips = [self._flips[row] for row in rows]
        part.numbers, part._boxes, part._colours = self.numbers[rows], self._boxes[rows], self._colours[rows]
        return part

    def within(self, folder: Path) -> ViewsOf:
        """The same views where their images' shards lie in another folder."""
        moved = self.only(range(len(self.manifest)))
        moved.manifest = self.manifest.within(folder)
        return moved

    def __len__(self) -> int:
        return len(self.keys)

    def view(self, row: int) -> View:
        """How one of them is made."""
        x0, y0, x1, y1 = self._boxes[row].tolist()
        return View((x0, y0, x1, y1), self._flips[row], *self._colours[row].tolist())

    @cached_property
    def store_keys(self) -> Keys:
        """What the feature store knows them by, uint64 [n * count, 2]: the image's key and the view's parameters."""
        images = keys.unpack(self.manifest.image_keys)
        return keys.pack(keys.from_bytes(images[row // self.count], self.view(row).packed) for row in range(len(self)))

    def image(self, row: int) -> bytes:
        """The bytes of the file that a row is made of."""
        return self.manifest.image(row // self.count)

    def images(self, what: str, files: Sequence[int] | NDArray[np.int64] | None = None) -> Iterator[tuple[str, bytes]]:
        """Key and bytes of the files, each once, as `Manifest.images`."""
        return self.manifest.images(what, files)

    def made(self, row: int, image: Image.Image) -> Image.Image:
        """What a row shows of its decoded file."""
        return apply(image, self.view(row))
