"""How well copies are told from pictures that only resemble them.

    python -m benchmarks.lookalikes [--photographs FOLDER]

Draws scenes of the sample world, and takes photographs from a folder if there is one. Of each it makes copies
(compressed again, resized, cropped by up to 3 % of every side, and all of these at once) and of scenes twins, in which
one thing has another colour or stands elsewhere. Prints for each kind how many would be found by their hashes, how many
are then taken for the same picture, and the largest difference that alignment leaves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from pipeline import images
from pipeline.curation.alignment import LIMIT, difference, thumbnail
from pipeline.curation.lookalikes import SKETCH_LIMIT
from pipeline.curation.looks import perceptual_hash, sketch
from pipeline.progress import track
from pipeline.sample_world.drawing import draw
from pipeline.sample_world.scenes import random_scene, twin
from pipeline.sample_world.vocabulary import SEEN_COLOURS, SEEN_SHAPES

RADIUS = 12


def _compressed(image: Image.Image, quality: int) -> Image.Image:
    return images.decode(images.encode_jpeg(image, quality))


def _resized(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)


def _cropped(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    left, top, right, bottom = rng.uniform(0, 0.03, 4)
    w, h = image.size
    return image.crop((round(left * w), round(top * h), round((1 - right) * w), round((1 - bottom) * h)))


def _copies(image: Image.Image, rng: np.random.Generator) -> Iterator[tuple[str, Image.Image]]:
    yield "compressed again, quality 40", _compressed(image, 40)
    yield "half the size", _compressed(_resized(image, 0.5), 90)
    yield "1.25 times the size", _compressed(_resized(image, 1.25), 90)
    yield "cropped", _compressed(_cropped(image, rng), 90)
    yield "all of these", _compressed(_resized(_cropped(image, rng), 0.75), 70)


def _compare(a: Image.Image, b: Image.Image) -> tuple[int, float, float]:
    """Hash distance, mean difference of the sketches, largest difference after alignment."""
    sketches = (np.frombuffer(sketch(picture), np.uint8).astype(np.int16) for picture in (a, b))
    apart = np.abs(np.subtract(*sketches)).mean()
    return (perceptual_hash(a) ^ perceptual_hash(b)).bit_count(), float(apart), difference(thumbnail(a), thumbnail(b))


def main(
    scenes: Annotated[int, typer.Option(help="Scenes of the sample world.")] = 300,
    photographs: Annotated[Path | None, typer.Option(help="A folder of image files.")] = None,
) -> None:
    """Measure the recognition of copies."""
    rng = np.random.default_rng(0)
    found: dict[str, list[tuple[int, float, float]]] = defaultdict(list)
    for _ in track(range(scenes), "scenes", unit="scenes"):
        scene = random_scene(rng, SEEN_SHAPES, SEEN_COLOURS)
        picture = _compressed(draw(scene), 92)
        for name, copy in _copies(picture, rng):
            found[f"scene {name}"].append(_compare(picture, copy))
        found["scene's twin"].append(_compare(picture, _compressed(draw(twin(rng, scene, SEEN_COLOURS)), 92)))
    last = None
    for path in track(sorted(photographs.rglob("*.jp*g")) if photographs else [], "photographs", unit="photographs"):
        picture = images.decode(path.read_bytes())
        for name, copy in _copies(picture, rng):
            found[f"photograph {name}"].append(_compare(picture, copy))
        if last is not None:
            found["photograph and another"].append(_compare(last, picture))
        last = picture
    print(f"{'':44s} pairs   by hash    same   alignment leaves (smallest, median, largest)")
    for name, pairs in found.items():
        near = [(d, s, left) for d, s, left in pairs if d <= RADIUS and s <= SKETCH_LIMIT]
        same = sum(left <= LIMIT for _, _, left in near)
        rest = np.array([left for _, _, left in pairs])
        print(
            f"{name:44s} {len(pairs):5d}   {len(near) / len(pairs):6.1%}  {same / len(pairs):6.1%}   "
            f"{rest.min():.1f}, {np.median(rest):.1f}, {rest.max():.1f}"
        )


if __name__ == "__main__":
    typer.run(main)
