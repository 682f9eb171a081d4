"""The models of params.yaml: every parameter, its range and what it does. An unknown or mistyped one is an error."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from pipeline import sources
from pipeline.errors import InputError
from pipeline.schema import SpanKind


def _no_truth(value: Any) -> Any:
    """Refuse true and false where a number is wanted; pydantic would read them as 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("expected a number, found true or false")
    return value


def _known_corpus(name: str) -> str:
    if name not in sources.CORPORA:
        raise ValueError(f"there is no corpus {name!r}; expected {', '.join(map(repr, sources.CORPORA))}")
    return name


Number = BeforeValidator(_no_truth)
Fraction = Annotated[float, Number, Field(ge=0, le=1)]
Count = Annotated[int, Number, Field(ge=1)]
Positive = Annotated[float, Number, Field(gt=0, allow_inf_nan=False)]


class ParamsError(InputError):
    """params.yaml cannot be used; the message names each parameter and what was expected."""


class Section(BaseModel):
    """A part of params.yaml; unknown names are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Compute(Section):
    """Where models run. Frozen results differ in the last bits with dtype and batch, so both stand in fingerprints."""

    device: str = Field(description="torch device: cpu, cuda, cuda:0, mps")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(description="of frozen forwards; autocast unless float32")
    threads: Count = Field(description="CPU threads of torch; equal results need equal numbers")
    workers: Count = Field(description="processes or threads that decode and draw")
    processes: Count = Field(
        description="that train the student together, on a GPU each, or on CPU threads of their own"
    )


class Sources(Section):
    """Which corpora, and from where."""

    sample: list[Literal["world"]] = Field(description="[world] to generate the sample world, [] for real corpora")
    path: str = Field(description="folder that holds a folder for every corpus named in quota")
    quota: dict[Annotated[str, AfterValidator(_known_corpus)], Count] = Field(
        description="images of train and val together, by corpus; a corpus that is not named is not read"
    )


class Sample(Section):
    """Size of the sample world."""

    mscoco: Annotated[int, Field(ge=60)]
    flickr30k: Annotated[int, Field(ge=60)]
    conceptual_captions: Annotated[int, Field(ge=60)]
    test: Count = Field(description="images of Flickr30k's Karpathy test split")
    base_pairs: Annotated[int, Field(ge=64)] = Field(description="pictures that the sample's own models train on")
    zeroshot_val: Count = Field(description="pictures of each of the 100 classes, for choosing")
    zeroshot_test: Count = Field(description="pictures of each of the 100 classes, for the result")


class CurateImages(Section):
    """Which images are kept; sides after EXIF rotation."""

    min_side: Count = Field(description="pixels of the shorter side")
    max_pixels: Count = Field(description="width times height in the header; more is not decoded")
    max_aspect: Annotated[float, Number, Field(ge=1)] = Field(description="longer side over shorter side")


class CurateCaptions(Section):
    """Which captions are kept."""

    min_words: Count
    max_words: Count

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_words > self.max_words:
            raise ValueError(f"min_words is {self.min_words}, more than max_words, {self.max_words}")
        return self


class CurateDuplicates(Section):
    """What counts as the same picture, and what becomes of a copy's captions."""

    radius: Annotated[int, Number, Field(ge=0, le=20)] = Field(
        description="bits of 64 that two perceptual hashes may differ in before the pictures are compared in colour"
    )
    captions: Literal["merge", "drop"] = Field(description="merge: a copy's captions go to the image that is kept")


class Curate(Section):
    """What is kept, and in which split."""

    test: dict[str, Literal["karpathy"] | Annotated[float, Field(gt=0, lt=1)]] = Field(
        description="where test images come from: by corpus, karpathy (its split file) or a fraction of its images"
    )
    validation: Annotated[float, Field(gt=0, lt=1)] = Field(description="share of the kept that goes to val")
    samples_per_shard: Count = Field(description="at most; shards of a split are equal in length")
    images: CurateImages
    captions: CurateCaptions
    duplicates: CurateDuplicates


class ClipFromSample(Section):
    """Train the sample's small base CLIP."""

    kind: Literal["sample"]
    epochs: Count
    batch: Count
    lr: Positive
    weight_decay: Annotated[float, Number, Field(ge=0)]


class ClipFromOpenClip(Section):
    """An open_clip architecture with a pretrained tag (downloaded) or a weights file."""

    kind: Literal["open_clip"]
    name: str
    pretrained: str


class ClipFromDirectory(Section):
    """An open_clip local directory."""

    kind: Literal["directory"]
    path: str


class DetectorFromSample(Section):
    """Train the sample's small YOLO."""

    kind: Literal["sample"]
    pictures: Count = Field(description="how many pictures to train on")
    width: Positive = Field(description="channel multiple of YOLO11 (its n scale has 0.25)")
    epochs: Count
    batch: Count
    lr: Positive


