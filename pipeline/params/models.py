"""Parameters of the machine and of the frozen models."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pipeline.machine import devices
from pipeline.params.section import Batch, Count, Fraction, Number, Pixels, Positive, Section, Threads, Weight, Word


class Compute(Section):
    """Where models run. Frozen results differ in the last bits with dtype and batch, so both stand in fingerprints."""

    device: Annotated[str, AfterValidator(devices.named)] = Field(description="cpu, cuda, cuda:0, mps")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(description="of frozen forwards; autocast unless float32")
    batch: Batch = Field(description="rows of every frozen forward; the last one is padded")
    compile: bool = Field(description="torch.compile frozen image towers, for a GPU; results differ in the last bits")
    threads: Threads = Field(description="CPU threads of torch, NumPy and FAISS; equal results need equal numbers")
    workers: Threads = Field(description="processes or threads that decode and draw")
    processes: Threads = Field(
        description="that train the student together, on a GPU each, or on CPU threads of their own"
    )
    engine: Literal["local", "ray"] = Field(
        description="what computes frozen results: the stage itself, or actors of a Ray cluster before it begins"
    )
    actors: Threads = Field(description="of Ray, at most; each takes compute.threads CPUs, and a GPU if the device is")
    address: Word = Field(description="of the Ray cluster: host:port, auto, or local for one on this machine")
    store: Word = Field(
        description="the feature store that actors fill: own (.dclip/store), another folder of all machines, s3://..."
    )
    shards: Word = Field(description="where actors find data/curate: own (its path here), or a URL such as s3://...")


class ClipFromSample(Section):
    """Train the sample's small base CLIP."""

    kind: Literal["sample"]
    epochs: Count
    batch: Batch
    lr: Positive
    weight_decay: Weight


class ClipFromOpenClip(Section):
    """An open_clip architecture with a pretrained tag (downloaded) or a weights file."""

    kind: Literal["open_clip"]
    name: Word
    pretrained: Word


class ClipFromDirectory(Section):
    """An open_clip local directory."""

    kind: Literal["directory"]
    path: Word


class DetectorFromSample(Section):
    """Train the sample's small YOLO."""

    kind: Literal["sample"]
    images: Count = Field(description="how many images to train on")
    width: Annotated[float, Field(gt=0, le=16), Number] = Field(
        description="channel multiple of YOLO11 (its n scale has 0.25)"
    )
    epochs: Count
    batch: Batch
    lr: Positive


class DetectorFromWeights(Section):
    """An ultralytics weights file; a pickle, so its hash is checked before it is opened."""

    kind: Literal["weights"]
    path: Word
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Models(Section):
    """The base CLIP and the detector."""

    path: Word = Field(description="what the stage depends on: the sample's base images, or your weights folder")
    clip: Annotated[ClipFromSample | ClipFromOpenClip | ClipFromDirectory, Field(discriminator="kind")]
    detector: Annotated[DetectorFromSample | DetectorFromWeights, Field(discriminator="kind")]


class _Teacher(Section):
    """A frozen CLIP to learn from."""

    scale: Positive | Literal["own"] = Field(description="by which its similarities are multiplied; own: its own")


class TeacherFromSample(_Teacher):
    """Train the sample's base on with its own pairs, at more pixels."""

    kind: Literal["sample"]
    image_size: Pixels = Field(description="pixels of its input")
    epochs: Count
    batch: Batch
    lr: Positive
    weight_decay: Weight


class TeacherFromOpenClip(_Teacher, ClipFromOpenClip):
    """An open_clip architecture with a pretrained tag (downloaded) or a weights file."""


class TeacherFromDirectory(_Teacher, ClipFromDirectory):
    """An open_clip local directory."""


TeacherClip = Annotated[TeacherFromSample | TeacherFromOpenClip | TeacherFromDirectory, Field(discriminator="kind")]
Teachers = dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")], TeacherClip]
"""Frozen CLIPs by the names that their folders have."""


class Views(Section):
    """Augmented views of every training image, which every teacher embeds once.

    A recipe that learns from teachers shows the student the image itself and these, each as often; others show the
    image alone.
    """

    count: Annotated[int, Field(ge=0, le=64), Number] = Field(description="views of an image; 0: the image alone")
    area: Annotated[float, Field(gt=0, le=1), Number] = Field(
        description="smallest share of an image that a view shows"
    )
    flip: Fraction = Field(description="share turned left to right; 0 where captions say which side something is on")
    colour: Fraction = Field(description="by which share brightness, contrast and saturation change at most")
