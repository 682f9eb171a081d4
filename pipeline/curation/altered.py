"""Whether one image is an altered copy of another: in other light or colours, mirrored, cropped, written upon.

One is laid over the other as in `alignment`, with grey levels whose gain and level ECC leaves open. Three things are
asked then. Do the small structures of both agree nearly everywhere (by local correlation, which no change of light
moves)? Does *one* change of light and colour, the same for the whole image, take the one to the other? And where it
does not, was something laid upon one of them, as a watermark is, or is it a thing that has another colour or stands
elsewhere, which makes another image?
"""

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.curation import appearance
from pipeline.curation.guard import Placement, start_of
from pipeline.curation.inspection import ImageChanged
from pipeline.images import decoding
from pipeline.sources import File

cv2.setNumThreads(0)  # the processes share the cores already
Pixels = NDArray[np.float32]
"""[SIDE, SIDE, 3], RGB in 0..255."""
Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]

SIDE = 64
AGREEING = 0.75
"""Least share of their structures, weighted by contrast, that both images have in common. Of altered photographs
nearly all lie above 0.8, of pairs of photographs that frames did not tell apart 99 % below 0.35."""
SHADE = 20.0
"""Largest difference, in grey levels of the copy, of a spot of SPOT x SPOT pixels that counts as the same colour."""
SPOT = 4
OVERLAID = 0.1
"""Largest share of an image that things laid upon it may hide."""
EDGE = 2.5
"""How many times stronger the outline of what was laid upon an image is there than in the other image."""
TRACED = 0.7
"""Correlation of the strengths of both outlines from which on it is one and the same thing in another colour."""
COVERED = 0.4
"""Least share of the copy that the other shows, too."""
_BLACK, _WHITE = 4, 251
"""Grey levels beyond which light may have been cut off."""
_CUT = 60
"""How many grey levels more may lie between colours that light has cut off."""
_BLURS = (0.0, 0.7)
"""Images are compared as they are, where thin writing stays thin, and blurred a little, where a small copy of a sharp
image is like it."""
_WINDOW = 7
_STRUCTURE = 16.0
"""Variance of a window, in squared grey levels, from which on it has a structure."""
_SAME = 0.6
"""Correlation of two windows from which on they show the same."""
_SCALES = (0.55, 1.45)
_TURN = 0.2
"""The largest rotation of an alignment, in radians."""
_SLOPE = 10.0
"""Grey levels a pixel of slope at which a difference counts half: there a small misalignment is enough for one."""
_GREY = np.array([0.299, 0.587, 0.114], np.float32)
_EPSILON, _COUNT = cv2.TERM_CRITERIA_EPS, cv2.TERM_CRITERIA_COUNT
_ALIGNMENTS = ((12, 0.35), (60, AGREEING))
"""Steps of an alignment, and the least share of windows that agree after it."""
_ROUNDS = 5


def altered_copy(task: tuple[File, File, list[Placement]]) -> bool:
    """Whether the second file shows an altered copy of what the first shows, in one of the ways suspected."""
    guarded, other, placements = task
    return any(
        is_altered(first[placement.frame], second[placement.other_frame], placement)
        for first, second in [(_open(guarded), _open(other))]
        for placement in placements
        if placement.frame < len(first) and placement.other_frame < len(second)
    )


@lru_cache(maxsize=256)
def _open(file: File) -> tuple[Pixels, ...]:
    try:
        with decoding.opened(file.read()) as image:
            return views(decoding.upright(image, appearance.ENOUGH))
    except (OSError, decoding.UnreadableImage) as error:
        raise ImageChanged(f"{file.path} could be read when curate began: {error}; run it again") from error


def views(image: Image.Image) -> tuple[Pixels, ...]:
    """The whole image, and if it has a border, what is inside."""
    small = appearance.shrink(image)
    box = appearance.inside_border(np.asarray(small.convert("L")))
    whole = (0.0, 0.0, float(image.width), float(image.height))
    x, y = image.width / small.width, image.height / small.height
    boxes = (whole, (box[0] * x, box[1] * y, box[2] * x, box[3] * y)) if box else (whole,)
    return tuple(_resized(image, one) for one in boxes)


def _resized(image: Image.Image, box: tuple[float, float, float, float]) -> Pixels:
    enough = min(box[2] - box[0], box[3] - box[1]) >= SIDE
    method = Image.Resampling.BOX if enough else Image.Resampling.BILINEAR
    return np.asarray(image.resize((SIDE, SIDE), method, box=box, reducing_gap=2.0), dtype=np.float32)


