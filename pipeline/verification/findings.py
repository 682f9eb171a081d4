"""What a check has found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError


@dataclass
class Finding:
    """One artefact, checked.

    Attributes:
        artefact: its path below the data folder.
        checked: how much of it was checked, in words.
        recomputed: rows that were computed anew.
        deviation: the largest distance between a row and what was computed anew: for unit embeddings Euclidean (2 at
            most), for boxes in shares of the image's side, for crops in shades of 255. None where nothing was.
        fault: what is wrong; empty if nothing is.
        absent: it is not here, so nothing was checked; a member who fetches only what is needed lacks some.
    """

    artefact: str
    checked: str
    recomputed: int = 0
    deviation: float | None = None
    fault: str = ""
    absent: bool = False


def checked(artefact: str, what: str, needed: Iterable[Path], run: Callable[[], object]) -> Finding:
    """What a check finds: absent if anything that it needs is; whatever it raises is the fault."""
    if not all(path.exists() for path in needed):
        return Finding(artefact, what, absent=True)
    try:
        found = run()
    except InputError as error:
        return Finding(artefact, what, fault=str(error))
    except KeyError as error:
        stage = artefact.partition("/")[0]
        fault = f"{artefact} has no {error}: it is damaged, or of another version; run: dvc repro -sf {stage}"
        return Finding(artefact, what, fault=fault)
    except Exception as error:  # damaged files do what nobody foresaw; the other checks go on
        return Finding(artefact, what, fault=f"{type(error).__name__}: {error}")
    return found if isinstance(found, Finding) else Finding(artefact, what)
