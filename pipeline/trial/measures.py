"""Everything that can be measured of the models that params.yaml names, on the images that were tried."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, zip_longest

from pipeline.artifacts.catalog import BASE
from pipeline.artifacts.workspace import Workspace
from pipeline.clip.encode import Compute
from pipeline.detector.cached import Cropping, Detection
from pipeline.errors import InputError, memory_full
from pipeline.params import Params
from pipeline.spans.phrases import load_parser
from pipeline.trial import models, rates
from pipeline.trial.rates import Rate, Rates
from pipeline.trial.sources import Tried

_IMAGES = 128
"""Images that are decoded, detected on and embedded, of all sources in turn."""


def nothing() -> Rates:
    """Of models that are not asked for."""
    return Rates()


def lines(tried: Sequence[Tried], found: Rates) -> Iterator[tuple[str, Rate]]:
    """Every rate that was measured, in words."""
    for one in tried:
        if one.inspected:
            yield f"inspect an image of {one.source}, on one core", Rate(one.inspecting / one.inspected, one.inspected)
    if found.detector:
        yield "an image through the detector, with crops", found.detector.image
    if found.phrases:
        yield "phrases of a caption", found.phrases[0]
    for name, tower in found.towers.items():
        yield f"{name}: decode an image to {tower.image_size} pixels, on one core", tower.decode
        yield f"{name}: an image through the tower, {tower.batch} at a time", tower.image
        yield f"{name}: a text through the tower, {tower.batch} at a time", tower.text
    if found.step:
        yield f"an image's forward and backward in training, {rates.STEP_BATCH} at a time", found.step.image


def of(tried: Sequence[Tried], params: Params, ws: Workspace) -> Rates:
    """Measure the detector, the parser, every CLIP and a training step; what cannot be is named with its reason."""
    found = Rates()
    in_turn = [image for group in zip_longest(*(one.usable for one in tried)) for image in group if image is not None]
    if not in_turn:
        found.lacking["models"] = "no source has an image that can be used"
        return found
    images = [image.file.read() for image in in_turn[:_IMAGES]]
    captions = list(dict.fromkeys(chain.from_iterable(image.captions for image in in_turn)))
    random.Random(0).shuffle(captions)  # their lengths differ by source
    p, device = params.regions, params.compute.device
    compute = Compute(device, params.compute.dtype, params.compute.batch, params.compute.workers)
    with _unless_impossible(found, "detector"):
        cropping = Cropping(p.max_regions, p.min_side, p.margin, p.crop_side, p.crop_quality)
        how = Detection(p.confidence, p.iou, p.image_size, p.batch)
        found.detector = rates.detected(models.detector(params.models.detector, ws), images, how, cropping, device)
    with _unless_impossible(found, "phrases"):
        found.phrases = rates.phrases(load_parser(params.spans.parser), captions, params.spans.max_phrases)
    for name, source in {BASE: params.models.clip, **params.teachers}.items():
        with _unless_impossible(found, name):
            clip = models.clip(source, device)
            found.towers[name] = rates.tower(clip, compute, images, captions)
            if name == BASE:
                text = params.student.text == "trainable"
                found.step = rates.step(clip, device, params.student.precision, text=text)
            del clip
    return found


@contextmanager
def _unless_impossible(found: Rates, what: str) -> Iterator[None]:
    """What cannot be measured here is noted with its reason."""
    try:
        yield
    except InputError as error:
        found.lacking[what] = str(error)
    except (RuntimeError, MemoryError) as error:
        if not (full := memory_full(error)):
            raise
        found.lacking[what] = f"{full} is full"
