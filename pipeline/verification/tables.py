"""Tables against the manifest and against what they say they were made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from torch import Tensor

from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import BOXES, REGIONS, SPANS, SpanKind, Split, vectors
from pipeline.artifacts.tables import NORM_TOLERANCE, ContractError, Table, check_keys, check_unit, offsets, stage
from pipeline.artifacts.weights import read, weights_hash
from pipeline.clip import towers
from pipeline.clip.towers import Clip
from pipeline.concepts.tables import read_labels
from pipeline.disk import files
from pipeline.teacher.targets import Targets
from pipeline.verification.findings import Finding, checked


class Artefacts:
    """The artefacts of a data folder; each is opened, and so checked against its origin, when it is asked for.

    What is not here is not compared with: a member may have fetched tables without the models that made them.

    Args:
        data: folder with a folder for every stage.
        device: where models are put.

    Raises:
        InputError: there is no manifest, or it is damaged.
    """

    def __init__(self, data: Path, device: str) -> None:
        self.data, self.device = data, device
        self.manifest = Manifest(data / "curate")
        self._origin = {"manifest": self.manifest.fingerprint}

    @cached_property
    def clip(self) -> Clip:
        """The base CLIP."""
        return towers.load(self.data / "models/clip", self.device)

    @cached_property
    def teacher(self) -> dict[str, Tensor]:
        """The teacher's weights."""
        return read(self.data / "teacher/teacher.safetensors", "run: dvc repro -sf teacher")

    def _made_by(self, name: str, weights: Callable[[], str]) -> dict[str, str]:
        """The hash of a model as it is now, for comparison; nothing if it is not here."""
        return {"weights": weights()} if (self.data / name).exists() else {}

    def clip_weights(self) -> dict[str, str]:
        """`weights` of the base CLIP."""
        return self._made_by("models/clip", lambda: self.clip.weights)

    def regions(self) -> Table:
        """Key, box and crop of every region."""
        detector = self.data / "models/detector.pt"
        made_by = self._made_by("models/detector.pt", lambda: files.sha256(detector))
        return Table(self.data / "regions/regions.arrow", REGIONS, **made_by, **self._origin)

    def spans(self) -> Table:
        """Offsets of every span."""
        return Table(self.data / "spans/spans.arrow", SPANS, **self._origin)

    def features(self, name: str, *index: str) -> Table:
        """A table of the features stage by its path below it."""
        path, of_classes = self.data / "features" / name, name.startswith("zeroshot")
        table = Table(path, **self.clip_weights(), **({} if of_classes else self._origin))
        if not of_classes:
            self._check_inputs(table)
        return Table(path, vectors(*index, dimension=int(table.metadata["dimension"])))

    def _check_inputs(self, table: Table) -> None:
        for name, open_source in (("regions", self.regions), ("spans", self.spans)):
            if (self.data / name / f"{name}.arrow").is_file():
                made_from, source = table.json("inputs")[name], open_source().metadata["fingerprint"]
                if made_from != source:
                    raise ContractError(
                        f"{table.path}: it was made from {name} {made_from}, those here are {source}; "
                        "run: dvc repro features"
                    )

    def targets(self) -> tuple[Targets, Manifest]:
        """Targets of the training samples, checked."""
        train = Manifest(self.data / "curate", (Split.TRAIN,))
        made_from = self._made_by("teacher/teacher.safetensors", lambda: weights_hash(self.teacher))
        if (self.data / "features/captions.arrow").is_file():
            captions = self.features("captions.arrow", "caption_index")
            made_from["features"] = captions.metadata["fingerprint"]
        return Targets(self.data / "targets/targets.arrow", train, **made_from), train

    def concepts(self, name: str) -> Table:
        """A table of the concepts stage; without rows where concepts are not enabled."""
        return Table(self.data / "concepts" / name, **self._origin)

    def span_kinds(self) -> list[SpanKind]:
        """The kinds of span that the features stage has embedded, by what its tables say."""
        try:
            return [SpanKind(k) for k in Table(self.data / "features/captions.arrow").json("parameters")["spans"]]
        except ContractError:
            return list(SpanKind)


def check(artefacts: Artefacts) -> Iterator[Finding]:
    """Check every table: schema, origin, one row for each thing of the manifest in its order, values in range."""
    checks: list[tuple[str, str, Callable[[Artefacts], object]]] = [
        *((f"curate/{split}", "every image's sha256", partial(_images, split)) for split in Split),
        ("regions/regions.arrow", "origin, keys, boxes", _regions),
        ("regions/test_boxes.arrow", "origin, keys, boxes", _test_boxes),
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
        ("concepts/concepts.arrow", "origin, unit length", _concepts),
        ("concepts/language.arrow", "a row a caption, unit length", _language),
        ("concepts/labels.arrow", "a row a caption, shares", _labels),
    ]
    for artefact, what, run in checks:
        yield checked(artefact, what, [artefacts.data / artefact], partial(run, artefacts))


