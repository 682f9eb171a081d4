"""Pictures as files: a scene and the form it is stored in, rendered on every core."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from pipeline.progress import track
from pipeline.sample_world.drawing import draw
from pipeline.sample_world.scenes import SIDE, Scene

Form = Literal["rgb", "grey", "cmyk", "truncated", "recompressed", "resized"]


@dataclass(frozen=True)
class Picture:
    """A scene, and how its JPEG is written: what real corpora contain beside plain RGB files."""

    scene: Scene
    form: Form = "rgb"


def jpeg(picture: Picture) -> bytes:
    """The picture's file. `truncated` stops after 40 % of the bytes."""
    image = draw(picture.scene)
    quality = 92
    match picture.form:
        case "grey":
            image = image.convert("L")
        case "cmyk":
            image = image.convert("CMYK")
        case "recompressed":
            quality = 70
        case "resized":
            image = image.resize((SIDE * 7 // 8, SIDE * 7 // 8), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    data = out.getvalue()
    return data[: len(data) * 2 // 5] if picture.form == "truncated" else data


def render(pictures: Sequence[Picture], what: str, workers: int) -> Iterator[bytes]:
    """The file of every picture, in order, rendered by `workers` processes."""
    if workers < 2:
        yield from track(map(jpeg, pictures), what, total=len(pictures), unit="images")
        return
    with ProcessPoolExecutor(workers) as pool:
        rendered: Iterable[bytes] = pool.map(jpeg, pictures, chunksize=32)
        yield from track(rendered, what, total=len(pictures), unit="images")
