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
        return {entry.name for entry in entries if _is_file(entry)}


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that leads to itself
        return False


def below(folder: Path) -> Iterator[str]:
    """Path, relative to `folder`, of every file below it, level by level; links are followed, hidden names left out."""
    waiting = [""]
    seen = set()
    while waiting:
        relative = waiting.pop()
        with os.scandir(folder / relative) as found:
            for entry in sorted(found, key=lambda each: each.name):
                if entry.name.startswith("."):
                    continue
                if _is_file(entry):
                    yield relative + entry.name
                elif (folder / relative / entry.name).is_dir():
                    status = entry.stat()
                    if (status.st_dev, status.st_ino) not in seen:  # a link may lead back to where it lies
                        seen.add((status.st_dev, status.st_ino))
                        waiting.append(f"{relative}{entry.name}/")
