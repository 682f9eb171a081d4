"""Texts as actors' tasks: so many at a time, in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from pipeline.cluster.work import Task

BLOCK = 8192
"""Texts of a task: minutes of work, and a segment of some megabytes."""


def text_tasks(what: str, texts: Sequence[str], given: Callable[[list[str]], Any]) -> list[Task]:
    """Tasks of `BLOCK` texts each; `given` makes of them what is sent."""
    return [
        Task(f"{what} {start:,} to {start + len(part) - 1:,}", what, len(part), partial(given, list(part)))
        for start in range(0, len(texts), BLOCK)
        for part in [texts[start : start + BLOCK]]
    ]
