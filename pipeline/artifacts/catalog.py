"""Every file and folder that a stage leaves for others, named once: what it holds, its columns, what it is bound to.

A path is relative to the data folder and begins with the stage that makes the artifact. `Workspace` finds and reads
them; dvc.yaml, the pages of docs/ and `dclip verify` follow from them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

import pyarrow as pa

from pipeline.artifacts import schema
from pipeline.artifacts.schema import SpanKind, Split, embeddings


@dataclass(frozen=True)
class Artifact:
    """One file or folder.

    Attributes:
        path: below the data folder; the first part is the stage that makes it.
        holds: what is in it, in words.
        bound_to: what it was made from and readers compare: `manifest`, or the weights of a model.
        columns: the schema of a table, or a function from the dimension of its embeddings to it.
        role: what DVC takes it for; `part` of an output that another artifact names.
        within: the folder that DVC tracks, where a file is one of several that may be there.
        x: the column along the horizontal axis, of a plot that needs one.
    """

    path: str
    holds: str
    bound_to: tuple[str, ...] = ()
    columns: pa.Schema | Callable[..., pa.Schema] | None = None
    role: Literal["output", "metrics", "plot", "part"] = "output"
    within: str = ""
    x: str = ""

    @property
    def stage(self) -> str:
        """The stage that makes it."""
        return self.path.partition("/")[0]

    @property
    def name(self) -> str:
        """Its path below its stage's folder."""
        return self.path.partition("/")[2]

    @property
    def output(self) -> str:
        """The file or folder that DVC tracks."""
        return self.within or self.path

    @property
    def is_small(self) -> bool:
        """Whether its hash stands in its stage's SHA256SUMS."""
        return Path(self.path).suffix in (".json", ".csv") and self.role != "part"


SAMPLE_CORPORA = Artifact("sample/corpora", "the three corpora in their native layouts")
SAMPLE_BASE = Artifact("sample/base", "images with one caption each that the sample's own models train on")
SAMPLE_ZEROSHOT = Artifact("sample/zeroshot", "images by class, val and test")
SAMPLE_ATTRIBUTES = Artifact("sample/attributes", "images with all that can be said of them, in CUB's layout")
PLANTED = Artifact("sample/planted.json", "the defects that were planted in the corpora")

BASE = "base"
"""What the base is called where teachers are named."""
BASE_CLIP = Artifact("models/clip", "the base CLIP, an open_clip local directory")
BASE_CONFIG = Artifact("models/clip/open_clip_config.json", "the base's architecture and preprocessing", role="part")
DETECTOR = Artifact("models/detector.pt", "the detector's weights")
PRETRAINING = Artifact("models/pretraining.csv", "the base's training history, if it was trained here", role="plot")

TEACHER_CLIPS = Artifact("teachers/clips", "the frozen teachers, a folder each: open_clip local directories")
TEACHERS_HISTORY = Artifact("teachers/history.csv", "the training history of those that were trained here", role="plot")


def clip_of(teacher: str) -> Artifact:
    """The folder of one of `teachers`; of `base` the base's own."""
    if teacher == BASE:
        return BASE_CLIP
    path = f"{TEACHER_CLIPS.path}/{teacher}"
    return Artifact(path, f"{teacher}, an open_clip local directory", role="part", within=TEACHER_CLIPS.path)


SHARDS = {split: Artifact(f"curate/{split}", f"WebDataset shards of {split}: NNNNNN.tar") for split in Split}
_MANIFEST = ("manifest",)
MANIFEST = Artifact("curate/manifest.parquet", "one row a kept sample", columns=schema.MANIFEST)
REJECTED = Artifact("curate/rejected.parquet", "one row for everything that is not kept", columns=schema.REJECTED)
_COLUMNS = "curate/columns"
REWRITES = Artifact(f"{_COLUMNS}/rewrites.parquet", "rewrites of captions", _MANIFEST, schema.REWRITES, within=_COLUMNS)
NEGATIVES = Artifact(
    f"{_COLUMNS}/negatives.parquet", "captions that are wrong", _MANIFEST, schema.NEGATIVES, within=_COLUMNS
)
GIVEN_BOXES = Artifact(
    f"{_COLUMNS}/boxes.parquet", "boxes that were given", _MANIFEST, schema.GIVEN_BOXES, within=_COLUMNS
)
COLUMNS = (REWRITES, NEGATIVES, GIVEN_BOXES)
"""What training images have beside captions."""
DATA_CARD = Artifact(
    "curate/card/facts.json", "the data card: what trains, what does not and why", within="curate/card"
)

REGIONS = Artifact(
    "regions/regions.arrow", "boxes, scores, class names, JPEG crops", ("manifest", "detector"), schema.REGIONS
)
TEST_BOXES = Artifact("regions/test_boxes.arrow", "boxes of the test images", ("manifest", "detector"), schema.BOXES)

SPANS = Artifact("spans/spans.arrow", "phrases and tokens as character offsets", ("manifest",), schema.SPANS)

