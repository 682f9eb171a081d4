"""Pictures as files: a scene and the form it is stored in, rendered on every core."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.machine.processes import Processes
from pipeline.machine.progress import track
from pipeline.sample_world.drawing import draw
from pipeline.sample_world.forms import FORMS, Alteration, altered
from pipeline.sample_world.scenes import Scene


@dataclass(frozen=True)
class Picture:
    """A scene, and how its file is written."""

    scene: Scene
    form: str = "rgb"
    """One of `FORMS`."""
    alteration: Alteration | None = None
    """Of a near copy, which is a JPEG."""


def encode(picture: Picture) -> bytes:
    """The picture's file."""
    image = draw(picture.scene)
    return altered(image, picture.alteration) if picture.alteration else FORMS[picture.form](image)


def render(pictures: Sequence[Picture], what: str, workers: int) -> Iterator[bytes]:
    """The file of every picture, in order, rendered by `workers` processes."""
    with Processes(workers) as processes:
        yield from track(processes.map(encode, pictures), what, total=len(pictures), unit="images")
