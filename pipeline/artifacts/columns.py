"""What training images have beside captions, as curation has left it: rewrites, negatives, given boxes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.artifacts import catalog
from pipeline.artifacts.catalog import Artifact
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.tables import ContractError, offsets
from pipeline.disk import files

_WORDS = 2
"""Of a rewrite that may stand for a caption; one of fewer says nothing (LaCLIP, arXiv 2305.20088)."""


def says_something(rewrite: str) -> bool:
    """Whether a rewrite may stand for a caption."""
    return len(rewrite.split()) >= _WORDS


def read(artifact: Artifact, training: Manifest, *names: str) -> tuple[pa.Table, NDArray[np.int64]]:
    """Columns of a table, and where each training image's rows begin, int64 [n + 1].

    Args:
        training: all samples of the train split.
        *names: of columns beside the key.

    Raises:
        ContractError: there is no such table, or it is of another curation.
    """
    path, columns = training.folder / artifact.name, artifact.columns
    assert isinstance(columns, pa.Schema), f"{artifact.path} has columns of any dimension"
    again = "run: dvc repro -sf curate"
    if not path.is_file():
        raise ContractError(f"{path} does not exist; {again}")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ContractError(f"{path} is damaged ({error}); {again}") from error
    found = (table.schema.metadata or {}).get(b"manifest", b"").decode()
    if not table.schema.remove_metadata().equals(columns) or found != training.fingerprint:
        raise ContractError(
            f"{path} has columns {table.schema.names} of manifest {found or 'none'}, expected {columns.names} "
            f"of {training.fingerprint}; {again}"
        )
    return table.select(names), offsets(table["key"].to_pylist(), training.keys, str(path))


def texts(artifact: Artifact, training: Manifest) -> list[list[str]]:
    """The rewrites, or the negatives, of every training image.

    Raises:
        ContractError: as `read`.
    """
    table, start = read(artifact, training, "text")
    flat = table["text"].to_pylist()
    return [flat[first:last] for first, last in pairwise(start)]


def distinct(training: Manifest) -> list[str]:
    """Every rewrite that says something and every negative once, rewrites first.

    Raises:
        ContractError: as `read`.
    """
    rewrites = filter(says_something, read(catalog.REWRITES, training, "text")[0]["text"].to_pylist())
    return list(dict.fromkeys([*rewrites, *read(catalog.NEGATIVES, training, "text")[0]["text"].to_pylist()]))


def fingerprint(training: Manifest) -> str:
    """Stands for all rewrites and negatives."""
    return files.fingerprint(
        **{artifact.name: files.sha256(training.folder / artifact.name) for artifact in catalog.COLUMNS[:2]}
    )
