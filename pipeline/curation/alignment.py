"""Whether two images are the same image, compressed again, resized, or cropped a little: an aligned look in colour.

A hash cannot tell a copy from an image in which one thing has another colour or stands elsewhere. Here one image is
laid over the other by the affine transform that fits best (Evangelidis and Psarakis 2008, ECC), and the largest
difference of colour that stays anywhere decides.
"""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.curation.inspection import ImageChanged
from pipeline.images import decoding
from pipeline.sources import File

cv2.setNumThreads(0)  # the processes share the cores already
SIDE = 64
"""Both images are compared at this width and height, whatever their shapes."""
WINDOW = 5
"""Differences are averaged over windows of this side, so that the noise of compression cancels."""
CONTRAST = 10.0
"""Grey levels a pixel of slope at which a difference counts half: there a small misalignment is enough for one."""
LIMIT = 9.0
"""Largest difference in grey levels. Of copies of 600 scenes and 340 photographs, compressed again, halved, cropped by
up to 3 % of every side or all of these, at least 98.5 % of every kind stay below; of 600 scenes with one thing
recoloured or moved by 12 to 40 pixels in 192 all but one lie above (benchmarks/lookalikes.py)."""
MAX_STRETCH = 0.15
"""How far the transform may be from none: more than any crop that counts as the same image."""
MAX_SHADE = 16.0
"""How many grey levels the whole image may be lighter, darker or tinted."""
_STEPS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 100, 1e-5)


def thumbnail(image: Image.Image) -> NDArray[np.float32]:
    """An RGB image as [SIDE, SIDE, 3] in 0..255."""
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=2.0), dtype=np.float32)


def difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Largest local difference in colour of two thumbnails, after aligning them; infinite where nothing fits."""
    transform = np.eye(2, 3, dtype=np.float32)
    try:
        _, found = cv2.findTransformECC(
            a.mean(2), b.mean(2), transform, cv2.MOTION_AFFINE, _STEPS, np.ones((SIDE, SIDE), np.uint8), 5
        )
        transform = np.asarray(found, dtype=np.float32)
    except cv2.error:  # no transform brings them together, or an image is one flat colour
        transform = np.eye(2, 3, dtype=np.float32)
    if np.abs(transform[:, :2] - np.eye(2)).max() > MAX_STRETCH or np.abs(transform[:, 2]).max() > MAX_STRETCH * SIDE:
        return float("inf")
    back = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(b, transform, (SIDE, SIDE), flags=back, borderMode=cv2.BORDER_REPLICATE)
    covered = cv2.warpAffine(np.ones((SIDE, SIDE), np.float32), transform, (SIDE, SIDE), flags=back) > 0.99
    inside = cv2.erode(covered.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1) > 0
    rest = moved - a
    shade = np.median(rest[inside], axis=0)
    if np.abs(shade).max() > MAX_SHADE:
        return float("inf")
    rest -= shade
    local = np.abs(cv2.blur(rest, (WINDOW, WINDOW)))
    slope = np.hypot(cv2.Sobel(a, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(a, cv2.CV_32F, 0, 1) / 8)
    return float((local / (1 + cv2.blur(slope, (WINDOW, WINDOW)) / CONTRAST))[inside].max())


@lru_cache(maxsize=256)
def _open(file: File) -> NDArray[np.float32]:
    try:
        with decoding.opened(file.read()) as image:
            return thumbnail(decoding.upright(image, 2 * SIDE))
    except (OSError, decoding.UnreadableImage) as error:
        raise ImageChanged(f"{file.path} could be read when curate began: {error}; run it again") from error


def same_image(pair: tuple[File, File]) -> bool:
    """Whether two image files show the same image."""
    return difference(_open(pair[0]), _open(pair[1])) <= LIMIT