def is_altered(guarded: Pixels, other: Pixels, placement: Placement) -> bool:
    """Whether `other` shows `guarded`, beginning to look for it where `way` says."""
    laid = _lay_over(guarded, other, placement)
    if laid is None:
        return False
    moved, inside = laid
    for blur in _BLURS:
        a, b = _smooth(moved, blur), _smooth(other, blur)
        if any(_same_but_for_light(a, b, inside, cut) for cut in (True, False)):
            return True
    return False


def _smooth(image: Pixels, blur: float) -> Pixels:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), blur), np.float32) if blur else image


def _same_but_for_light(moved: Pixels, other: Pixels, inside: Mask, cut: bool) -> bool:
    """Whether one change of light and colour takes one image to the other, but for what was laid upon one of them.

    Args:
        cut: whether light was cut off at white before colours changed, as when an image is made lighter, or only
            after, as when it is toned.
    """
    clear = inside & ((moved > _BLACK) & (moved < _WHITE) & (other > _BLACK) & (other < _WHITE)).all(axis=2)
    expected = _in_its_light(moved, other, clear if clear.sum() >= inside.sum() / 4 else inside, cut)
    # The outermost pixels blend with what was a border.
    spots = _spots(expected, other, cv2.erode(inside.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=0) > 0)
    return not spots.any() or _is_overlay(spots, expected @ _GREY, other @ _GREY, inside)


def _lay_over(guarded: Pixels, other: Pixels, placement: Placement) -> tuple[Pixels, Mask] | None:
    """The guarded image where the other shows it, and the pixels that both have; None if it shows another."""
    if placement.mirrored:
        guarded = np.ascontiguousarray(guarded[:, ::-1])
    transform, grey, wanted = start_of(placement.window, SIDE), guarded @ _GREY, other @ _GREY
    laid = None
    for steps, agreeing in _ALIGNMENTS:  # most of those that are no copies need few steps to be known
        transform = _aligned(grey, wanted, transform, steps)
        back = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        moved = np.asarray(
            cv2.warpAffine(guarded, transform, (SIDE, SIDE), flags=back, borderMode=cv2.BORDER_REPLICATE), np.float32
        )
        covered = cv2.warpAffine(np.ones((SIDE, SIDE), np.float32), transform, (SIDE, SIDE), flags=back) > 0.99
        inside = cv2.erode(covered.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1) > 0
        if inside.mean() < COVERED or _agreement(moved @ _GREY, wanted, inside) < agreeing:
            return None
        laid = moved, inside
    return laid


def _aligned(guarded: Plane, other: Plane, start: NDArray[np.float32], steps: int) -> NDArray[np.float32]:
    """The transform from the other's pixels to the guarded image's that fits best, or `start` if it leads astray."""
    until, everywhere = (_EPSILON | _COUNT, steps, 1e-4), np.ones((SIDE, SIDE), np.uint8)
    try:
        _, found = cv2.findTransformECC(other, guarded, start.copy(), cv2.MOTION_AFFINE, until, everywhere, 5)
    except cv2.error:  # nothing brings them together
        return start
    transform = np.asarray(found, np.float32)
    scales = np.linalg.svd(transform[:, :2].astype(np.float64), compute_uv=False)
    turn = np.arctan2(transform[1, 0] - transform[0, 1], transform[0, 0] + transform[1, 1])
    mirrors = np.linalg.det(transform[:, :2]) <= 0
    if mirrors or abs(turn) > _TURN or scales.min() < _SCALES[0] or scales.max() > _SCALES[1]:
        return start
    return transform


def _agreement(a: Plane, b: Plane, inside: Mask) -> float:
    """What share of the structures of both images they have in common, in windows that count by their contrast."""
    weight = inside.astype(np.float32)
    share = np.maximum(_mean(weight), 1e-6)

    def mean(plane: Plane) -> Plane:
        return np.asarray(_mean(plane * weight) / share)

    mean_a, mean_b = mean(a), mean(b)
    variance_a, variance_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    correlation = (mean(a * b) - mean_a * mean_b) / np.sqrt(np.maximum(variance_a * variance_b, 1e-3))
    variance = np.maximum(variance_a, variance_b)
    structured = inside & (variance > _STRUCTURE)
    strength = np.sqrt(variance[structured])
    return float(strength[correlation[structured] > _SAME].sum() / strength.sum()) if structured.any() else 0.0


def _mean(plane: Plane) -> Plane:
    return np.asarray(cv2.blur(plane, (_WINDOW, _WINDOW)))


