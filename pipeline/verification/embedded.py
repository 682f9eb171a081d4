"""The tables of one frozen CLIP, the base or a teacher, against what they say they were made from."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pyarrow as pa

from pipeline.artifacts import catalog, columns
from pipeline.artifacts.catalog import Artifact
from pipeline.artifacts.manifest import check_captions
from pipeline.artifacts.schema import SpanKind, Split
from pipeline.artifacts.tables import ContractError, Table, check_keys, check_unit
from pipeline.verification.artefacts import Artefacts

Check = tuple[str, Callable[[Artefacts], object]]
"""What is checked, in words, and the check."""


def checks(of: str) -> dict[Artifact, Check]:
    """What is checked of every table of a CLIP."""
    tables = catalog.tables_of(of)
    found: dict[Artifact, Check] = {
        tables.images: ("origin, keys, unit length", partial(_images, of)),
        tables.regions: ("the regions' rows, unit length", partial(_regions, of)),
        tables.captions: ("a row a caption, unit length", partial(_captions, of)),
    }
    for kind, spans in tables.spans.items():
        found[spans] = ("the spans' rows, unit length", partial(_spans, of, kind))
    for zeroshot in tables.zeroshot:
        found[zeroshot] = ("origin, unit length", partial(_zeroshot, of, zeroshot))
    found[tables.columns] = ("distinct texts, unit length", partial(_columns, of))
    if tables.views:
        found[tables.views] = ("the views' rows, unit length", partial(_views, of, tables.views))
    return found


def _images(of: str, artefacts: Artefacts) -> None:
    table = artefacts.embeddings(catalog.tables_of(of).images, of)
    check_keys(table.strings("key"), artefacts.manifest.keys, str(table.path))
    check_unit(table)


def _regions(of: str, artefacts: Artefacts) -> None:
    table = artefacts.embeddings(catalog.tables_of(of).regions, of)
    _check_rows(table, artefacts.regions().columns if artefacts.ws.has(catalog.REGIONS) else None)


def _captions(of: str, artefacts: Artefacts) -> None:
    table = artefacts.embeddings(catalog.tables_of(of).captions, of)
    check_captions(table, artefacts.manifest)
    check_unit(table)


def _spans(of: str, kind: SpanKind, artefacts: Artefacts) -> None:
    table, expected = artefacts.embeddings(catalog.tables_of(of).spans[kind], of), None
    if artefacts.ws.has(catalog.SPANS):
        spans = artefacts.spans().columns
        expected = spans.filter(np.array(spans["kind"].to_pylist()) == str(kind))
    _check_rows(table, expected)


def _zeroshot(of: str, artifact: Artifact, artefacts: Artefacts) -> None:
    check_unit(artefacts.embeddings(artifact, of))


def _columns(of: str, artefacts: Artefacts) -> None:
    table = artefacts.embeddings(catalog.tables_of(of).columns, of)
    if artefacts.ws.has(*catalog.COLUMNS):
        check_keys(table.strings("key"), columns.distinct(artefacts.ws.manifest(Split.TRAIN)), str(table.path))
    check_unit(table)


def _views(of: str, artifact: Artifact, artefacts: Artefacts) -> None:
    table = artefacts.embeddings(artifact, of)
    _check_rows(table, artefacts.views().columns if artefacts.ws.has(catalog.VIEWS) else None)


def _check_rows(table: Table, expected: pa.Table | None) -> None:
    """Stop unless an embedding table has unit embeddings and the keys and indices of another table, if that is here."""
    names = table.columns.schema.names[:-1]
    if expected is not None and not table.columns.select(names).equals(expected.select(names)):
        raise ContractError(f"{table.path}: its rows are not those it was made from; run: dvc repro -sf features")
    check_unit(table)