def _images(split: Split, artefacts: Artefacts) -> None:
    for _ in Manifest(artefacts.data / "curate", (split,)).images(f"check {split} images"):
        pass


def _fault(table: Table, row: int, what: str) -> ContractError:
    key = table.strings("key")[row]
    return ContractError(f"{table.path}: row {row} ({key}): {what}; run: dvc repro -sf {stage(table.path)}")


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
        raise _fault(table, int(wrong.argmax()), "the whole picture has a crop, or another region has none")


def _test_boxes(artefacts: Artefacts) -> None:
    table = Table(artefacts.data / "regions/test_boxes.arrow", BOXES, manifest=artefacts.manifest.fingerprint)
    test = {row["key"] for row in artefacts.manifest.rows if row["split"] == Split.TEST}
    offsets(table.strings("key"), [key for key in artefacts.manifest.keys if key in test], str(table.path))
    if not (artefacts.data / "regions/regions.arrow").is_file():
        return
    every = artefacts.regions().columns.select(BOXES.names)
    if not every.filter(np.array([key in test for key in every["key"].to_pylist()])).equals(table.columns):
        raise ContractError(f"{table.path} and the regions of the test pictures differ; run: dvc repro -sf regions")


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
    if not (artefacts.data / "regions/regions.arrow").is_file():
        check_unit(artefacts.features("regions.arrow", "region_index"))
        return
    _same_rows(artefacts.features("regions.arrow", "region_index"), artefacts.regions().columns)


def _same_rows(table: Table, expected: pa.Table) -> None:
    """Stop unless a vector table has unit vectors and the keys and indices of another table."""
    names = table.columns.schema.names[:-1]
    if not table.columns.select(names).equals(expected.select(names)):
        raise ContractError(f"{table.path}: its rows are not those it was made from; run: dvc repro -sf features")
    check_unit(table)


def _zeroshot(name: str, artefacts: Artefacts) -> None:
    check_unit(artefacts.features(f"zeroshot/{name}.arrow"))


def _captions(artefacts: Artefacts) -> None:
    table = artefacts.features("captions.arrow", "caption_index")
    _a_row_a_caption(table, artefacts.manifest)
    check_unit(table)


def _a_row_a_caption(table: Table, manifest: Manifest) -> None:
    keys = [key for key, texts in zip(manifest.keys, manifest.captions, strict=True) for _ in texts]
    check_keys(table.strings("key"), keys, str(table.path))
    wanted = np.concatenate([np.arange(len(texts)) for texts in manifest.captions])
    if (wrong := table.integers("caption_index") != wanted).any():
        raise _fault(table, int(wrong.argmax()), f"caption_index should be {wanted[int(wrong.argmax())]}")


def _concepts(artefacts: Artefacts) -> None:
    if len(table := artefacts.concepts("concepts.arrow")):
        check_unit(table, "centre")


def _language(artefacts: Artefacts) -> None:
    if len(table := artefacts.concepts("language.arrow")):
        _a_row_a_caption(table, artefacts.manifest)
        check_unit(table)


def _labels(artefacts: Artefacts) -> None:
    table = artefacts.concepts("labels.arrow")
    if not len(table):
        return
    _a_row_a_caption(table, artefacts.manifest)
    concepts, shares = read_labels(table, artefacts.manifest.keys)
    told = artefacts.data / "concepts/concepts.arrow"
    count = len(artefacts.concepts(told.name)) if told.is_file() else int(concepts.max()) + 1
    known = ((concepts >= 0) & (concepts < count)).all(1)
    right = known & (shares >= 0).all(1) & (np.abs(shares.sum(1) - 1) <= NORM_TOLERANCE)
    if not right.all():
        row = int((~right).argmax())
        raise _fault(table, row, f"concepts {concepts[row].tolist()} of {count}, shares {shares[row].tolist()}")


def _span_vectors(kind: SpanKind, artefacts: Artefacts) -> None:
    if not (artefacts.data / "spans/spans.arrow").is_file():
        check_unit(artefacts.features(f"spans/{kind}.arrow", "caption_index", "span_index"))
        return
    spans = artefacts.spans().columns
    own = spans.filter(np.array(spans["kind"].to_pylist()) == str(kind))
    _same_rows(artefacts.features(f"spans/{kind}.arrow", "caption_index", "span_index"), own)