class DetectorFromWeights(Section):
    """An ultralytics weights file; a pickle, so its hash is checked before it is opened."""

    kind: Literal["weights"]
    path: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Models(Section):
    """The base CLIP and the detector."""

    path: str = Field(description="what the stage depends on: the sample's base pictures, or your weights folder")
    clip: Annotated[ClipFromSample | ClipFromOpenClip | ClipFromDirectory, Field(discriminator="kind")]
    detector: Annotated[DetectorFromSample | DetectorFromWeights, Field(discriminator="kind")]


class Regions(Section):
    """Detection and crops."""

    confidence: Fraction = Field(description="lowest score of a box")
    iou: Fraction = Field(description="overlap above which non-maximum suppression drops a box")
    image_size: Annotated[int, Field(ge=32, multiple_of=32)] = Field(description="pixels of the detector's input")
    batch: Count
    cap: Annotated[int, Field(ge=0)] = Field(description="most boxes an image, by score x area; region 0 comes on top")
    margin: Annotated[float, Field(ge=0)] = Field(description="share of a box's longer side added around it")
    crop_side: Count = Field(description="crops are made no larger than this many pixels")
    crop_quality: Annotated[int, Field(ge=1, le=100)]


class Spans(Section):
    """Phrases."""

    parser: str = Field(description="a spaCy model's name or path, or rules")
    cap: Count = Field(description="most phrases a caption")


class Features(Section):
    """Frozen CLIP embeddings."""

    batch: Count
    spans: Annotated[list[SpanKind], Field(min_length=1)] = Field(description="which spans to embed")


class Teacher(Section):
    """The meta-teacher."""

    spans: SpanKind = Field(description="what its text stream reads; tokens as published")
    inputs: Literal["regions", "picture", "text"] = Field(
        description="regions and spans; or, as controls, the whole picture alone and spans; or spans only"
    )
    heads: Count
    depth: Count
    feed_forward: Annotated[int, Field(ge=0)] = Field(description="hidden width over dimension; 0 as published")
    pool_temperature: Positive
    temperature: Positive
    caption_dropout: Annotated[float, Field(ge=0, lt=1)]
    epochs: Count
    batch: Annotated[int, Field(ge=2)]
    lr: Positive


Weight = Annotated[float, Number, Field(ge=0, allow_inf_nan=False)]


class Weights(Section):
    """Factor of every loss term, by its name in pipeline/training/recipes.py."""

    contrastive: Weight = 1.0
    teacher: Weight = 1.0
    similarities: Weight = 1.0
    text: Weight = 1.0
    preserve: Weight = 1.0
    regions: Weight = 1.0
    preserve_similarities: Weight = 1.0
    random: Weight = 1.0
    hybrid: Weight = 1.0


