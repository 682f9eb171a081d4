"""Embeddings of a frozen CLIP by actors: images, crops and views a shard at a time, texts some thousand at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts.catalog import tables_of
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import SpanKind
from pipeline.artifacts.spans import span_rows
from pipeline.artifacts.tables import offsets
from pipeline.clip import towers
from pipeline.clip.cached import CachedClip
from pipeline.clip.encode import Compute
from pipeline.clip.image_files import bytes_of
from pipeline.cluster.connection import Cluster
from pipeline.cluster.shards import by_shard, reachable
from pipeline.cluster.texts import text_tasks
from pipeline.cluster.work import Carried, Task, Work
from pipeline.features.clip_tables import Material
from pipeline.features.image_embeddings import crops_of
from pipeline.machine.batches import batches
from pipeline.store import keys
from pipeline.store.keys import Keys
from pipeline.views.table import ViewsOf

_FILES = 512
"""Zero-shot images of a task."""


@dataclass(frozen=True)
class _Given:
    """What is to be embedded: images of a shard and of files, crops, views, texts; their tokens, too, or not."""

    images: Manifest | None = None
    views: ViewsOf | None = None
    files: Sequence[bytes] = ()
    texts: Sequence[str] = ()
    tokens: bool = False


@dataclass(frozen=True)
class _Embedding:
    """Embeds whatever it is given; see `CachedClip`."""

    weights: str
    compute: Compute
    shards: str

    def load(self, folder: Path) -> Work:
        """Load the CLIP."""
        model = towers.load(folder, self.compute.device)

        def work(given: _Given, root: Path) -> int:
            clip, rows = CachedClip(model, self.compute, root), 0
            if given.images is not None:
                with reachable(given.images, self.shards) as folder:
                    images = given.images.within(folder)
                    rows += clip.embed_images(images.image_keys, partial(_read, images), "embed images", _named(images))
            if given.files:
                wanted = keys.pack(map(keys.from_bytes, given.files))
                rows += clip.embed_images(wanted, lambda numbers: (given.files[i] for i in numbers), "embed files")
            if given.views is not None:
                with reachable(given.views.manifest, self.shards) as folder:
                    rows += clip.embed_views(given.views.within(folder), "embed views")
            return rows + clip.embed_texts(given.texts, "embed texts", tokens=given.tokens)

        return work


def _read(images: Manifest, rows: NDArray[np.int64]) -> Iterator[bytes]:
    return (data for _, data in images.images("read images", rows))


def _named(images: Manifest) -> Callable[[int], str]:
    return images.keys.__getitem__


class _Wanted:
    """What a CLIP is to embed, and which tasks are left of it.

    Attributes:
        collections: where it goes.
    """

    def __init__(self, clip: CachedClip, material: Material, name: str, kinds: Sequence[SpanKind]) -> None:
        self.clip, self.material = clip, material
        manifest, regions = material.manifest, material.regions
        self.crops, self.crop_keys = crops_of(regions)
        start = offsets(regions.strings("key"), manifest.keys, str(regions.path))
        self.owners = np.searchsorted(start, self.crops, side="right") - 1
        self.views = material.views if tables_of(name).views else None
        self.tokens = SpanKind.TOKENS in kinds
        groups = span_rows(manifest, material.spans, SpanKind.PHRASES) if SpanKind.PHRASES in kinds else ()
        self.texts: dict[str, list[str]] = {"captions": list(dict.fromkeys(manifest.texts))}
        known = set(self.texts["captions"])
        phrases = (row[3] for group in groups for row in group)
        for what, strings in (("phrases", phrases), ("prompts", self._prompts), ("columns", material.columns)):
            self.texts[what] = [text for text in dict.fromkeys(strings) if text not in known]
            known.update(self.texts[what])
        self.collections = [clip.images, clip.texts]
        self.collections += [clip.tokens] if self.tokens else []
        self.collections += [clip.views] if self.views else []

    @property
    def _prompts(self) -> list[str]:
        return self.material.zeroshot.prompts

    def tasks(self) -> list[Task]:
        """Whatever its collections do not hold."""
        return [*self._shards(), *self._files(), *(task for what in self.texts for task in self._of_texts(what))]

    def _lacking(self, wanted: Keys) -> NDArray[np.int64]:
        return keys.first_of(wanted, self.clip.images.missing(wanted))

    def _shards(self) -> Iterator[Task]:
        manifest, none = self.material.manifest, np.empty(0, dtype=np.int64)
        images = by_shard(manifest, self._lacking(manifest.image_keys))
        lacking = self._lacking(self.crop_keys)
        crops, first = dict[str, NDArray[np.int64]](), 0
        for name, owners in by_shard(manifest, self.owners[lacking]).items():
            crops[name] = lacking[first : first + len(owners)]
            first += len(owners)
        views = by_shard(self.views.manifest, self._images_of_views(self.views)) if self.views else {}
        for name in sorted({*images, *crops, *views}):
            rows = [found.get(name, none) for found in (images, crops, views)]
            yield Task(name, "shard", sum(map(len, rows)), partial(self._of_shard, *rows))

    def _images_of_views(self, views: ViewsOf) -> NDArray[np.int64]:
        return np.unique(np.flatnonzero(self.clip.views.missing(views.store_keys)) // max(1, views.count))

    def _of_shard(self, images: NDArray[np.int64], crops: NDArray[np.int64], views: NDArray[np.int64]) -> _Given:
        column = self.material.regions.columns["crop"]
        files = [column[int(self.crops[i])].as_py() for i in crops]
        return _Given(
            self.material.manifest.only(images), self.views.only(views) if self.views and len(views) else None, files
        )

    def _files(self) -> Iterator[Task]:
        lacking = self._lacking(self.material.zeroshot.keys).tolist()
        for part in batches(lacking, _FILES):
            name = f"zero-shot images {part[0]:,} to {part[-1]:,}"
            yield Task(name, "files", len(part), partial(self._of_files, part))

    def _of_files(self, part: Sequence[int]) -> _Given:
        return _Given(files=[bytes_of(self.material.zeroshot.images[i]) for i in part])

    def _of_texts(self, what: str) -> list[Task]:
        strings, tokens = self.texts[what], self.tokens and what == "captions"
        wanted = keys.from_texts(strings)
        lacking = self.clip.texts.missing(wanted)
        if tokens:
            lacking |= self.clip.tokens.missing(wanted)
        left = [strings[i] for i in np.flatnonzero(lacking)]
        return text_tasks(what, left, lambda some: _Given(texts=some, tokens=tokens))


@dataclass(frozen=True)
class Embedder:
    """Has actors embed whatever is new to a CLIP, so that its tables can be written; a `clip_tables.Before`.

    Attributes:
        folder: of a CLIP by its name.
    """

    cluster: Cluster
    folder: Callable[[str], Path]

    def __call__(self, clip: CachedClip, name: str, material: Material, kinds: Sequence[SpanKind]) -> None:
        """Fill the feature store with what this CLIP makes of images, crops, texts, and of views if it is a teacher."""
        wanted = _Wanted(clip, material, name, kinds)
        compute = replace(clip.compute, device=self.cluster.actors.device)
        job = _Embedding(clip.weights, compute, self.cluster.shards(material.manifest))
        carried = Carried.folder(self.folder(name))
        self.cluster.fill(job, wanted.collections, wanted.tasks, f"embed with {name} by actors", carried)
