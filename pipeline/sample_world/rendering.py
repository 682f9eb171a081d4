"""Images as files: a scene and the form it is stored in, rendered on every core."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.machine.processes import Processes
from pipeline.machine.progress import track
from pipeline.sample_world.drawing import draw
from pipeline.sample_world.forms import FORMS, Alteration, altered
from pipeline.sample_world.scenes import Scene


@dataclass(frozen=True)
class DrawnImage:
    """A scene, and how its file is written."""

    scene: Scene
    form: str = "rgb"
    """One of `FORMS`."""
    alteration: Alteration | None = None
    """Of a near copy, which is a JPEG."""


def encode(drawn_image: DrawnImage) -> bytes:
    """The image's file."""
    image = draw(drawn_image.scene)
    return altered(image, drawn_image.alteration) if drawn_image.alteration else FORMS[drawn_image.form](image)


def render(drawn: Sequence[DrawnImage], what: str, workers: int) -> Iterator[bytes]:
    """The file of every image, in order, rendered by `workers` processes."""
    with Processes(workers) as processes:
        yield from track(processes.map(encode, drawn), what, total=len(drawn), unit="images")
