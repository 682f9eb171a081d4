"""Which images may be altered copies of guarded ones: mirrored, bordered, cropped, in other colours, written upon.

A miss here costs the honesty of every result, a false alarm one training image; so the net is wider than the one for
near-duplicates, and each image that it catches is then looked at closely (`altered`).

Frames are compared (`appearance.frames`): grey, so that colours do not matter; by the signs of their low frequencies
about the median, so that light and contrast do not; without their borders. Crops and mirror images are made of the
guarded frame, so that the other's is looked up as it is. What the index finds is compared by its low frequencies, then
by what is fine in both once they are aligned.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.curation.appearance import FRAME, cosines
from pipeline.curation.nearby import NearbyCodes

Window = tuple[float, float, float, float]
"""Left, top, right, bottom of a part of an image, in 0..1."""

_SIDES = ((0.0, 1.0), (0.0, 0.85), (0.15, 1.0))
WINDOWS: tuple[Window, ...] = (
    *((x[0], y[0], x[1], y[1]) for x, y in product(_SIDES, _SIDES)),
    (0.075, 0.075, 0.925, 0.925),
)
"""Crops of a guarded image that are looked for; those between them are near enough to one of them."""
RADIUS = 16
"""Bits of 64 by which the codes of a crop and of its copy may differ."""
ALIKE = 0.7
"""Least cosine of their low frequencies."""
FINE = 0.65
"""Least correlation of what is fine in two aligned frames. Of altered photographs 99.7 % lie above, of other pairs with
alike low frequencies nine in ten below."""
CONTRAST = 3.0
"""Standard deviation of a frame, in grey levels, below which it is too flat to be told from another."""
_KEEP = 8
_VARIANTS = 2 * len(WINDOWS)
_WEIGHTS = np.sqrt(np.hypot(*np.mgrid[0:_KEEP, 0:_KEEP]).ravel()[1:])
"""Weights of the low frequencies: photographs have the less of one the higher it is."""
_ODD = np.where(np.arange(_KEEP) % 2, -1.0, 1.0)
"""What mirroring does to the horizontal frequencies."""
_QUERIES = 512
_COARSE = 1.5
"""Pixels of a frame: what is larger is in its low frequencies."""
_COVERED = 0.4
"""Least share of a frame that another shows, too."""
_STEPS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 1e-3)


@dataclass(frozen=True, slots=True)
class Placement:
    """How an image may show another.

    Args:
        frame: of the guarded image, 0 for the whole and 1 for what is inside its border.
        other_frame: of the other, likewise.
        window: the part of the guarded frame that the other shows.
        mirrored: whether it shows it mirrored.
    """

    frame: int
    other_frame: int
    window: Window
    mirrored: bool


def _resample(start: float, end: float) -> NDArray[np.float64]:
    """[FRAME, FRAME]: every value the mean of its share of the line from `start` to `end`."""
    edges = np.linspace(start * FRAME, end * FRAME, FRAME + 1)
    pixel = np.arange(FRAME)
    shared = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    shared = np.maximum(shared, 0)
    return np.asarray(shared / shared.sum(axis=1, keepdims=True), np.float64)


def _bases() -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """For every variant (a window, plain and mirrored) what takes a frame to its low frequencies: rows, columns."""
    low = cosines(FRAME, _KEEP).astype(np.float64)
    found = []
    for left, top, right, bottom in WINDOWS:
        rows, columns = low @ _resample(top, bottom), low @ _resample(left, right)
        found += [(rows, columns), (rows, columns * _ODD[:, None])]
    return found


_BASES = _bases()


def _frequencies(frames: NDArray[np.uint8], variant: int) -> NDArray[np.float64]:
    """[n, 63], without the mean."""
    rows, columns = _BASES[variant]
    return np.asarray((rows @ frames.astype(np.float64) @ columns.T).reshape(-1, _KEEP**2)[:, 1:])


def _codes(frequencies: NDArray[np.float64]) -> NDArray[np.uint8]:
    """[n, 8]: one bit a frequency, whether it is above their median."""
    bits = frequencies > np.median(frequencies, axis=1, keepdims=True)
    return np.packbits(np.pad(bits, ((0, 0), (1, 0))), axis=1)


def _directions(frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    weighted = frequencies * _WEIGHTS
    return np.asarray(weighted / np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-9))


class Frames:
    """Frames of images, those too flat to be told from others left out."""

    def __init__(self) -> None:
        self._pixels = np.empty((1024, FRAME, FRAME), np.uint8)
        self._owners = np.empty((1024, 2), np.int64)
        self.count = 0

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """[n, FRAME, FRAME]."""
        return self._pixels[: self.count]

    @property
    def owners(self) -> NDArray[np.int64]:
        """[n, 2]: number of the image, and which of its frames."""
        return self._owners[: self.count]

    def add(self, number: int, frames: Sequence[bytes]) -> None:
        """Add an image's frames."""
        for place, frame in enumerate(frames):
            pixels = np.frombuffer(frame, np.uint8).reshape(FRAME, FRAME)
            if pixels.std() < CONTRAST:
                continue
            if self.count == len(self._pixels):
                self._pixels = np.concatenate([self._pixels, np.empty_like(self._pixels)])
                self._owners = np.concatenate([self._owners, np.empty_like(self._owners)])
            self._pixels[self.count], self._owners[self.count] = pixels, (number, place)
            self.count += 1


