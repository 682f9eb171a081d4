"""Tables against the manifest and against what they say they were made from."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from pipeline.artifacts import catalog, columns
from pipeline.artifacts.catalog import Artifact, maker
from pipeline.artifacts.manifest import check_captions
from pipeline.artifacts.schema import BOXES, SpanKind, Split
from pipeline.artifacts.tables import NORM_TOLERANCE, ContractError, Table, check_keys, check_unit, offsets
from pipeline.verification import embedded
from pipeline.verification.artefacts import Artefacts
from pipeline.verification.findings import Finding, checked


def check(artefacts: Artefacts) -> Iterator[Finding]:
    """Check every table: schema, origin, one row for each thing of the manifest in its order, values in range."""
    checks = dict(CHECKS)
    for teacher in artefacts.teachers:
        checks |= embedded.checks(teacher)
        checks[catalog.targets_of(teacher).images] = (
            "all of them: origin, keys, rows",
            partial(_clip_targets, teacher),
        )
    for of in (catalog.BASE, *artefacts.teachers):
        for kind in set(SpanKind) - set(artefacts.span_kinds(of)):
            del checks[catalog.tables_of(of).spans[kind]]
    for artifact, (what, run) in checks.items():
        yield checked(artifact.path, what, [artefacts.ws.path(artifact)], partial(run, artefacts))


def _images(split: Split, artefacts: Artefacts) -> None:
    for _ in artefacts.ws.manifest(split).images(f"check {split} images"):
        pass


def _fault(table: Table, row: int, what: str) -> ContractError:
    key = table.strings("key")[row]
    return ContractError(f"{table.path}: row {row} ({key}): {what}; run: dvc repro -sf {maker(table.path)}")


def _regions(artefacts: Artefacts) -> None:
    table = artefacts.regions()
    start = offsets(table.strings("key"), artefacts.manifest.keys, str(table.path))
    index = table.integers("region_index")
    if (bad := np.flatnonzero(index != np.arange(len(index)) - np.repeat(start[:-1], np.diff(start)))).size:
        raise _fault(table, int(bad[0]), "region_index does not count from 0 within its key")
    if (none := np.flatnonzero(np.diff(start) == 0)).size:
        raise ContractError(
            f"{table.path}: {artefacts.manifest.keys[int(none[0])]} has no region; run: dvc repro -sf regions"
        )
    boxes = table.vectors("box")
    right = (boxes >= 0).all(1) & (boxes <= 1).all(1) & (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])
    if not right.all():
        raise _fault(table, int((~right).argmax()), f"its box is {boxes[int((~right).argmax())].tolist()}")
    if (wrong := table.columns["crop"].is_null().to_numpy() != (index == 0)).any():
        raise _fault(table, int(wrong.argmax()), "the whole image has a crop, or another region has none")


def _test_boxes(artefacts: Artefacts) -> None:
    table = artefacts.ws.table(catalog.TEST_BOXES, artefacts.manifest)
    test = {row["key"] for row in artefacts.manifest.rows if row["split"] == Split.TEST}
    offsets(table.strings("key"), [key for key in artefacts.manifest.keys if key in test], str(table.path))
    if not artefacts.ws.has(catalog.REGIONS):
        return
    every = artefacts.regions().columns.select(BOXES.names)
    if not every.filter(np.array([key in test for key in every["key"].to_pylist()])).equals(table.columns):
        raise ContractError(f"{table.path} and the regions of the test images differ; run: dvc repro -sf regions")


def _spans(artefacts: Artefacts) -> None:
    table, manifest = artefacts.spans(), artefacts.manifest
    start = offsets(table.strings("key"), manifest.keys, str(table.path))
    owner = np.repeat(np.arange(len(manifest)), np.diff(start))
    first = np.cumsum([0, *map(len, manifest.captions)])
    counts = np.diff(first)
    caption = table.integers("caption_index")
    if (bad := (caption < 0) | (caption >= counts[owner])).any():
        raise _fault(table, int(bad.argmax()), f"caption {caption[int(bad.argmax())]} does not exist")
    lengths = np.array([len(text) for texts in manifest.captions for text in texts])
    begin, end = (np.nan_to_num(table.columns[name].to_numpy().astype(float), nan=0) for name in ("start", "end"))
    if (bad := (begin < 0) | (end > lengths[first[owner] + caption]) | (begin > end)).any():
        raise _fault(table, int(bad.argmax()), "its offsets are outside its caption")


def _views(artefacts: Artefacts) -> None:
    views = artefacts.views_of()
    for row in range(len(views)):
        view = views.view(row)
        x0, y0, x1, y1 = view.box
        inside = 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
        if not (inside and min(view.brightness, view.contrast, view.saturation) >= 0):
            raise _fault(artefacts.views(), row, f"it is {view}")


def _clip_targets(teacher: str, artefacts: Artefacts) -> None:
    ws = artefacts.ws
    targets = ws.clip_targets(teacher, ws.manifest(Split.TRAIN))
    targets.check()
    if (made := artefacts.clip_weights(teacher)) and made["weights"] != targets.weights:
        raise ContractError(
            f"{ws.path(catalog.targets_of(teacher).images)}: weights is {targets.weights!r}, expected "
            f"{made['weights']!r}; run: dvc repro targets"
        )


def _concepts(artefacts: Artefacts) -> None:
    if len(table := artefacts.ws.table(catalog.CONCEPTS, artefacts.manifest)):
        check_unit(table, "centre")


def _language(artefacts: Artefacts) -> None:
    if len(table := artefacts.ws.table(catalog.LANGUAGE, artefacts.manifest)):
        check_captions(table, artefacts.manifest)
        check_unit(table)


def _labels(artefacts: Artefacts) -> None:
    table = artefacts.ws.table(catalog.CONCEPT_LABELS, artefacts.manifest)
    if not len(table):
        return
    check_captions(table, artefacts.manifest)
    concepts, shares = artefacts.ws.labels(artefacts.manifest)
    has_concepts = artefacts.ws.has(catalog.CONCEPTS)
    count = len(artefacts.ws.table(catalog.CONCEPTS, artefacts.manifest)) if has_concepts else int(concepts.max()) + 1
    known = ((concepts >= 0) & (concepts < count)).all(1)
    right = known & (shares >= 0).all(1) & (np.abs(shares.sum(1) - 1) <= NORM_TOLERANCE)
    if not right.all():
        row = int((~right).argmax())
        raise _fault(table, row, f"concepts {concepts[row].tolist()} of {count}, shares {shares[row].tolist()}")


def _embedded(model: str, what: str, artefacts: Artefacts) -> None:
    artifact = catalog.EMBEDDED[model, what]
    manifest = artefacts.manifest if "manifest" in artifact.bound_to else None
    table = artefacts.ws.table(artifact, manifest, **artefacts.weights(model))
    if not len(table):  # nothing asks for it
        return
    test = artefacts.ws.manifest(Split.TEST)
    if what == "images":
        check_keys(table.strings("key"), test.keys, str(table.path))
    if what == "captions":
        check_captions(table, test)
    check_unit(table)


def _columns(artifact: Artifact, artefacts: Artefacts) -> None:
    columns.read(artifact, artefacts.ws.manifest(Split.TRAIN))


CHECKS: dict[Artifact, tuple[str, Callable[[Artefacts], object]]] = {
    **{shards: ("every image's sha256", partial(_images, split)) for split, shards in catalog.SHARDS.items()},
    **{artifact: ("origin, keys", partial(_columns, artifact)) for artifact in catalog.COLUMNS},
    catalog.REGIONS: ("origin, keys, boxes", _regions),
    catalog.TEST_BOXES: ("origin, keys, boxes", _test_boxes),
    catalog.SPANS: ("origin, keys, offsets", _spans),
    catalog.VIEWS: ("origin, keys, values in range", _views),
    **embedded.checks(catalog.BASE),
    catalog.TARGETS: ("origin, keys, unit length", Artefacts.targets),
    catalog.CONCEPTS: ("origin, unit length", _concepts),
    catalog.LANGUAGE: ("a row a caption, unit length", _language),
    **{
        table: ("origin, keys, unit length", partial(_embedded, model, what))
        for (model, what), table in catalog.EMBEDDED.items()
    },
    catalog.CONCEPT_LABELS: ("a row a caption, shares", _labels),
}
"""What is checked of every table of the catalog but the manifest, which all are checked against."""
