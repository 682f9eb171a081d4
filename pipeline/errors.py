"""The one error that a user can act on."""

from __future__ import annotations


class InputError(ValueError):
    """Something given cannot be used. The message says what was found, what was expected and what to do."""