class Guard:
    """The guarded images: 256 bytes a frame, and 160 for its variants."""

    def __init__(self) -> None:
        self._frames = Frames()
        self._index = NearbyCodes(RADIUS)
        self._indexed = 0

    def add(self, number: int, frames: Sequence[bytes]) -> None:
        """Guard an image."""
        self._frames.add(number, frames)

    def suspects(self, others: Frames) -> dict[int, dict[int, list[Placement]]]:
        """Which images may be altered copies of guarded ones.

        Returns:
            by number of the other, in order: by number of the guarded image, the likeliest first, how the one may
            show the other.
        """
        self._update()
        found: dict[tuple[int, int], list[tuple[float, Placement]]] = {}
        for start in range(0, others.count, _QUERIES):
            self._search(others, start, found)
        ordered: dict[int, dict[int, list[Placement]]] = {}
        for (other, number), hits in sorted(found.items(), key=lambda item: (item[0][0], -item[1][0][0], item[0][1])):
            ordered.setdefault(other, {})[number] = [placement for _, placement in hits]
        return ordered

    def _update(self) -> None:
        new = self._frames.pixels[self._indexed :]
        if len(new):
            codes = np.stack([_codes(_frequencies(new, variant)) for variant in range(_VARIANTS)], axis=1)
            self._index.add(np.ascontiguousarray(codes.reshape(-1, 8)))
            self._indexed += len(new)

    def _search(self, others: Frames, start: int, found: dict[tuple[int, int], list[tuple[float, Placement]]]) -> None:
        frames = others.pixels[start : start + _QUERIES]
        frequencies = _frequencies(frames, 0)
        queries, places, _ = self._index.within(_codes(frequencies))
        guarded, variants = np.divmod(places, _VARIANTS)
        directions, alike = _directions(frequencies), np.zeros(len(places))
        for variant in np.unique(variants):
            chosen = np.flatnonzero(variants == variant)
            theirs = _directions(_frequencies(self._frames.pixels[guarded[chosen]], int(variant)))
            alike[chosen] = (directions[queries[chosen]] * theirs).sum(axis=1)
        likely = np.flatnonzero(alike >= ALIKE)
        counts: dict[tuple[int, int], int] = {}
        for i in likely[np.lexsort((places[likely], -alike[likely].round(9)))]:
            (number, frame), (other, which) = self._frames.owners[guarded[i]], others.owners[start + queries[i]]
            pair = (int(other), int(number))
            if counts.setdefault(pair, 0) == 2:  # of one pair, the two likeliest ways
                continue
            counts[pair] += 1
            window, mirrored = WINDOWS[variants[i] // 2], bool(variants[i] % 2)
            reached = _fine(self._frames.pixels[guarded[i]], frames[queries[i]], window, mirrored)
            if reached >= FINE:
                placement = Placement(int(frame), int(which), window, mirrored)
                found.setdefault(pair, []).append((reached, placement))


def start_of(window: Window, side: int) -> NDArray[np.float32]:
    """The affine transform from the pixels of an image that shows `window` to those of the one it is a part of."""
    left, top, right, bottom = window
    return np.array([[right - left, 0, left * side], [0, bottom - top, top * side]], np.float32)


def _fine(guarded: NDArray[np.uint8], other: NDArray[np.uint8], window: Window, mirrored: bool) -> float:
    """How alike two frames are in what their low frequencies do not tell, laid over each other as well as may be."""
    template, image = other.astype(np.float32), guarded.astype(np.float32)
    if mirrored:
        image = np.ascontiguousarray(image[:, ::-1])
    starts = [start_of(window, FRAME)]
    try:
        _, found = cv2.findTransformECC(
            template, image, starts[0].copy(), cv2.MOTION_AFFINE, _STEPS, np.ones((FRAME, FRAME), np.uint8), 3
        )
        starts.append(np.asarray(found, np.float32))
    except cv2.error:  # so few pixels may lead astray
        pass
    return max(_fine_correlation(image, template, transform) for transform in starts)


def _fine_correlation(
    image: NDArray[np.float32], template: NDArray[np.float32], transform: NDArray[np.float32]
) -> float:
    back = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(image, transform, (FRAME, FRAME), flags=back, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(np.ones((FRAME, FRAME), np.float32), transform, (FRAME, FRAME), flags=back) > 0.9
    if inside.mean() < _COVERED:
        return 0.0
    a, b = ((plane - cv2.GaussianBlur(plane, (0, 0), _COARSE))[inside] for plane in (moved, template))
    a, b = a - a.mean(), b - b.mean()
    return round(float((a * b).mean() / max(float(a.std() * b.std()), 1e-3)), 6)
