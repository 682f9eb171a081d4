"""Embeddings of every image, of every region's crop, and of every view of a training image."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.catalog import ClipTables
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import embeddings
from pipeline.artifacts.tables import EmbeddingWriter, Table, offsets
from pipeline.clip.cached import CachedClip
from pipeline.machine.progress import track
from pipeline.store import keys
from pipeline.store.keys import Keys
from pipeline.views.table import ViewsOf

_CHUNK = 8192


def write(
    clip: CachedClip, manifest: Manifest, regions: Table, tables: ClipTables, folder: Path, metadata: dict[str, Any]
) -> int:
    """Embed whatever is new and write the tables of regions and of images (region 0, the whole image).

    Args:
        tables: which they are, below `folder`, the stage's.

    Returns:
        how many images and crops were embedded.
    """
    start = offsets(regions.strings("key"), manifest.keys, str(regions.path))
    places, wanted = crops_of(regions)

    def crops(numbers: NDArray[np.int64]) -> Iterable[bytes]:
        column = regions.columns["crop"]
        return track((column[int(places[i])].as_py() for i in numbers), "read crops", len(numbers), "crops")

    computed = clip.embed_images(
        manifest.image_keys,
        lambda rows: (data for _, data in manifest.images("read images", rows)),
        "embed images",
        manifest.keys.__getitem__,
    )
    computed += clip.embed_images(wanted, crops, "embed crops")

    every = np.empty((len(regions), 2), dtype=np.uint64)
    every[start[:-1]] = manifest.image_keys
    every[places] = wanted
    d = clip.clip.dimension
    names, index = regions.strings("key"), regions.integers("region_index")
    with EmbeddingWriter(folder / tables.regions.name, embeddings("region_index", dimension=d), metadata) as writer:
        for first in range(0, len(every), _CHUNK):
            part = slice(first, first + _CHUNK)
            writer.write(names[part], index[part], clip.images.vectors(every[part]))
    with EmbeddingWriter(folder / tables.images.name, embeddings(dimension=d), metadata) as writer:
        for first in range(0, len(manifest), _CHUNK):
            part = slice(first, first + _CHUNK)
            writer.write(manifest.keys[part], clip.images.vectors(manifest.image_keys[part]))
    return computed


def write_views(clip: CachedClip, views: ViewsOf, path: Path, metadata: dict[str, Any]) -> int:
    """Embed whatever is new of the views and write their table.

    Returns:
        how many were embedded.
    """
    computed = clip.embed_views(views, "embed views")
    with EmbeddingWriter(path, embeddings("view", dimension=clip.clip.dimension), metadata) as writer:
        for first in range(0, len(views), _CHUNK):
            part = slice(first, first + _CHUNK)
            writer.write(views.keys[part], views.numbers[part], clip.views.vectors(views.store_keys[part]))
    return computed


def crops_of(regions: Table) -> tuple[NDArray[np.int64], Keys]:
    """The rows of the regions table that hold a crop, and the crops' keys."""
    places, found = [], []
    for row, crop in enumerate(regions.columns["crop"]):
        if crop.is_valid:
            places.append(row)
            found.append(keys.from_bytes(crop.as_buffer()))
    return np.array(places, dtype=np.int64), keys.pack(found)
