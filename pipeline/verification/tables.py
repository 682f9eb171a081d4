"""Tables against the manifest and against what they say they were made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.errors import InputError
from pipeline.manifest import Manifest
from pipeline.schema import BOXES, REGIONS, SPANS, SpanKind, Split, vectors
from pipeline.tables import ContractError, Table, check_keys, check_unit, offsets
from pipeline.teacher.targets import Targets
from pipeline.verification.findings import Finding


class Artefacts:
    """The artefacts of a data folder; each is opened, and so checked against its origin, when it is asked for.

    Args:
        data: folder with a folder for every stage.
        clip_weights: hash of the base CLIP as it is now.
        detector_weights: sha256 of the detector's file as it is now.
        teacher_weights: hash of the teacher as it is now.
    """

    def __init__(self, data: Path, clip_weights: str, detector_weights: str, teacher_weights: str) -> None:
        self.data = data
        self.manifest = Manifest(data / "curate")
        self._clip, self._detector, self._teacher = clip_weights, detector_weights, teacher_weights
        self._origin = {"manifest": self.manifest.fingerprint}

    def regions(self) -> Table:
        """Key, box and crop of every region."""
        return Table(self.data / "regions/regions.arrow", REGIONS, weights=self._detector, **self._origin)

    def spans(self) -> Table:
        """Offsets of every span."""
        return Table(self.data / "spans/spans.arrow", SPANS, **self._origin)

    def features(self, name: str, *index: str) -> Table:
        """A table of the features stage by its path below it."""
        path = self.data / "features" / name
        table = Table(path, weights=self._clip, **({} if name.startswith("zeroshot") else self._origin))
        schema = vectors(*index, dimension=int(table.metadata["dimension"]))
        return Table(path, schema, **({} if name.startswith("zeroshot") else self._made_from(table)))

    def _made_from(self, table: Table) -> dict[str, Any]:
        made_from = table.json("inputs")
        for name, source in (("regions", self.regions()), ("spans", self.spans())):
            if made_from[name] != source.metadata["fingerprint"]:
                raise ContractError(
                    f"{table.path}: it was made from {name} {made_from[name]}, {source.path} is "
                    f"{source.metadata['fingerprint']}; run: dvc repro features"
                )
        return self._origin

    def targets(self) -> tuple[Targets, Manifest]:
        """Targets of the training samples, checked."""
        train = Manifest(self.data / "curate", (Split.TRAIN,))
        of_features = self.features("captions.arrow", "caption_index").metadata["fingerprint"]
        path = self.data / "targets/targets.arrow"
        return Targets(path, train, weights=self._teacher, features=of_features), train

    def span_kinds(self) -> list[SpanKind]:
        """The kinds of span that were embedded."""
        return [kind for kind in SpanKind if (self.data / f"features/spans/{kind}.arrow").is_file()]


def check(artefacts: Artefacts) -> Iterator[Finding]:
    """Check every table: schema, origin, one row for each thing of the manifest in its order, values in range."""
    checks: list[tuple[str, str, Callable[[Artefacts], object]]] = [
        ("curate", "every image has the sha256 of the manifest", _images),
        ("regions/regions.arrow", "origin, keys, boxes", _regions),
        ("regions/test_boxes.arrow", "the test pictures' rows", _test_boxes),
        ("spans/spans.arrow", "origin, keys, offsets", _spans),
        ("features/images.arrow", "origin, keys, unit length", _whole_pictures),
        ("features/regions.arrow", "the regions' rows, unit length", _region_vectors),
        ("features/captions.arrow", "a row a caption, unit length", _captions),
        *(
            (f"features/spans/{kind}.arrow", "the spans' rows, unit length", partial(_span_vectors, kind))
            for kind in artefacts.span_kinds()
        ),
        *(
            (f"features/zeroshot/{name}.arrow", "origin, unit length", partial(_zeroshot, name))
            for name in ("images", "prompts")
        ),
        ("targets/targets.arrow", "origin, keys, unit length", Artefacts.targets),
    ]
    for artefact, what, run in checks:
        try:
            run(artefacts)
        except (InputError, KeyError) as error:
            yield Finding(artefact, what, fault=str(error))
        else:
            yield Finding(artefact, what)


def _images(artefacts: Artefacts) -> None:
    for _ in artefacts.manifest.images("check images"):
        pass


def _fault(table: Table, row: int, what: str) -> ContractError:
    stage = table.path.parent.name
    return ContractError(f"{table.path}: row {row} ({table.strings('key')[row]}): {what}; run: dvc repro -f {stage}")


def _regions(artefacts: Artefacts) -> None:
    table = artefacts.regions()
    start = offsets(table.strings("key"), artefacts.manifest.keys, str(table.path))
    index = table.integers("region_index")
    if (bad := np.flatnonzero(index != np.arange(len(index)) - np.repeat(start[:-1], np.diff(start)))).size:
        raise _fault(table, int(bad[0]), "region_index does not count from 0 within its key")
    if (none := np.flatnonzero(np.diff(start) == 0)).size:
        raise ContractError(
            f"{table.path}: {artefacts.manifest.keys[int(none[0])]} has no region; run: dvc repro -f regions"
        )
    boxes = table.vectors("box")
    right = (boxes >= 0).all(1) & (boxes <= 1).all(1) & (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])
    if not right.all():
        raise _fault(table, int((~right).argmax()), f"its box is {boxes[int((~right).argmax())].tolist()}")
    if (wrong := table.columns["crop"].is_null().to_numpy() != (index == 0)).any():
        raise _fault(table, int(wrong.argmax()), "the whole picture has a crop, or another region has none")


def _test_boxes(artefacts: Artefacts) -> None:
    table = Table(artefacts.data / "regions/test_boxes.arrow", BOXES, manifest=artefacts.manifest.fingerprint)
    test = {row["key"] for row in artefacts.manifest.rows if row["split"] == Split.TEST}
    every = artefacts.regions().columns.select(BOXES.names)
    if not every.filter(np.array([key in test for key in every["key"].to_pylist()])).equals(table.columns):
        raise ContractError(f"{table.path} differs from the regions of the test pictures; run: dvc repro -f regions")


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


def _whole_pictures(artefacts: Artefacts) -> None:
    table = artefacts.features("images.arrow")
    check_keys(table.strings("key"), artefacts.manifest.keys, str(table.path))
    check_unit(table)


def _region_vectors(artefacts: Artefacts) -> None:
    _same_rows(artefacts.features("regions.arrow", "region_index"), artefacts.regions().columns)


def _same_rows(table: Table, expected: pa.Table) -> None:
    """Stop unless a vector table has unit vectors and the keys and indices of another table."""
    names = table.columns.schema.names[:-1]
    if not table.columns.select(names).equals(expected.select(names)):
        raise ContractError(f"{table.path}: its rows are not those it was made from; run: dvc repro -f features")
    check_unit(table)


def _zeroshot(name: str, artefacts: Artefacts) -> None:
    check_unit(artefacts.features(f"zeroshot/{name}.arrow"))


def _captions(artefacts: Artefacts) -> None:
    table, manifest = artefacts.features("captions.arrow", "caption_index"), artefacts.manifest
    keys = [key for key, texts in zip(manifest.keys, manifest.captions, strict=True) for _ in texts]
    check_keys(table.strings("key"), keys, str(table.path))
    wanted = np.concatenate([np.arange(len(texts)) for texts in manifest.captions])
    if (wrong := table.integers("caption_index") != wanted).any():
        raise _fault(table, int(wrong.argmax()), f"caption_index should be {wanted[int(wrong.argmax())]}")
    check_unit(table)


def _span_vectors(kind: SpanKind, artefacts: Artefacts) -> None:
    spans = artefacts.spans().columns
    own = spans.filter(np.array(spans["kind"].to_pylist()) == str(kind))
    _same_rows(artefacts.features(f"spans/{kind}.arrow", "caption_index", "span_index"), own)
