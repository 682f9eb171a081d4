"""Tables against the manifest and against what they say they were made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, partial

import numpy as np
import pyarrow as pa
from torch import Tensor

from pipeline.artifacts import catalog
from pipeline.artifacts.catalog import Artifact, maker
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import BOXES, SpanKind, Split
from pipeline.artifacts.tables import NORM_TOLERANCE, ContractError, Table, check_keys, check_unit, offsets
from pipeline.artifacts.targets import Targets
from pipeline.artifacts.weights import read, weights_hash
from pipeline.artifacts.workspace import Workspace
from pipeline.clip import towers
from pipeline.clip.towers import Clip
from pipeline.disk import files
from pipeline.verification.findings import Finding, checked


class Artefacts:
    """The artefacts of a data folder; each is opened, and so checked against its origin, when it is asked for.

    What is not here is not compared with: a member may have fetched tables without the models that made them.

    Args:
        ws: the folder with a folder for every stage.
        device: where models are put.

    Raises:
        InputError: there is no manifest, or it is damaged.
    """

    def __init__(self, ws: Workspace, device: str) -> None:
        self.ws, self.device = ws, device
        self.manifest = ws.manifest()
        self._weights: dict[str, str] = {}

    @cached_property
    def clip(self) -> Clip:
        """The base CLIP."""
        return towers.load(self.ws.path(catalog.BASE_CLIP), self.device)

    @cached_property
    def teacher(self) -> dict[str, Tensor]:
        """The teacher's weights."""
        return read(self.ws.path(catalog.TEACHER), "run: dvc repro -sf teacher")

    def _made_by(self, model: Artifact, weights: Callable[[], str]) -> dict[str, str]:
        """The hash of a model as it is now, for comparison; nothing if it is not here."""
        return {"weights": weights()} if self.ws.has(model) else {}

    def weights(self, model: str) -> dict[str, str]:
        """`weights` of one of `catalog.MEASURED`, for comparison; nothing if it is not here."""
        folder = self.ws.model(model)
        if (folder / towers.WEIGHTS).is_file() and model not in self._weights:
            self._weights[model] = towers.load(folder).weights
        return {"weights": self._weights[model]} if model in self._weights else {}

    def clip_weights(self) -> dict[str, str]:
        """`weights` of the base CLIP."""
        return self._made_by(catalog.BASE_CLIP, lambda: self.clip.weights)

    def regions(self) -> Table:
        """Key, box and crop of every region."""
        made_by = self._made_by(catalog.DETECTOR, lambda: files.sha256(self.ws.path(catalog.DETECTOR)))
        return self.ws.table(catalog.REGIONS, self.manifest, **made_by)

    def spans(self) -> Table:
        """Offsets of every span."""
        return self.ws.table(catalog.SPANS, self.manifest)

    def embeddings(self, artifact: Artifact) -> Table:
        """A table of the base's embeddings."""
        if "manifest" not in artifact.bound_to:
            return self.ws.table(artifact, None, **self.clip_weights())
        table = self.ws.table(artifact, self.manifest, **self.clip_weights())
        self._check_inputs(table)
        return table

    def _check_inputs(self, table: Table) -> None:
        for source, open_source in ((catalog.REGIONS, self.regions), (catalog.SPANS, self.spans)):
            if self.ws.has(source):
                name = source.stage
                made_from, found = table.json("inputs")[name], open_source().metadata["fingerprint"]
                if made_from != found:
                    raise ContractError(
                        f"{table.path}: it was made from {name} {made_from}, those here are {found}; "
                        "run: dvc repro features"
                    )

    def targets(self) -> tuple[Targets, Manifest]:
        """Targets of the training samples, checked."""
        train = self.ws.manifest(Split.TRAIN)
        made_from = self._made_by(catalog.TEACHER, lambda: weights_hash(self.teacher))
        if self.ws.has(catalog.CAPTION_EMBEDDINGS):
            made_from["features"] = self.embeddings(catalog.CAPTION_EMBEDDINGS).metadata["fingerprint"]
        return self.ws.targets(train, **made_from), train

    def span_kinds(self) -> list[SpanKind]:
        """The kinds of span that the features stage has embedded, by what its tables say."""
        try:
            return [SpanKind(k) for k in self.ws.table(catalog.CAPTION_EMBEDDINGS).json("parameters")["spans"]]
        except ContractError:
            return list(SpanKind)


def check(artefacts: Artefacts) -> Iterator[Finding]:
    """Check every table: schema, origin, one row for each thing of the manifest in its order, values in range."""
    absent = set(SpanKind) - set(artefacts.span_kinds())
    for artifact, (what, run) in CHECKS.items():
        if artifact not in [catalog.SPAN_EMBEDDINGS[kind] for kind in absent]:
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


