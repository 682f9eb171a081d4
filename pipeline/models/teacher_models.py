"""The frozen CLIPs that a student learns from, by where they come from: trained here, fetched, or given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.clip import towers
from pipeline.clip.towers import Clip
from pipeline.errors import InputError
from pipeline.models.base_pairs import base_pairs
from pipeline.models.given import given
from pipeline.models.pretrain import Pretraining, Runs, pretrain
from pipeline.params.models import TeacherClip, TeacherFromSample


@contextmanager
def naming(teacher: str) -> Iterator[None]:
    """An error of the block says which of `teachers` it is about."""
    try:
        yield
    except InputError as error:
        raise type(error)(f"teachers.{teacher}: {error}") from error


def clip(
    name: str, source: TeacherClip, base: Path, path: Path, *, seed: int, device: str, runs: Runs | None = None
) -> tuple[Clip, list[dict[str, float]]]:
    """A teacher, and its training history if it was trained here.

    Args:
        name: of the teacher, for errors.
        base: folder of the base CLIP, from which one that is trained here goes on.
        path: shards of images with one caption each, for one that is trained here.
        device: where it is trained.
        runs: where its training leaves checkpoints; None for nowhere.

    Raises:
        WrongWeights: it cannot be read, or no base can be carried to its pixels.
        InputError: its training cannot go on.
    """
    with naming(name):
        if not isinstance(source, TeacherFromSample):
            return given(source), []
        made = towers.resized(towers.load(base), source.image_size)
        pixels, captions = base_pairs(path, made)
        made.model.to(device)
        how = Pretraining(source.epochs, source.batch, source.lr, source.weight_decay, seed, from_scratch=False)
        return made, pretrain(made, pixels, captions, how, what=f"teachers.{name}", runs=runs)
