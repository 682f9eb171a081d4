"""The hashes that DVC recorded when a stage had run, against the files as they are now."""

import hashlib
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from pipeline.artifacts.tables import ContractError
from pipeline.machine.progress import track
from pipeline.verification.findings import Finding, checked


def check(lock: Path, root: Path, data: Path) -> Iterator[Finding]:
    """Hash every output below `data` that dvc.lock names and that is there.

    Args:
        lock: dvc.lock; without one there is nothing to compare.
        root: what its paths are relative to.
        data: only outputs below this folder.
    """
    if not lock.is_file():
        yield Finding(lock.name, "hashes of all outputs", absent=True)
        return
    try:
        stages: dict[str, Any] = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"]
        outs = {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", []) if "md5" in out}
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        yield Finding(lock.name, "hashes of all outputs", fault=f"it is no lock file of DVC: {error!r}; run: dvc repro")
        return
    below = data.absolute()  # not resolved: an output may be a link into DVC's cache
    paths = {(root / path).absolute(): md5 for path, md5 in outs.items()}
    outputs = {path.relative_to(below).as_posix(): md5 for path, md5 in paths.items() if below in path.parents}
    for name, md5 in track(outputs.items(), "hash outputs", unit="outputs"):
        yield checked(name, "its md5 is the one in dvc.lock", [data / name], partial(_compare, data / name, md5))


def _compare(path: Path, expected: str) -> None:
    if (found := _md5(path)) != expected:
        raise ContractError(f"its md5 is {found}, dvc.lock has {expected}; run: dvc checkout, or dvc repro")


def _md5(path: Path) -> str:
    """A file's md5, or DVC's for a folder: of the JSON list of its files' md5s and relative paths, and `.dir`."""
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "md5").hexdigest()
    listed = [
        {"md5": _md5(p), "relpath": p.relative_to(path).as_posix()} for p in sorted(path.rglob("*")) if p.is_file()
    ]
    listed.sort(key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"