def _whole_images(artefacts: Artefacts) -> None:
    table = artefacts.embeddings(catalog.IMAGE_EMBEDDINGS)
    check_keys(table.strings("key"), artefacts.manifest.keys, str(table.path))
    check_unit(table)


def _region_embeddings(artefacts: Artefacts) -> None:
    if not artefacts.ws.has(catalog.REGIONS):
        check_unit(artefacts.embeddings(catalog.REGION_EMBEDDINGS))
        return
    _same_rows(artefacts.embeddings(catalog.REGION_EMBEDDINGS), artefacts.regions().columns)


def _same_rows(table: Table, expected: pa.Table) -> None:
    """Stop unless an embedding table has unit embeddings and the keys and indices of another table."""
    names = table.columns.schema.names[:-1]
    if not table.columns.select(names).equals(expected.select(names)):
        raise ContractError(f"{table.path}: its rows are not those it was made from; run: dvc repro -sf features")
    check_unit(table)


def _zeroshot(artifact: Artifact, artefacts: Artefacts) -> None:
    check_unit(artefacts.embeddings(artifact))


def _captions(artefacts: Artefacts) -> None:
    table = artefacts.embeddings(catalog.CAPTION_EMBEDDINGS)
    _a_row_a_caption(table, artefacts.manifest)
    check_unit(table)


def _a_row_a_caption(table: Table, manifest: Manifest) -> None:
    keys = [key for key, texts in zip(manifest.keys, manifest.captions, strict=True) for _ in texts]
    check_keys(table.strings("key"), keys, str(table.path))
    wanted = manifest.caption_index
    if (wrong := table.integers("caption_index") != wanted).any():
        raise _fault(table, int(wrong.argmax()), f"caption_index should be {wanted[int(wrong.argmax())]}")


def _concepts(artefacts: Artefacts) -> None:
    if len(table := artefacts.ws.table(catalog.CONCEPTS, artefacts.manifest)):
        check_unit(table, "centre")


def _language(artefacts: Artefacts) -> None:
    if len(table := artefacts.ws.table(catalog.LANGUAGE, artefacts.manifest)):
        _a_row_a_caption(table, artefacts.manifest)
        check_unit(table)


def _labels(artefacts: Artefacts) -> None:
    table = artefacts.ws.table(catalog.CONCEPT_LABELS, artefacts.manifest)
    if not len(table):
        return
    _a_row_a_caption(table, artefacts.manifest)
    concepts, shares = artefacts.ws.labels(artefacts.manifest)
    has_concepts = artefacts.ws.has(catalog.CONCEPTS)
    count = len(artefacts.ws.table(catalog.CONCEPTS, artefacts.manifest)) if has_concepts else int(concepts.max()) + 1
    known = ((concepts >= 0) & (concepts < count)).all(1)
    right = known & (shares >= 0).all(1) & (np.abs(shares.sum(1) - 1) <= NORM_TOLERANCE)
    if not right.all():
        row = int((~right).argmax())
        raise _fault(table, row, f"concepts {concepts[row].tolist()} of {count}, shares {shares[row].tolist()}")


def _span_embeddings(kind: SpanKind, artefacts: Artefacts) -> None:
    if not artefacts.ws.has(catalog.SPANS):
        check_unit(artefacts.embeddings(catalog.SPAN_EMBEDDINGS[kind]))
        return
    spans = artefacts.spans().columns
    own = spans.filter(np.array(spans["kind"].to_pylist()) == str(kind))
    _same_rows(artefacts.embeddings(catalog.SPAN_EMBEDDINGS[kind]), own)


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
        _a_row_a_caption(table, test)
    check_unit(table)


CHECKS: dict[Artifact, tuple[str, Callable[[Artefacts], object]]] = {
    **{shards: ("every image's sha256", partial(_images, split)) for split, shards in catalog.SHARDS.items()},
    catalog.REGIONS: ("origin, keys, boxes", _regions),
    catalog.TEST_BOXES: ("origin, keys, boxes", _test_boxes),
    catalog.SPANS: ("origin, keys, offsets", _spans),
    catalog.IMAGE_EMBEDDINGS: ("origin, keys, unit length", _whole_images),
    catalog.REGION_EMBEDDINGS: ("the regions' rows, unit length", _region_embeddings),
    catalog.CAPTION_EMBEDDINGS: ("a row a caption, unit length", _captions),
    **{
        table: ("the spans' rows, unit length", partial(_span_embeddings, kind))
        for kind, table in catalog.SPAN_EMBEDDINGS.items()
    },
    **{
        table: ("origin, unit length", partial(_zeroshot, table))
        for table in (catalog.ZEROSHOT_IMAGES, catalog.ZEROSHOT_PROMPTS)
    },
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