VIEWS = Artifact(
    "features/views.arrow", "how every augmented view of a training image is made", _MANIFEST, schema.VIEWS
)


@dataclass(frozen=True)
class ClipTables:
    """What one frozen CLIP makes of images, regions, captions, spans and the zero-shot set, and a teacher of views."""

    images: Artifact
    regions: Artifact
    captions: Artifact
    spans: dict[SpanKind, Artifact]
    zeroshot: tuple[Artifact, Artifact]
    columns: Artifact
    views: Artifact | None = None


_BY_CAPTION = partial(embeddings, "caption_index")
_BY_REGION = partial(embeddings, "region_index")
_BY_SPAN = partial(embeddings, "caption_index", "span_index")


def _clip_tables(folder: str, whose: str, model: str, within: str = "") -> ClipTables:
    """The tables of a CLIP in a folder of the features stage; `within` if they are parts of one output."""
    named = partial(Artifact, role="part" if within else "output")
    frozen = (*_MANIFEST, model)

    def table(
        name: str, of: str, bound_to: tuple[str, ...], columns: Callable[..., pa.Schema], group: str = ""
    ) -> Artifact:
        output = within or (f"{folder}/{group}" if group else "")
        path = f"{folder}/{group}/{name}" if group else f"{folder}/{name}"
        return named(f"{path}.arrow", f"{whose} {of}", bound_to, columns, within=output)

    return ClipTables(
        images=table("images", "embedding of every image", frozen, embeddings),
        regions=table("regions", "embedding of every region", (*frozen, "regions"), _BY_REGION),
        captions=table("captions", "embedding of every caption", frozen, _BY_CAPTION),
        spans={
            kind: table(kind, f"embeddings of every caption's {kind}", (*frozen, "spans"), _BY_SPAN, "spans")
            for kind in SpanKind
        },
        zeroshot=(
            table("images", "embeddings of the images of the zero-shot set", (model,), embeddings, "zeroshot"),
            table("prompts", "embeddings of the prompts of the zero-shot set", (model,), embeddings, "zeroshot"),
        ),
        columns=table("columns", "embedding of every distinct rewrite and negative", frozen, embeddings),
        views=table("views", "embedding of every view", frozen, partial(embeddings, "view")) if within else None,
    )


BASE_TABLES = _clip_tables("features", "the base's", "base")
IMAGE_EMBEDDINGS, REGION_EMBEDDINGS, CAPTION_EMBEDDINGS = BASE_TABLES.images, BASE_TABLES.regions, BASE_TABLES.captions
SPAN_EMBEDDINGS = BASE_TABLES.spans
COLUMN_EMBEDDINGS = BASE_TABLES.columns
ZEROSHOT_EMBEDDINGS = ZEROSHOT_IMAGES, ZEROSHOT_PROMPTS = BASE_TABLES.zeroshot
TEACHER_INPUTS = (REGION_EMBEDDINGS, CAPTION_EMBEDDINGS, *SPAN_EMBEDDINGS.values())

TEACHER_TABLES = Artifact("features/teachers", "a folder for each of `teachers`, with its embeddings of all of that")


@cache
def tables_of(teacher: str) -> ClipTables:
    """The tables of one of `teachers`; of `base` the base's own."""
    if teacher == BASE:
        return BASE_TABLES
    return _clip_tables(f"{TEACHER_TABLES.path}/{teacher}", f"{teacher}'s", teacher, TEACHER_TABLES.path)


TEACHER = Artifact("teacher/teacher.safetensors", "the meta-teacher's weights")
TEACHER_HISTORY = Artifact("teacher/history.csv", "the teacher's training history", role="plot")

_TARGETS_HOLD = "the teacher's embedding of every training image alone (caption_index -1) and with each of its captions"
_TAUGHT = ("manifest", "teacher", "features")
TARGETS = Artifact("targets/targets.arrow", _TARGETS_HOLD, _TAUGHT, partial(embeddings, "caption_index", name="z"))

CLIP_TARGETS = Artifact("targets/teachers", "a folder for each of `teachers`, with its embeddings of what trains")


@dataclass(frozen=True)
class TargetTables:
    """What one teacher makes of all that a student trains on."""

    images: Artifact
    views: Artifact
    crops: Artifact
    captions: Artifact
    phrases: Artifact
    columns: Artifact

    @property
    def all(self) -> tuple[Artifact, ...]:
        """All of them."""
        return self.images, self.views, self.crops, self.captions, self.phrases, self.columns


@cache
def targets_of(teacher: str) -> TargetTables:
    """The targets of one of `teachers`; of phrases, and of texts, one row each, whose key is the phrase."""

    def table(name: str, of: str, columns: Callable[..., pa.Schema]) -> Artifact:
        path, holds = f"{CLIP_TARGETS.path}/{teacher}/{name}.arrow", f"{teacher}'s embedding of every {of}"
        return Artifact(path, holds, (*_MANIFEST, teacher), columns, "part", CLIP_TARGETS.path)

    return TargetTables(
        images=table("images", "training image", embeddings),
        views=table("views", "view of it", partial(embeddings, "view")),
        crops=table("crops", "crop of it", _BY_REGION),
        captions=table("captions", "caption of it", _BY_CAPTION),
        phrases=table("phrases", "distinct phrase of its captions", embeddings),
        columns=table("columns", "distinct rewrite and negative of it", embeddings),
    )


