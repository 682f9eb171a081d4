"""What params.yaml says of folders that someone has: sources that were recognised and counted, and what is lacking."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import sources
from pipeline.errors import InputError
from pipeline.params import Params
from pipeline.params.models import ClipFromDirectory, DetectorFromWeights
from pipeline.sources.recognition import Recognised
from pipeline.trial.sources import Tried

DRAWN = 0.1
"""Share of a source's images that is the test split where none is published."""
_UNSAFE = re.compile(r"[^A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class Found:
    """A folder that was recognised as a source that can be read."""

    name: str
    path: Path
    recognised: Recognised
    others: tuple[str, ...]
    """Kinds that it may be of, too."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A folder that was not, and why."""

    path: Path
    why: str


def look(root: Path, elsewhere: Iterable[Path] = ()) -> tuple[list[Found], list[Unread]]:
    """Recognise the folders in `root`, or `root` itself if it is a source, and others elsewhere.

    Raises:
        InputError: there is no such folder.
    """
    given = list(elsewhere)
    for folder in (root, *given):
        if not folder.is_dir():
            raise InputError(f"there is no folder {folder}; expected one that holds your images and captions")
    inner = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    looked_at = [(path, _recognise(path)) for path in inner]
    if not any(isinstance(found, Found) for _, found in looked_at) or _is_corpus(root):
        looked_at = [(root, _recognise(root))]
    looked_at += [(path, _recognise(path)) for path in given]
    found, unread, names = [], [], set[str]()
    for _, one in looked_at:
        if isinstance(one, Unread):
            unread.append(one)
            continue
        name = one.name
        while name in names:
            name += "_2"
        names.add(name)
        found.append(Found(name, one.path, one.recognised, one.others))
    return found, unread


def _is_corpus(folder: Path) -> bool:
    """Whether it is one of those whose layout has inner folders of its own."""
    first = next(sources.recognised(folder), None)
    return first is not None and first.kind in ("mscoco", "flickr30k", "huggingface")


def _recognise(path: Path) -> Found | Unread:
    kinds = list(sources.recognised(path))
    if kinds:
        name = _UNSAFE.sub("_", path.resolve().name).strip("_") or kinds[0].kind
        return Found(name, path, kinds[0], tuple(one.kind for one in kinds[1:]))
    return Unread(path, f"it is in no layout that is known: {', '.join(sources.CORPORA)}")


def changes(found: Sequence[Found], counted: Sequence[Tried], root: Path) -> dict[str, Any]:
    """What these sources change in params.yaml, to be laid over it.

    All images that have a file are the quota; published test images are the test split, or else a share of the source
    with the most images. Of copies the one in the source with a published split stays, then in the larger one.

    Raises:
        InputError: no source has an image.
    """
    usable = [(one, tried) for one, tried in zip(found, counted, strict=True) if tried.files]
    if not usable:
        raise InputError("no source has a single image file; see above for what is lacking")
    order = sorted(usable, key=lambda pair: (not pair[1].published.get("test"), -pair[1].files))
    test: dict[str, Any] = {
        one.name: "karpathy" if sources.CORPORA[one.recognised.kind].split_file else "published"
        for one, tried in order
        if tried.published.get("test")
    }
    of = {}
    for one, tried in order:
        of[one.name] = {"kind": one.recognised.kind, "quota": max(1, tried.files - sum(tried.published.values()))}
        if one.path != root / one.name:
            of[one.name]["path"] = one.path.as_posix()
    return {
        "sources": {"sample": [], "path": root.as_posix(), "of": of},
        "sample": None,
        "curate": {
            "test": test or {max(usable, key=lambda pair: pair[1].files)[0].name: DRAWN},
            "duplicates": {"prefer": list(of)},
        },
    }


def lacking(params: Params, exists: Callable[[Path], bool] = Path.exists) -> list[str]:
    """What params.yaml names besides sources and is not there, each with what to do."""
    found = []
    detector, zeroshot = params.models.detector, Path(params.zeroshot.path)
    if isinstance(detector, DetectorFromWeights):
        if not exists(Path(detector.path)):
            found.append(f"{detector.path}, the detector's weights: dclip fetch {Path(detector.path).stem}")
        if set(detector.sha256) == {"0"}:
            found.append(f"models.detector.sha256, the hash of that file: sha256sum {detector.path}")
    for name, clip in {"models.clip": params.models.clip, **params.teachers}.items():
        if isinstance(clip, ClipFromDirectory) and not exists(Path(clip.path)):
            found.append(f"{clip.path}, an open_clip local directory ({name})")
    if not exists(zeroshot):
        found.append(f"{zeroshot}, images by class, on which it is measured what the student keeps (docs/your-data.md)")
    if params.probe.enabled and not exists(Path(params.probe.attributes)):
        found.append(f"{params.probe.attributes}, images with attributes; or set probe.enabled to false")
    return found