def _in_its_light(moved: Pixels, other: Pixels, used: Mask, cut: bool) -> Pixels:
    """`moved` in the light and the colours of `other`, as far as one change of the whole image does it.

    Grey levels change by a curve (lighter, darker, more contrast, gamma), colours by a saturation and a tint that
    depends on the grey level (cast, sepia, grey). Pixels that do not follow hardly count; where light was cut off,
    nothing can be learned.
    """
    wanted = (other @ _GREY)[used].astype(np.float64)
    curve = _robust(_powers((moved @ _GREY)[used])[:, None], wanted[None])
    light = _along(curve, moved, (moved @ _GREY)[used])
    if cut:
        light = np.clip(light, 0, 255)
    grey = light @ _GREY
    level, colours = grey[used] / 128, (light - grey[..., None])[used].T
    tint = other[used].astype(np.float64).T - grey[used]
    terms = np.zeros((7, *colours.shape))
    terms[0] = colours
    for channel in range(3):
        terms[1 + channel, channel], terms[4 + channel, channel] = 1.0, level
    change = _robust(terms, tint)
    if change[0] < 0:  # colours never turn into their opposites
        change = np.r_[0.0, _robust(terms[1:], tint)]
    tinted = change[0] * (light - grey[..., None]) + change[1:4] + change[4:7] * (grey[..., None] / 128)
    return np.asarray(np.clip(grey[..., None] + tinted, 0, 255), np.float32)


def _along(curve: NDArray[np.float64], plane: Plane, known: Plane) -> NDArray[np.float64]:
    """Values of a curve, which goes on straight beyond the grey levels that are known, and never back."""
    levels = np.percentile(known, (1, 20, 80, 99)).astype(np.float64)
    heights = np.tensordot(curve, _powers(levels), 1)
    slopes = [max(0.0, float((heights[i + 1] - heights[i]) / max(levels[i + 1] - levels[i], 1.0))) for i in (0, 2)]
    within = np.clip(plane.astype(np.float64), levels[0], levels[3])
    beyond = plane - within
    return np.asarray(np.tensordot(curve, _powers(within), 1) + np.where(beyond < 0, slopes[0], slopes[1]) * beyond)


def _powers(plane: NDArray[Any]) -> NDArray[np.float64]:
    """What a curve is made of: 1, x, x^2 and x^3, stacked."""
    x = plane.astype(np.float64) / 128
    return np.stack([np.ones_like(x), x, x**2, x**3])


def _robust(terms: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Factors of terms [n, k, pixels] whose sum is nearest to `wanted` [k, pixels], outliers apart (IRLS, Cauchy)."""
    weights = np.ones(wanted.shape[1])
    factors: NDArray[np.float64] = np.zeros(len(terms))
    for _ in range(_ROUNDS):
        weighted = (terms * weights).reshape(len(terms), -1)
        square = weighted @ terms.reshape(len(terms), -1).T + 1e-6 * np.eye(len(terms))
        factors = np.asarray(np.linalg.solve(square, weighted @ wanted.ravel()), np.float64)
        off = np.abs(wanted - np.tensordot(factors, terms, 1)).max(axis=0)
        weights = 1 / (1 + (off / (2 * max(float(np.median(off)), 1.0))) ** 2)
    return factors


def _spots(expected: Pixels, other: Pixels, inside: Mask) -> Mask:
    """Where spots of SPOT x SPOT pixels or more have another colour; thin lines, such as those of letters, are none."""
    apart = np.abs(other - expected)
    apart[((other >= _WHITE) & (expected >= 255 - _CUT)) | ((other <= _BLACK) & (expected <= _CUT))] = 0
    apart = apart.max(axis=2)
    grey = expected @ _GREY
    slope = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(grey, cv2.CV_32F, 0, 1) / 8)
    apart = cv2.blur(apart, (2, 2)) / (1 + cv2.blur(slope, (3, 3)) / _SLOPE)
    apart[~inside] = 0
    return np.asarray(cv2.morphologyEx(apart, cv2.MORPH_OPEN, np.ones((SPOT, SPOT), np.uint8)) > SHADE)


def _is_overlay(spots: Mask, a: Plane, b: Plane, inside: Mask) -> bool:
    """Whether the spots are small, and their outlines are seen in the same one of the images, not in the other."""
    if spots.sum() > OVERLAID * inside.sum():
        return False
    strengths = [np.hypot(cv2.Sobel(p, cv2.CV_32F, 1, 0), cv2.Sobel(p, cv2.CV_32F, 0, 1)) for p in (a, b)]
    count, labels = cv2.connectedComponents(spots.astype(np.uint8))
    ratios = []
    for label in range(1, count):
        spot = (labels == label).astype(np.uint8)
        outline = (cv2.dilate(spot, np.ones((5, 5), np.uint8)) > cv2.erode(spot, np.ones((3, 3), np.uint8))) & inside
        first, second = (strength[outline].astype(np.float64) for strength in strengths)
        together = float(((first - first.mean()) * (second - second.mean())).mean())
        if together > TRACED * float(first.std() * second.std()):
            return False
        ratios.append((float(second.mean()) + 1) / (float(first.mean()) + 1))
    return min(ratios) >= EDGE or max(ratios) <= 1 / EDGE
