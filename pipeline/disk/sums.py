"""What a stage says of its small files: SHA256SUMS in its folder, by which whoever reads them sees every change.

The format is that of `sha256sum`, which can check it, too. Tables and weights are not in it: they say themselves what
they are.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from pipeline.disk import files
from pipeline.errors import Damaged

NAME = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def write(folder: Path) -> None:
    """Write the hashes of every JSON and CSV file of a stage's folder and below it."""
    paths = sorted(p.relative_to(folder).as_posix() for kind in ("*.csv", "*.json") for p in folder.rglob(kind))
    lines = [f"{files.sha256(folder / path)}  {path}\n" for path in paths]
    files.write_text(folder / NAME, "".join(lines))


def forget(folder: Path) -> None:
    """Remove what was said of a stage's files, before they are written anew.

    Raises:
        Damaged: there is a folder in its place.
    """
    try:
        (folder / NAME).unlink(missing_ok=True)
    except (IsADirectoryError, PermissionError) as error:  # some systems name a folder by the latter
        raise Damaged(f"{folder / NAME} cannot be removed ({error.strerror}); remove it and run again") from error


def check(folder: Path, name: str) -> None:
    """Stop unless a file, named relative to its stage's folder, is the one that the stage wrote.

    Without SHA256SUMS, which may not have been fetched, nothing is known.

    Raises:
        Damaged: it is not there, or is another one, or SHA256SUMS is damaged.
    """
    path = folder / name
    if not path.is_file():
        raise Damaged(f"{path} does not exist; run: dvc repro {folder.name}")
    stated = _stated(folder)
    if stated is not None and (found := files.sha256(path)) != stated.get(name):
        raise Damaged(
            f"{path} is not what its stage wrote: its sha256 is {found}, {folder / NAME} has {stated.get(name)}; "
            f"run: dvc repro -sf {folder.name}"
        )


def check_all(folder: Path, *, partly: bool = False) -> None:
    """Stop unless every file that SHA256SUMS names is the one that the stage wrote.

    Some may be missing if `partly`, SHA256SUMS too, as a member of a team fetches only what is needed.

    Raises:
        Damaged: one is not.
    """
    stated = _stated(folder)
    if stated is None and not partly:
        raise Damaged(f"{folder / NAME} does not exist; run: dvc repro -sf {folder.name}")
    for name in stated or {}:
        if not partly or (folder / name).exists():
            check(folder, name)


def read_json(folder: Path, name: str) -> Any:
    """A JSON file of a stage, checked."""
    check(folder, name)
    return files.read_json(folder / name)


def _stated(folder: Path) -> dict[str, str] | None:
    """The hash of every file, by its name; None where nothing states them."""
    path = folder / NAME
    if not os.path.lexists(path):
        return None
    if not path.is_file():
        raise Damaged(
            f"{path} is no file, or links to none; remove it and run: dvc checkout, or dvc repro -sf {folder.name}"
        )
    lines = [_LINE.fullmatch(line) for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    if not lines or not all(lines):
        raise Damaged(f"{path} is damaged: expected lines of a sha256 and a name; run: dvc repro -sf {folder.name}")
    return {line[2]: line[1] for line in lines if line}
