"""The crops of the regions table, for recipes that look at regions with the student itself."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.tables import ContractError, Table, offsets
from pipeline.machine.progress import track


class Crops:
    """The crops of a manifest's images, read like its images are.

    Args:
        regions: the regions table of the same manifest.
        manifest: whose images; region 0 of each, which is the image itself, has no crop.

    Attributes:
        start: int64 [images + 1], where each image's regions begin, region 0 included.
        fingerprint: of the table.
        splits: of the manifest.

    Raises:
        ContractError: the table has no region 0 of an image.
    """

    def __init__(self, regions: Table, manifest: Manifest) -> None:
        keys, wanted = regions.strings("key"), set(manifest.keys)
        inside = np.flatnonzero(np.fromiter((key in wanted for key in keys), dtype=bool, count=len(keys)))
        self.start = offsets([keys[row] for row in inside], manifest.keys, str(regions.path))
        index = np.append(regions.integers("region_index")[inside], -1)
        whole = (np.diff(self.start) > 0) & (index[self.start[:-1]] == 0)
        if not whole.all():
            key = manifest.keys[int(whole.argmin())]
            raise ContractError(f"{regions.path} has no region 0 of {key}; run: dvc repro -sf regions")
        self._rows = inside[index[:-1] > 0]
        self._keys, self._column = keys, regions.columns["crop"]
        self.fingerprint, self.splits = regions.metadata["fingerprint"], manifest.splits

    def __len__(self) -> int:
        return len(self._rows)

    def image(self, row: int) -> bytes:
        """A crop's JPEG."""
        data: bytes = self._column[int(self._rows[row])].as_py()
        return data

    def images(self, what: str) -> Iterator[tuple[str, bytes]]:
        """The key of its image and the JPEG of every crop; `what` is for the progress line."""
        crops = ((self._keys[place], self.image(row)) for row, place in enumerate(self._rows))
        yield from track(crops, what, total=len(self), unit="crops")
