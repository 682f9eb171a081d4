"""How well copies are told from images that only resemble them.

    python -m benchmarks.lookalikes [--photographs FOLDER] [--half odd]

Takes photographs (by default those of DCLIP_REAL_DATA), alters each in every way of
`benchmarks.alterations`, and prints by change and strength the share that is found as a copy of an evaluation image
(the leak guard) and as a near-duplicate. Thresholds were chosen on the even photographs; the odd ones confirm them.

Then false alarms. Of photographs: every photograph is once a training image, with all the others as evaluation
images; counted are the photographs that the guard would reject, and the pairs that would be near-duplicates. Of scenes:
twins of evaluation images, in which one thing has another colour or stands elsewhere, and scenes of nothing alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from benchmarks.alterations import all_of_them
from pipeline.curation.alignment import LIMIT, difference, thumbnail
from pipeline.curation.altered import Picture, is_altered, views
from pipeline.curation.appearance import ENOUGH, frames, perceptual_hash, shrink, sketch
from pipeline.curation.guard import Frames, Guard
from pipeline.curation.inspection import Inspection
from pipeline.curation.lookalikes import Lookalikes
from pipeline.images import decoding
from pipeline.machine.progress import track
from pipeline.sample_world.drawing import draw
from pipeline.sample_world.scenes import random_scene, twin
from pipeline.sample_world.vocabulary import SEEN_COLOURS, SEEN_SHAPES

RADIUS = 12


@dataclass(frozen=True)
class _Look:
    """All that curation would know of an image."""

    inspection: Inspection
    thumbnail: NDArray[np.float32]
    views: tuple[Picture, ...]


def _look(image: Image.Image) -> _Look:
    with decoding.opened(decoding.encode_jpeg(image, 90)) as file:
        small = decoding.upright(file, ENOUGH)
        shrunk = shrink(small)
        seen = Inspection(
            b"", perceptual_hash(shrunk), sketch(shrunk), image.width, image.height, "jpg", frames=frames(shrunk)
        )
        return _Look(seen, thumbnail(small), views(small))


class _Judge:
    """Tells which of the evaluation images others are copies of."""

    def __init__(self, originals: Sequence[_Look]) -> None:
        self.originals, self.guard, self.comparisons = originals, Guard(), 0
        for number, look in enumerate(originals):
            self.guard.add(number, look.inspection.frames)

    def guarded(self, others: Sequence[_Look]) -> set[tuple[int, int]]:
        """(Other, original) where the guard sees an altered copy."""
        asked = Frames()
        for number, look in enumerate(others):
            asked.add(number, look.inspection.frames)
        found = set()
        for other, suspects in self.guard.suspects(asked).items():
            for original, ways in suspects.items():
                self.comparisons += 1
                first, second = self.originals[original].views, others[other].views
                if any(is_altered(first[way.frame], second[way.other_frame], way) for way in ways):
                    found.add((other, original))
        return found


def _near(pairs: Iterable[tuple[_Look, _Look]]) -> list[bool]:
    """Which are near-duplicates."""
    found = []
    for a, b in pairs:
        known = Lookalikes(RADIUS)
        known.add([a.inspection, b.inspection])
        found.append(bool(known.before(1)[0]) and difference(a.thumbnail, b.thumbnail) <= LIMIT)
    return found


def _print_changes(title: str, pictures: Sequence[Image.Image]) -> None:
    originals = [_look(picture) for picture in pictures]
    judge = _Judge(originals)
    print(f"\n{f'{len(pictures)} {title}':60s} guarded   near-duplicate")
    for kind, strength, change in track(list(all_of_them()), title, unit="changes"):
        copies = [_look(change(picture)) for picture in pictures]
        guarded = {other for other, original in judge.guarded(copies) if other == original}
        near = _near(zip(originals, copies, strict=True))
        print(f"{kind:40s}{strength:20s} {len(guarded) / len(copies):6.1%}   {sum(near) / len(copies):6.1%}")


def _print_alarms(photographs: Sequence[Image.Image]) -> None:
    appearances = [_look(picture) for picture in track(photographs, "false alarms", unit="photographs")]
    judge = _Judge(appearances)
    wrong = {(other, original) for other, original in judge.guarded(appearances) if other != original}
    near = sum(_near(combinations(appearances, 2)))
    count = len(appearances)
    pairs = count * (count - 1)
    print(f"\nfalse alarms among {count} photographs, each a training image beside all others as evaluation images")
    print(f"guard: {len({other for other, _ in wrong})} rejected, of {pairs:,} pairs {len(wrong)}")
    print(f"near-duplicates: {near} of {pairs // 2:,} pairs")
    print(f"looked at closely: {(judge.comparisons - len(appearances)) / pairs:.1e} of the pairs")


def _print_scenes(scenes: int) -> None:
    rng = np.random.default_rng(0)
    drawn = [random_scene(rng, SEEN_SHAPES, SEEN_COLOURS) for _ in range(scenes)]
    appearances = [_look(draw(scene)) for scene in track(drawn, "scenes", unit="scenes")]
    twins = [_look(draw(twin(rng, scene, SEEN_COLOURS))) for scene in drawn]
    judge = _Judge(appearances)
    others = {other for other, original in judge.guarded(appearances) if other != original}
    guarded = {other for other, original in judge.guarded(twins) if other == original}
    near = _near(zip(appearances, twins, strict=True))
    print(f"\n{scenes} scenes of the sample world")
    print(f"taken for a copy of another scene: guard {len(others)}")
    print(f"taken for a copy of their twin: guard {len(guarded)}, near-duplicates {sum(near)}")


def main(
    photographs: Annotated[Path | None, typer.Option(envvar="DCLIP_REAL_DATA", help="A folder of JPEG files.")] = None,
    half: Annotated[Literal["even", "odd", "all"], typer.Option(help="Which photographs are altered.")] = "odd",
    altered: Annotated[int, typer.Option(help="Photographs that are altered, at most.")] = 60,
    scenes: Annotated[int, typer.Option(help="Scenes of the sample world.")] = 300,
) -> None:
    """Measure the recognition of copies."""
    paths = sorted(photographs.rglob("*.jp*g")) if photographs else []
    if paths:
        pictures = [decoding.decode(path.read_bytes()) for path in paths]
        chosen = {"even": pictures[::2], "odd": pictures[1::2], "all": pictures}[half]
        step = max(1, len(chosen) // altered)
        _print_changes(f"photographs ({half})", chosen[::step][:altered])
        _print_alarms(pictures)
    _print_scenes(scenes)


if __name__ == "__main__":
    typer.run(main)