class Student(Section):
    """The student."""

    recipe: Literal[
        "contrastive", "hard_negatives", "preserving", "preserving_regions", "preserving_similarities", "dclip",
        "dclip_clean", "dclip_regions", "similarity", "feature_distillation", "clip_refine", "procrustes", "labclip",
        "continue_base", "shuffled_targets", "text_only_teacher", "no_regions",
    ]  # fmt: skip
    init: str = Field(description="base, or an open_clip architecture (name or .json) for a lightweight student")
    text: Literal["frozen", "trainable"]
    layers: Count | Literal["all"] = Field(
        description="how many groups of the image tower are trained, from its output"
    )
    unfreeze: Annotated[int, Number, Field(ge=0)] = Field(
        description="epochs after which one more is trained; 0: never"
    )
    temperature: Annotated[float, Number, Field(ge=0.01, allow_inf_nan=False)] | Literal["learnable"]
    captions: Count | Literal["all"] = Field(description="captions of a picture in a step, at most")
    pixels: Literal["cached", "decoded"] = Field(
        description="cached: decoded once into a memory map in .dclip; decoded: by compute.workers threads, every epoch"
    )
    epochs: Count
    patience: Annotated[int, Number, Field(ge=0)] = Field(
        description="epochs without better retrieval on val after which training stops; 0: never"
    )
    batch: Annotated[int, Field(ge=2)] = Field(description="pictures a step, over all processes")
    chunk: Annotated[int, Number, Field(ge=0)] = Field(
        description="gradient caching: pictures that go through a tower at once, whatever the batch; 0: all of them"
    )
    lr: Positive
    warmup: Fraction = Field(description="share of the steps in which the learning rate rises")
    weight_decay: Annotated[float, Number, Field(ge=0)]
    max_norm: Annotated[float, Number, Field(ge=0)] = Field(description="gradients are clipped to this norm; 0: never")
    average: Annotated[float, Number, Field(ge=0, lt=1)] = Field(
        description="decay of the moving average of the weights, which is then the student; 0: none"
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(description="of the towers; autocast unless float32")
    compile: bool = Field(description="torch.compile the towers")
    checkpoint_seconds: Positive = Field(description="between checkpoints within an epoch; there is one after each")
    keep: Fraction = Field(
        description="share of the base's validation zero-shot that the chosen point keeps, at its interval's lower end"
    )
    weights: Weights

    @model_validator(mode="after")
    def _own_towers_are_trained(self) -> Student:
        if self.init != "base" and self.text == "frozen":
            raise ValueError("a student with its own towers has no cached text: set student.text to trainable")
        if self.recipe in ("procrustes", "labclip") and (self.init != "base" or self.text != "frozen"):
            raise ValueError(f"{self.recipe} maps the base's cached features: set init to base and text to frozen")
        if self.unfreeze and self.layers == "all":
            raise ValueError("unfreeze adds to student.layers, which is all: set it to how many train from the start")
        return self


class Zeroshot(Section):
    """Zero-shot pictures by class, with val and test parts."""

    path: str


class Evaluate(Section):
    """Intervals and examples."""

    bootstrap: Count = Field(description="bootstrap samples")
    examples: Count = Field(description="retrievals shown in the report")


_TEACHERS = {
    "text_only_teacher": "text", "no_regions": "picture",
    **dict.fromkeys(
        ("dclip", "dclip_clean", "dclip_regions", "similarity", "feature_distillation", "shuffled_targets"), "regions"
    ),
}  # fmt: skip
"""What the teacher of a recipe must have read."""


class Params(Section):
    """The whole of params.yaml."""

    seed: Annotated[int, Field(ge=0)]
    compute: Compute
    sources: Sources
    sample: Sample | None = None
    curate: Curate
    models: Models
    regions: Regions
    spans: Spans
    features: Features
    teacher: Teacher
    student: Student
    zeroshot: Zeroshot
    evaluate: Evaluate

    @model_validator(mode="after")
    def _consistent(self) -> Params:
        if self.sources.sample and self.sample is None:
            raise ValueError("sources.sample asks for the sample world, but there is no section sample")
        if self.teacher.spans not in self.features.spans:
            raise ValueError(f"teacher.spans is {self.teacher.spans}, which features.spans does not embed")
        needed = _TEACHERS.get(self.student.recipe, self.teacher.inputs)
        if needed != self.teacher.inputs:
            raise ValueError(f"student.recipe {self.student.recipe} needs teacher.inputs to be {needed}")
        for source in self.curate.test:
            if source not in self.sources.quota:
                raise ValueError(f"curate.test names {source}, which sources.quota does not read")
        if not self.curate.test:
            raise ValueError("curate.test names no corpus, so there would be no test split")
        return self


def _choices(annotation: Any) -> list[Any]:
    """The models that an annotation may hold: itself, or the members of an optional or a union."""
    members = [m for argument in get_args(annotation) for m in _choices(argument)]
    return members or ([annotation] if hasattr(annotation, "model_fields") else [])


def _of_a_union(part: Any) -> bool:
    """Whether a part of a location names a member of a union of plain types, which the file does not have."""
    return isinstance(part, str) and (part in ("int", "float", "str", "bool") or "[" in part)


def _walk(location: tuple[Any, ...]) -> tuple[str, list[str]]:
    """A parameter's name as it stands in the file, and the names that are known beside it.

    pydantic puts the chosen kind of a union into the location; the file has no such level.
    """
    location = tuple(part for part in location if not _of_a_union(part))
    models: list[Any] = [Params]
    path: list[str] = []
    for part in location[:-1]:
        kinds = [m for m in models if "kind" in m.model_fields and part in get_args(m.model_fields["kind"].annotation)]
        if kinds:
            models = kinds
            continue
        path.append(str(part))
        models = [c for m in models if part in m.model_fields for c in _choices(m.model_fields[part].annotation)]
    return ".".join([*path, *(str(part) for part in location[-1:])]), [n for m in models for n in m.model_fields]


def load(path: Path) -> Params:
    """Read and check params.yaml.

    Raises:
        ParamsError: missing or unreadable file, unknown name (with the closest known one), wrong type or range.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ParamsError(f"{path} does not exist; copy one of profiles/ there: dclip profile sample") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParamsError(f"{path} is not a YAML file: {error}") from error
    try:
        return Params.model_validate(content)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            name, known = _walk(problem["loc"])
            line = f"  {name or 'params'}: {problem['msg']}"
            if problem["type"] == "extra_forbidden":
                close = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
                line = f"  {name}: there is no such parameter" + (f"; did you mean {close[0]}?" if close else "")
            elif problem["type"] not in ("missing", "value_error"):
                line += f", found {problem['input']!r}"
            lines.append(line)
        raise ParamsError("\n".join([f"{path} cannot be used:", *lines])) from error
