"""Folders of teachers as the stage `teachers` leaves them."""

from pathlib import Path

from pipeline.clip.towers import load
from pipeline.disk import files, sums


def state_teachers(data: Path, **scales: float) -> None:
    """Leave the summary of the teachers that are there, with their own scales but for those that are given."""
    folder = data / "teachers"
    summary = {}
    for clip in sorted((folder / "clips").iterdir()):
        loaded = load(clip)
        summary[clip.name] = {
            "weights": loaded.weights,
            "dimension": loaded.dimension,
            "image_size": loaded.image_size,
            "scale": scales.get(clip.name, loaded.scale),
        }
    files.write_json(folder / "metrics.json", summary)
    sums.write(folder)