LANGUAGE = Artifact("concepts/language.arrow", "a language model's embedding of every caption", _MANIFEST, _BY_CAPTION)
CONCEPT_LABELS = Artifact(
    "concepts/labels.arrow", "every caption's concepts and their shares", _MANIFEST, schema.LABELS
)
CONCEPTS = Artifact("concepts/concepts.arrow", "the concepts", _MANIFEST, schema.concepts)
CONCEPT_TABLES = (LANGUAGE, CONCEPT_LABELS, CONCEPTS)

STUDENT_CONFIG = Artifact("student/open_clip_config.json", "the student's architecture, as open_clip reads it")
STUDENT_WEIGHTS = Artifact("student/open_clip_model.safetensors", "the student's weights")
STUDENT = (STUDENT_CONFIG, STUDENT_WEIGHTS)
END_POINT = Artifact("student/end_point", "the student before interpolation, an open_clip local directory")
STUDENT_HISTORY = Artifact("student/history.csv", "the student's training history")
INTERPOLATION = Artifact("student/interpolation.csv", "points between the base's weights and its own", role="plot")
LIVE_METRICS = Artifact("student/live/metrics.json", "the last figures of a training", role="metrics")
LIVE_PLOTS = Artifact("student/live/plots/metrics", "every figure by epoch", role="plot", x="step")

MEASURED = ("base", "student", "end_point")
"""The models that are measured: the base, the student, and the student before interpolation."""
_PROBED = ("student", "end_point")
_MODEL_NAMES = {"base": "the base", "student": "the student", "end_point": "the student before interpolation"}
_EMBEDDED: dict[str, tuple[str, tuple[str, ...], tuple[str, ...], Callable[..., pa.Schema]]] = {
    "images": ("test image", _PROBED, _MANIFEST, embeddings),
    "captions": ("test caption", _PROBED, _MANIFEST, _BY_CAPTION),
    "training_captions": ("probed training caption", _PROBED, _MANIFEST, _BY_CAPTION),
    "attribute_images": ("image with attributes", MEASURED, (), embeddings),
    "class_images": ("zero-shot test image", ("student",), (), embeddings),
    "class_prompts": ("zero-shot prompt", ("student",), (), embeddings),
}
"""What a model is measured on, by which models that no stage before has embedded it, and what it is bound to."""
EMBEDDED = {
    (model, what): Artifact(
        f"embed/{what}/{model}.arrow",
        f"embedding of every {thing} by {_MODEL_NAMES[model]}",
        (*bound_to, model),
        columns,
    )
    for what, (thing, models, bound_to, columns) in _EMBEDDED.items()
    for model in models
}
"""By model and by what is embedded."""
STUDENT_CLASSES = EMBEDDED["student", "class_images"], EMBEDDED["student", "class_prompts"]

INDEX = Artifact("index/faiss", "FAISS over test images and captions", ("manifest", "student"))

PROBED_ATTRIBUTES = Artifact("probe/attributes.csv", "what a linear probe reads of every attribute")
PROBED_WORDS = Artifact("probe/words.csv", "what it reads of every word")
PROBED_CONCEPTS = Artifact("probe/concepts.csv", "how often images fall into each concept")

RECALL = Artifact("evaluate/recall.csv", "recall@K of base and student", role="plot")
REPORT = Artifact("evaluate/report", "index.html, and concepts.html with concepts")


def summary(stage: str) -> Artifact:
    """The summary that every stage leaves."""
    return Artifact(f"{stage}/metrics.json", "the stage's summary", role="metrics")


def sums(stage: str) -> Artifact:
    """The hashes of a stage's small files, which every stage leaves."""
    return Artifact(f"{stage}/SHA256SUMS", "sha256 of every small file of the stage")


def _all() -> list[Artifact]:
    found: list[Artifact] = []
    for value in globals().values():
        found += [value] if isinstance(value, Artifact) else []
        found += [a for a in value.values() if isinstance(a, Artifact)] if isinstance(value, dict) else []
    return found


ARTIFACTS = _all()
"""All of them, in the order of the stages."""

STAGES = tuple(dict.fromkeys(artifact.stage for artifact in ARTIFACTS))
"""The stages that leave something."""


def maker(path: Path) -> str:
    """The stage that makes a file: the artifact's of that name, or of the nearest folder above it that is one.

    A folder is also a stage's if it has the stage's name.
    """
    for place in (path, *path.parents):
        ending = f"/{place.as_posix()}"
        if (found := next((a for a in ARTIFACTS if ending.endswith(f"/{a.path}")), None)) is not None:
            return found.stage
        if place != path and place.name in STAGES:
            return place.name
    return path.parent.name
