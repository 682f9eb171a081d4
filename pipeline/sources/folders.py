"""What lies in folders, read once: a set of names costs less than asking for millions of files one by one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def names(folder: Path) -> set[str]:
    """Names of the files directly in a folder; empty if there is no such folder."""
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_file()}


def below(folder: Path) -> Iterator[str]:
    """Path, relative to `folder`, of every file below it, in no order; links are followed, hidden names left out."""
    waiting = [""]
    seen = set()
    while waiting:
        relative = waiting.pop()
        with os.scandir(folder / relative) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_file():
                    yield relative + entry.name
                elif entry.is_dir():
                    status = entry.stat()
                    if (status.st_dev, status.st_ino) not in seen:  # a link may lead back to where it lies
                        seen.add((status.st_dev, status.st_ino))
                        waiting.append(f"{relative}{entry.name}/")
