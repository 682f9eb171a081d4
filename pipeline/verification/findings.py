"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Finding:
    """One artefact, checked.

    Attributes:
        artefact: its path below the data folder.
        checked: how much of it was checked, in words.
        recomputed: rows that were computed anew.
        deviation: the largest distance between a row and what was computed anew: for unit vectors Euclidean (2 at
            most), for boxes in shares of the picture's side, for crops in shades of 255. None where nothing was.
        fault: what is wrong; empty if nothing is.
    """

    artefact: str
    checked: str
    recomputed: int = 0
    deviation: float | None = None
    fault: str = ""
