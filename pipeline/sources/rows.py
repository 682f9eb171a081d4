"""What a reader yields."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.errors import InputError
from pipeline.schema import Reason


class SourceError(InputError):
    """A corpus is missing, or is not in the layout its reader knows."""


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption and its place in the source, such as `results.token:17`."""

    text: str
    place: str


@dataclass(frozen=True, slots=True)
class Sample:
    """An image and its captions, nothing opened yet. `path` is None when no such file was downloaded."""

    key: str
    source: str
    source_id: str
    path: Path | None
    captions: tuple[Caption, ...]
    licence: str = ""
    url: str = ""
    evaluation: Literal["val", "test"] | None = None
    """Its place in the Karpathy split, where that keeps it out of training."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that is not kept, and why. `place` is where it stands in the source."""

    kind: Literal["image", "caption"]
    key: str
    source: str
    place: str
    reason: Reason
    detail: str = ""


Row = Sample | Rejected
