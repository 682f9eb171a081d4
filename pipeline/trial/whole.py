"""From what was measured on a few images to the whole: seconds by stage, bytes on disk, bytes of a GPU.

Every figure is a product of a rate that was measured and of a count that follows from quotas; each says which.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.params import Params
from pipeline.recipes import RECIPES
from pipeline.trial.rates import Rates
from pipeline.trial.sources import Tried

NOT_ESTIMATED = "teacher, targets, concepts, validation, evaluation and near-duplicates"
"""What no line is about."""
_FLOAT16, _FLOAT32 = 2, 4
_COPIES = 4
"""Of a trained parameter: itself, its gradient, and AdamW's two moments."""


@dataclass(frozen=True, slots=True)
class Line:
    """One estimate: of time in seconds, of disk or GPU memory in bytes, and how it came about."""

    kind: str
    what: str
    value: float
    how: str


@dataclass(frozen=True, slots=True)
class Counts:
    """How many there will be of everything, if the images that were tried stand for all.

    Attributes:
        looked_at: images that are inspected, evaluation images included.
        kept: images of train, val and test; `trained` of train and val.
        captions: of an image.
        image_bytes: of an image's file.
    """

    looked_at: float
    kept: float
    trained: float
    captions: float
    image_bytes: float


def counts(tried: Sequence[Tried]) -> Counts:
    """Those of all sources together; a source of whose images none can be used adds nothing that is kept."""
    looked_at = kept = trained = captions = size = 0.0
    for one in tried:
        share = len(one.usable) / one.inspected if one.inspected else 0.0
        mine = min(one.quota, one.pool * share)
        looked_at += one.test + one.evaluation + (mine / share if share else one.pool)
        trained += mine
        kept += (all_kept := mine + one.test * share)
        if one.usable:
            captions += all_kept * sum(len(image.captions) for image in one.usable) / len(one.usable)
            size += all_kept * sum(image.bytes for image in one.usable) / len(one.usable)
    return Counts(looked_at, kept, trained, captions / max(kept, 1), size / max(kept, 1))


def estimates(tried: Sequence[Tried], rates: Rates, params: Params) -> list[Line]:
    """Every line, in the order of the stages; none of what could not be measured."""
    whole = counts(tried)
    return [*_times(tried, rates, params, whole), *_disk(rates, params, whole), *_memory(rates, params)]


def _times(tried: Sequence[Tried], rates: Rates, params: Params, whole: Counts) -> Iterator[Line]:
    workers, on_gpu = params.compute.workers, params.compute.device != "cpu"
    inspected = sum(one.inspected for one in tried)
    reading = sum(one.reading for one in tried)
    if inspected:
        rate = sum(one.inspecting for one in tried) / inspected
        how = f"{whole.looked_at:,.0f} images x {rate * 1e3:.1f} ms / {workers} workers, and reading all rows"
        yield Line("time", "curate", reading + whole.looked_at * rate / workers, how)
    regions = float(params.regions.max_regions)
    base = rates.towers.get("base")
    decode = base.decode.seconds / workers if base else 0.0
    if rates.detector:
        regions = rates.detector.regions
        one = _together(rates.detector.image.seconds, decode, on_gpu)
        how = f"{whole.kept:,.0f} images x {one * 1e3:.1f} ms, {regions:.1f} regions each"
        yield Line("time", "regions", whole.kept * one, how)
    captions, phrases = whole.kept * whole.captions, 0.0
    if rates.phrases:
        rate, phrases = rates.phrases[0].seconds, rates.phrases[1]
        yield Line("time", "spans", captions * rate, f"{captions:,.0f} captions x {rate * 1e3:.2f} ms")
    for name, tower in rates.towers.items():
        views = 0 if name == "base" else params.views.count
        images = whole.kept * (1 + regions) + whole.trained * views
        texts = captions * (1 + phrases)
        one = _together(tower.image.seconds, tower.decode.seconds / workers, on_gpu)
        how = (
            f"{images:,.0f} images, regions and views x {one * 1e3:.1f} ms, {texts:,.0f} captions and phrases x "
            f"{tower.text.seconds * 1e3:.2f} ms"
        ) + ("" if rates.detector else f"; {regions:.0f} regions an image at most")
        yield Line("time", f"features, {name}", images * one + texts * tower.text.seconds, how)
    if rates.step:
        shown = params.student.epochs * whole.trained * (1 + params.views.count) * _shown(params)
        how = f"{shown:,.0f} images in {params.student.epochs} epochs x {rates.step.image.seconds * 1e3:.1f} ms"
        yield Line("time", "student", shown * rates.step.image.seconds, how)


def _together(compute: float, decode: float, on_gpu: bool) -> float:
    """Seconds of both: side by side where a GPU computes, one after the other on the same cores."""
    return max(compute, decode) if on_gpu else compute + decode


def _shown(params: Params) -> int:
    """Images that a step embeds for each of its batch: a region, too, if the recipe has regions."""
    return 2 if RECIPES[params.student.recipe].regions else 1


def _disk(rates: Rates, params: Params, whole: Counts) -> Iterator[Line]:
    how = f"{whole.kept:,.0f} images x {whole.image_bytes / 1e3:,.0f} kB"
    yield Line("disk", "data/curate", whole.kept * whole.image_bytes, how)
    regions = float(params.regions.max_regions)
    if rates.detector:
        regions = rates.detector.regions
        crops = whole.kept * regions
        how = (
            f"{crops:,.0f} crops x {rates.detector.crop_bytes / 1e3:,.1f} kB, in the feature store and in data/regions"
        )
        yield Line("disk", "regions", 2 * crops * rates.detector.crop_bytes, how)
    phrases = rates.phrases[1] if rates.phrases else 0.0
    for name, tower in rates.towers.items():
        views = 0 if name == "base" else params.views.count
        rows = whole.kept * (1 + regions + whole.captions * (1 + phrases)) + whole.trained * views
        how = f"{rows:,.0f} rows of {tower.dimension} x 2 bytes, in the feature store and in tables"
        copies = 2 if name == "base" else 3
        yield Line("disk", f"features, {name}", copies * rows * tower.dimension * _FLOAT16, how)
    base = rates.towers.get("base")
    if base and params.student.pixels == "cached":
        images = whole.trained * (1 + params.views.count) * (1 + regions if _shown(params) > 1 else 1)
        how = f"{images:,.0f} decoded images, views and crops x {3 * base.image_size**2 / 1e3:,.0f} kB"
        yield Line("disk", "decoded images", images * 3 * base.image_size**2, how)


def _memory(rates: Rates, params: Params) -> Iterator[Line]:
    for name, tower in rates.towers.items():
        if tower.peak is not None:
            yield Line("memory", f"features, {name}", tower.peak, f"measured, {tower.batch} images a forward")
    base = rates.towers.get("base")
    if rates.step and base:
        at_once = params.student.micro_batch or params.student.batch
        weights = base.parameters * _FLOAT32 + rates.step.trained * (_COPIES - 1) * _FLOAT32
        if params.student.ema_decay:
            weights += base.parameters * _FLOAT32
        saved = at_once * _shown(params) * rates.step.saved
        how = (
            f"weights, gradients and AdamW {weights / 1e9:.2f} GB, and {at_once:,} images at once "
            f"x {rates.step.saved * _shown(params) / 1e6:,.1f} MB that the backward keeps"
        )
        yield Line("memory", "student", weights + saved, how)
