"""The data folder: where every artifact of the catalog is, and its readers, which load nothing that makes one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.artifacts import catalog, figures
from pipeline.artifacts.catalog import Artifact
from pipeline.artifacts.clip_targets import ClipTargets
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import Split
from pipeline.artifacts.tables import ContractError, Table
from pipeline.artifacts.targets import Targets
from pipeline.disk import sums

Embeddings = NDArray[np.float16]


class Workspace:
    """A folder with a folder for every stage.

    Every reader checks that what it reads belongs to the manifest that it is given and has the metadata that is named
    by keyword, such as `weights=`; what is missing, or made from something else, is a ContractError.
    """

    def __init__(self, data: Path) -> None:
        self.data = data

    def path(self, artifact: Artifact) -> Path:
        """Where an artifact is, or will be."""
        return self.data / artifact.path

    def folder(self, stage: str) -> Path:
        """Where a stage writes."""
        return self.data / stage

    @property
    def student(self) -> Path:
        """The student's folder, which open_clip reads as a local directory."""
        return self.path(catalog.STUDENT_CONFIG).parent

    def model(self, name: str) -> Path:
        """The folder of one of `catalog.MEASURED`, which open_clip reads as a local directory."""
        folders = {"base": self.path(catalog.BASE_CLIP), "end_point": self.path(catalog.END_POINT)}
        return folders.get(name, self.student)

    def has(self, *artifacts: Artifact) -> bool:
        """Whether all of them are here; a member of a team has fetched some."""
        return all(self.path(artifact).exists() for artifact in artifacts)

    def manifest(self, *splits: Split) -> Manifest:
        """The kept samples of some splits, or of all."""
        return Manifest(self.folder(catalog.MANIFEST.stage), splits or tuple(Split))

    def table(self, artifact: Artifact, manifest: Manifest | None = None, **expected: Any) -> Table:
        """A table whose columns are those of the catalog."""
        origin = {} if manifest is None else {"manifest": manifest.fingerprint}
        table = Table(self.path(artifact), **origin, **expected)
        columns = artifact.columns
        if callable(columns):
            dimension = getattr(table.columns.schema.field(-1).type, "list_size", 0)
            columns = columns(dimension=dimension)
        if columns is not None and not (found := table.columns.schema.remove_metadata()).equals(columns):
            raise ContractError(f"{table.path}: found columns\n{found}\nexpected\n{columns}")
        return table

    def images(self, manifest: Manifest, **expected: Any) -> Embeddings:
        """The base's embeddings of images, [n, d]; not copied."""
        return self.table(catalog.IMAGE_EMBEDDINGS, manifest, **expected).rows_of(manifest.keys)

    def captions(self, manifest: Manifest, **expected: Any) -> Embeddings:
        """The base's embeddings of all their captions in order, [c, d]; not copied."""
        return self.table(catalog.CAPTION_EMBEDDINGS, manifest, **expected).rows_of(manifest.captioned)

    def targets(self, manifest: Manifest, **expected: Any) -> Targets:
        """The meta-teacher's embeddings of the training samples."""
        return Targets(self.table(catalog.TARGETS, manifest, **expected), manifest)

    def clip_targets(self, teacher: str, manifest: Manifest) -> ClipTargets:
        """The embeddings of one of `teachers` of the training samples."""
        return ClipTargets(catalog.targets_of(teacher), manifest, partial(self.table, manifest=manifest))

    def language(self, manifest: Manifest, **expected: Any) -> Embeddings:
        """A language model's embeddings of captions, [c, d]; not copied."""
        return self.table(catalog.LANGUAGE, manifest, **expected).rows_of(manifest.captioned)

    def labels(self, manifest: Manifest, **expected: Any) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Concepts of captions and their shares, [c, m] each."""
        return read_labels(self.table(catalog.CONCEPT_LABELS, manifest, **expected), manifest.captioned)

    def summary(self, stage: str) -> Any:
        """What a stage's metrics.json holds; it is the one that the stage wrote."""
        return self.json(catalog.summary(stage))

    def json(self, artifact: Artifact) -> Any:
        """A JSON file, checked as `summary`."""
        return sums.read_json(self.folder(artifact.stage), artifact.name)

    def rows(self, artifact: Artifact, *needed: str) -> list[dict[str, str]]:
        """A CSV file's rows; see `figures.read`."""
        return figures.read(self.folder(artifact.stage), artifact.name, *needed)

    def columns(self, artifact: Artifact, *needed: str) -> dict[str, list[float]]:
        """Its columns of numbers; see `figures.columns`."""
        return figures.columns(self.folder(artifact.stage), artifact.name, *needed)


def read_labels(table: Table, keys: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Concepts and shares of the captions of some keys that follow each other in the manifest, [captions, m] each.

    Raises:
        ContractError: they do not stand together in this order.
    """
    rows = table.places(keys)
    part = table.columns.slice(rows.start, rows.stop - rows.start)
    concepts, shares = (
        part[name].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(part.num_rows, -1)
        for name in ("concepts", "shares")
    )
    return concepts, shares
