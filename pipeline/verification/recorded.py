"""The hashes that DVC recorded when a stage had run, against the files as they are now."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from pipeline.progress import track
from pipeline.verification.findings import Finding


def check(lock: Path, root: Path, data: Path) -> Iterator[Finding]:
    """Hash every output below `data` that dvc.lock names and that is there.

    Args:
        lock: dvc.lock; without one there is nothing to compare.
        root: what its paths are relative to.
        data: only outputs below this folder.
    """
    content = yaml.safe_load(lock.read_text(encoding="utf-8")) if lock.is_file() else None
    stages: dict[str, Any] = (content or {}).get("stages", {})
    outs = [out for stage in stages.values() for out in stage.get("outs", [])]
    here = [
        out
        for out in outs
        if (root / out["path"]).exists() and data.resolve() in (root / out["path"]).resolve().parents
    ]
    for out in track(here, "hash outputs", unit="outputs") if here else ():
        found = _md5(root / out["path"])
        right = found == out["md5"]
        yield Finding(
            (root / out["path"]).resolve().relative_to(data.resolve()).as_posix(), "its md5 is the one in dvc.lock",
            fault="" if right else f"its md5 is {found}, dvc.lock has {out['md5']}; run: dvc checkout, or dvc repro",
        )  # fmt: skip


def _md5(path: Path) -> str:
    """A file's md5, or DVC's for a folder: of the JSON list of its files' md5s and relative paths, and `.dir`."""
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "md5").hexdigest()
    listed = [
        {"md5": _md5(p), "relpath": p.relative_to(path).as_posix()} for p in sorted(path.rglob("*")) if p.is_file()
    ]
    listed.sort(key=lambda entry: entry["relpath"].split("/"))
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"
