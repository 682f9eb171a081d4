"""Every file and folder that a stage leaves for others, named once: what it holds, its columns, what it is bound to.

A path is relative to the data folder and begins with the stage that makes the artifact. `Workspace` finds and reads
them; dvc.yaml, the pages of docs/ and `dclip verify` follow from them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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

BASE_CLIP = Artifact("models/clip", "the base CLIP, an open_clip local directory")
BASE_CONFIG = Artifact("models/clip/open_clip_config.json", "the base's architecture and preprocessing", role="part")
DETECTOR = Artifact("models/detector.pt", "the detector's weights")
PRETRAINING = Artifact("models/pretraining.csv", "the base's training history, if it was trained here", role="plot")

SHARDS = {split: Artifact(f"curate/{split}", f"WebDataset shards of {split}: NNNNNN.tar") for split in Split}
MANIFEST = Artifact("curate/manifest.parquet", "one row a kept sample", columns=schema.MANIFEST)
REJECTED = Artifact("curate/rejected.parquet", "one row for everything that is not kept", columns=schema.REJECTED)
DATA_CARD = Artifact(
    "curate/card/facts.json", "the data card: what trains, what does not and why", within="curate/card"
)

REGIONS = Artifact(
    "regions/regions.arrow", "boxes, scores, class names, JPEG crops", ("manifest", "detector"), schema.REGIONS
)
TEST_BOXES = Artifact("regions/test_boxes.arrow", "boxes of the test images", ("manifest", "detector"), schema.BOXES)

SPANS = Artifact("spans/spans.arrow", "phrases and tokens as character offsets", ("manifest",), schema.SPANS)

_FROZEN = ("manifest", "base")
_BY_CAPTION = partial(embeddings, "caption_index")
IMAGE_EMBEDDINGS = Artifact("features/images.arrow", "the base's embedding of every image", _FROZEN, embeddings)
REGION_EMBEDDINGS = Artifact(
    "features/regions.arrow",
    "the base's embedding of every region",
    (*_FROZEN, "regions"),
    partial(embeddings, "region_index"),
)
CAPTION_EMBEDDINGS = Artifact("features/captions.arrow", "the base's embedding of every caption", _FROZEN, _BY_CAPTION)
_span_table = partial(Artifact, within="features/spans", columns=partial(embeddings, "caption_index", "span_index"))
SPAN_EMBEDDINGS = {
    kind: _span_table(
        f"features/spans/{kind}.arrow", f"the base's embeddings of every caption's {kind}", (*_FROZEN, "spans")
    )
    for kind in SpanKind
}
_class_table = partial(Artifact, bound_to=("base",), columns=embeddings, within="features/zeroshot")
ZEROSHOT_IMAGES = _class_table(
    "features/zeroshot/images.arrow", "the base's embeddings of the images of the zero-shot set"
)
ZEROSHOT_PROMPTS = _class_table(
    "features/zeroshot/prompts.arrow", "the base's embeddings of the prompts of the zero-shot set"
)

ZEROSHOT_EMBEDDINGS = (ZEROSHOT_IMAGES, ZEROSHOT_PROMPTS)
TEACHER_INPUTS = (REGION_EMBEDDINGS, CAPTION_EMBEDDINGS, *SPAN_EMBEDDINGS.values())

TEACHER = Artifact("teacher/teacher.safetensors", "the meta-teacher's weights")
TEACHER_HISTORY = Artifact("teacher/history.csv", "the teacher's training history", role="plot")

_TARGETS_HOLD = "the teacher's embedding of every training image alone (caption_index -1) and with each of its captions"
_TAUGHT = ("manifest", "teacher", "features")
TARGETS = Artifact("targets/targets.arrow", _TARGETS_HOLD, _TAUGHT, partial(embeddings, "caption_index", name="z"))

_MANIFEST = ("manifest",)
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
    """The stage that makes a file: the artifact's of that name, or the nearest folder above it that is named as one."""
    found = next((artifact for artifact in ARTIFACTS if f"/{path.as_posix()}".endswith(f"/{artifact.path}")), None)
    if found is not None:
        return found.stage
    return next((parent.name for parent in path.parents if parent.name in STAGES), path.parent.name)
