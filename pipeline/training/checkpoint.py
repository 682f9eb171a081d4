"""Checkpoints: the state of a training in a file that is whole, as it was written, or not used."""

import logging
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pipeline.disk import files, sealed
from pipeline.errors import Damaged

log = logging.getLogger(__name__)

VERSION = 4


def write(path: Path, fingerprint: str, state: Mapping[str, Any]) -> None:
    """Write a training's state, whole or not at all.

    Args:
        fingerprint: of everything that the training depends on.
        state: tensors, numbers and texts, in any nesting of dictionaries and lists.
    """
    with files.whole(path) as temporary:
        with temporary.open("wb") as stream:  # by its path the random name of a temporary file would get into it
            try:
                torch.save({"version": VERSION, "fingerprint": fingerprint, **state}, stream)
            except RuntimeError as error:
                if isinstance(error.__context__, OSError):  # torch stumbles over what is left of its file, and says so
                    raise error.__context__ from None
                raise
        sealed.seal(temporary, _label(fingerprint))


def read(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """The state that was written for this training; None if there is none that can be used.

    A file that is damaged, or of another training, is set aside and named on the screen: the training begins anew.
    """
    if not path.exists():
        return None
    try:
        sealed.check(path, _label(fingerprint))
        return _loaded(path)
    except FileNotFoundError:
        return None  # another process has just set it aside
    except Damaged as error:
        log.warning("%s; %s, and the training begins anew", error, files.set_aside(path))
        return None


def check(path: Path) -> None:
    """Read all of a checkpoint in a folder that is named by its fingerprint.

    Raises:
        Damaged: its bytes are not those that were written for that training.
    """
    sealed.check(path, _label(path.parent.name))


def _label(fingerprint: str) -> str:
    return f"checkpoint {VERSION} of {fingerprint}"


def _loaded(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    except (RuntimeError, pickle.UnpicklingError, ValueError, EOFError) as error:
        raise Damaged(f"{path} is no checkpoint: {error}") from error
    return state
