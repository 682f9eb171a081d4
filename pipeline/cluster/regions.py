"""Boxes and crops by actors, a shard at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa

from pipeline.artifacts import catalog
from pipeline.artifacts.manifest import Manifest
from pipeline.cluster.connection import Cluster
from pipeline.cluster.shards import by_shard, reachable
from pipeline.cluster.work import Carried, Task, Work
from pipeline.detector import weights
from pipeline.detector.cached import CachedDetector, Cropping, Detection
from pipeline.detector.detect import Box
from pipeline.store.keys import Keys

_WEIGHTS = catalog.DETECTOR.name


@dataclass(frozen=True)
class _Shard:
    """Samples of a shard that lack boxes or crops, and the boxes that are known of some, or were given with them."""

    manifest: Manifest
    known: tuple[Keys, pa.Table]
    given: dict[bytes, list[Box]]


@dataclass(frozen=True)
class _Detecting:
    """Detects and cuts; see `CachedDetector`."""

    sha256: str
    detection: Detection
    cropping: Cropping
    device: str
    workers: int
    shards: str

    def load(self, folder: Path) -> Work:
        """Open the detector."""
        model = weights.load(folder / _WEIGHTS, self.sha256)

        def work(given: _Shard, root: Path) -> int:
            how = self.detection, self.cropping, self.device
            detector = CachedDetector(model, self.sha256, *how, root, self.workers, given.given)
            detector.lend(*given.known, root / "lent")
            with reachable(given.manifest, self.shards) as folder:
                detector.fill(given.manifest.within(folder))
            return len(given.manifest)

        return work


def fill(cluster: Cluster, detector: CachedDetector, path: Path, sha256: str, manifest: Manifest) -> int:
    """Have actors detect and cut whatever is new, so that `detector` finds it.

    Args:
        path: of the detector's weights.

    Returns:
        of how many images something was computed.
    """
    how = detector.detection, detector.cropping, cluster.actors.device
    job = _Detecting(sha256, *how, detector.workers, cluster.shards(manifest))

    def given(part: Manifest) -> _Shard:
        return _Shard(part, detector.known(part), detector.given_of(part))

    def tasks() -> list[Task]:
        lacking = by_shard(manifest, detector.lacking(manifest))
        return [Task(name, "shard", len(rows), partial(given, manifest.only(rows))) for name, rows in lacking.items()]

    return cluster.fill(job, detector.collections, tasks, "detect by actors", Carried({_WEIGHTS: path}))
