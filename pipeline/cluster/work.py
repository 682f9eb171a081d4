"""What a driver gives to actors, and what they give back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipeline.errors import InputError


class ClusterError(InputError):
    """Actors cannot be had, or could not do what they were given."""


@dataclass(frozen=True)
class Task:
    """What one actor does in one go, such as a shard.

    Attributes:
        name: what it is called in errors.
        kind: those of one kind take about as long a row.
        rows: how many it is to compute.
        given: makes what is sent to the actor; called when one is free, so that not all of it is held at once.
    """

    name: str
    kind: str
    rows: int
    given: Callable[[], Any]


@dataclass(frozen=True)
class Done:
    """What became of a task: how many rows were computed, and the segments of the shared store that hold them."""

    rows: int
    segments: tuple[str, ...]


Work = Callable[[Any, Path], int]
"""Takes what a task gives and the folder of an empty feature store, fills it, and returns how many rows it computed."""


class Job(Protocol):
    """What all tasks of a run have in common; equal jobs share actors."""

    def load(self, folder: Path) -> Work:
        """Load the model, once an actor, from the files that were carried there into `folder`, which then goes."""


@dataclass(frozen=True)
class Carried:
    """Files that travel to actors: by name there the path here."""

    files: Mapping[str, Path]

    @classmethod
    def folder(cls, path: Path) -> Carried:
        """All files of a folder and below it."""
        found = sorted(file for file in path.rglob("*") if file.is_file())
        return cls({file.relative_to(path).as_posix(): file for file in found})
