"""How fast this machine decodes, detects, embeds and trains, measured on the images that were tried."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from ultralytics import YOLO

from pipeline.clip import encode
from pipeline.clip.encode import DTYPES, Compute
from pipeline.clip.towers import Clip, normalised
from pipeline.detector.cached import Cropping, Detection
from pipeline.detector.detect import crop, detect, large_enough
from pipeline.images import decoding
from pipeline.machine.batches import batches
from pipeline.spans.phrases import Parser
from pipeline.spans.table import phrases_of

T = TypeVar("T")

ENOUGH = 6.0
"""Seconds after which nothing more is measured of one thing."""
CPU_BATCH, STEP_BATCH = 16, 8
"""Images of a forward on a CPU, and of a training step anywhere; what a row takes hardly depends on it."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Seconds that one takes, and of how many it was measured."""

    seconds: float
    measured: int


@dataclass(slots=True)
class Tower:
    """What one CLIP takes.

    Attributes:
        parameters: how many numbers its weights are.
        decode: an image from its file's bytes to the tower's input, on one core.
        image, text: a forward of one, in the dtype and on the device that were given.
        peak: most bytes of a GPU in these forwards at `batch`; None on a CPU.
    """

    dimension: int
    image_size: int
    parameters: int
    decode: Rate
    image: Rate
    text: Rate
    batch: int
    peak: int | None = None


@dataclass(slots=True)
class Step:
    """What training takes: seconds of an image's forward and backward, and the bytes that the backward keeps of it."""

    image: Rate
    saved: int
    trained: int
    """Parameters that are trained."""


@dataclass(slots=True)
class Detected:
    """What the detector takes, and what it finds: regions an image, bytes of a crop."""

    image: Rate
    regions: float
    crop_bytes: float


@dataclass(slots=True)
class Rates:
    """All that was measured; what could not be, with the reason."""

    towers: dict[str, Tower] = field(default_factory=dict)
    step: Step | None = None
    detector: Detected | None = None
    phrases: tuple[Rate, float] | None = None
    """Of a caption, and phrases that it has."""
    lacking: dict[str, str] = field(default_factory=dict)


def timed(work: Callable[[Sequence[T]], Any], things: Iterable[T], size: int, device: str = "cpu") -> Rate:
    """Seconds a thing, of parts of `size` things; the first part warms up and counts only if it is the only one."""
    warm_up: Rate | None = None
    spent, done = 0.0, 0
    for part in batches(things, size):
        start = time.perf_counter()
        work(part)
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - start
        if warm_up is None:
            warm_up = Rate(seconds / len(part), len(part))
        else:
            spent, done = spent + seconds, done + len(part)
        if max(spent, seconds) > ENOUGH:
            break
    if warm_up is None:
        raise ValueError("there is nothing to measure with")
    return Rate(spent / done, done) if done else warm_up


def tower(clip: Clip, compute: Compute, images: Sequence[bytes], captions: Sequence[str]) -> Tower:
    """Measure a frozen CLIP, on its device."""
    to_pixels = clip.pixels()
    pixels: list[NDArray[np.uint8]] = []
    decode = timed(lambda part: pixels.extend(to_pixels(decoding.decode(data)) for data in part), images, 1)
    on_gpu = compute.device.startswith("cuda")
    batch = compute.batch if on_gpu else min(compute.batch, CPU_BATCH)
    fixed = Compute(compute.device, compute.dtype, batch, compute.workers)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(compute.device)
    enough = 3 * batch  # a warm-up, and two that count
    image = timed(
        lambda part: encode.images(clip, np.stack(part), fixed), _repeated(pixels, enough), batch, fixed.device
    )
    text = timed(lambda part: encode.texts(clip, part, fixed), _repeated(captions, enough), batch, fixed.device)
    peak = torch.cuda.max_memory_allocated(compute.device) if on_gpu else None
    parameters = sum(one.numel() for one in clip.model.parameters())
    return Tower(clip.dimension, clip.image_size, parameters, decode, image, text, batch, peak)


def _repeated(things: Sequence[T], count: int) -> list[T]:
    return [things[i % len(things)] for i in range(count)]


def step(clip: Clip, device: str, precision: str, *, text: bool) -> Step:
    """Measure forward and backward of the image tower, and of a caption beside each image if `text` trains."""
    model: Any = clip.model
    towers = [model.visual] if not text else [model]
    trained = sum(one.numel() for part in towers for one in part.parameters())
    images = torch.zeros(STEP_BATCH, 3, clip.image_size, clip.image_size, dtype=torch.uint8, device=device)
    tokens = clip.tokenize(["a photo of a dog"] * STEP_BATCH).to(device)
    mean, std = (one.to(device) for one in clip.statistics())
    own = {one.untyped_storage().data_ptr() for one in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    def once(_: Sequence[int]) -> None:
        kept.clear()
        kind = torch.device(device).type
        autocast = torch.autocast(kind, dtype=DTYPES[precision], enabled=precision != "float32")
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), autocast:
            made = model.encode_image(normalised(images, mean, std)).float().sum()
            if text:
                made = made + model.encode_text(tokens).float().sum()
        made.backward()

    image = timed(once, range(3 * STEP_BATCH), STEP_BATCH, device)
    model.zero_grad(set_to_none=True)
    return Step(image, sum(kept.values()) // STEP_BATCH, trained)


def phrases(parser: Parser, captions: Sequence[str], most: int) -> tuple[Rate, float]:
    """Measure a parser; and how many phrases a caption has, `most` at most."""
    found: list[int] = []
    rate = timed(
        lambda part: found.extend(
            len(phrases_of(text, spans, most)) for text, spans in zip(part, parser(part), strict=True)
        ),
        captions,
        64,
    )
    return rate, sum(found) / len(found)


def detected(detector: YOLO, images: Sequence[bytes], how: Detection, cropping: Cropping, device: str) -> Detected:
    """Measure a detector with the cropping of what it finds, decoded images given."""
    crops: list[int] = []
    looked_at: list[int] = []
    shown = [decoding.decode(data) for data in images]

    def work(part: Sequence[Image.Image]) -> None:
        for image, boxes in zip(part, detect(detector, part, device=device, **asdict(how)), strict=True):
            for box in large_enough(boxes, *image.size, cropping.min_side)[: cropping.cap]:
                cut = crop(image, box.corners, cropping.margin, cropping.side)
                crops.append(len(decoding.encode_jpeg(cut, cropping.quality)))
            looked_at.append(1)

    rate = timed(work, shown, how.batch, device)
    return Detected(rate, len(crops) / len(looked_at), sum(crops) / max(len(crops), 1))
