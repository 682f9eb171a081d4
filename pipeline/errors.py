"""The errors that a user can act on, and how what libraries raise becomes one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_LONGEST = 500
"""Letters that are told of what a library says; some list every tensor of a model."""

_FULL = {
    "the machine's memory": ("can't allocate memory", "not enough memory", "bad_alloc"),
    "the GPU's memory": ("out of memory", "alloc_failed"),
}
"""What torch, CUDA's libraries and FAISS write in errors that have no class of their own when memory is full."""


class InputError(ValueError):
    """Something given cannot be used. The message says what was found, what was expected and what to do."""


class Damaged(InputError):
    """A file has other bytes than were written, or is of another make than its reader needs."""


@contextmanager
def refusing(what: str, kind: type[InputError] = InputError) -> Iterator[None]:
    """Whatever the block raises becomes a `kind` that says `what`, and then what was raised.

    For blocks that do nothing but let a library read what a user has given: libraries raise all there is, down to
    StopIteration, when a file or a configuration is not what they expect. An `InputError` says it all by itself, and
    memory that is full is no fault of what was given.

    Raises:
        InputError: the block has raised it, or anything else.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if memory_full(error):
            raise
        raise kind(f"{what} ({one_line(error)})") from error


def one_line(error: BaseException) -> str:
    """What an error says, on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} .."


def memory_full(error: BaseException) -> str | None:
    """Whose memory an error says is full, in words; None for an error of another kind."""
    if isinstance(error, MemoryError):
        return "the machine's memory"
    text = str(error).lower() if isinstance(error, RuntimeError) else ""
    return next((whose for whose, parts in _FULL.items() if any(part in text for part in parts)), None)
