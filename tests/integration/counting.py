"""How many rows and batches the frozen models compute, whatever else happens."""

from collections import Counter
from collections.abc import Callable

import pipeline.detector.cached
from pipeline.clip import encode

FORWARDS = (
    (pipeline.detector.cached, "detect", "detect", 1),
    (encode, "images", "pictures", 1),
    (encode, "texts", "texts", 1),
    (encode, "texts_with_tokens", "texts", 1),
)
"""Module, function, kind, and which argument holds the rows."""


def count_forwards(patch: Callable, say: Callable[[str, int, int], None]) -> None:
    """Have every frozen forward say its kind (detect, pictures, texts), its rows and its batches before it begins.

    Args:
        patch: sets an attribute, as `monkeypatch.setattr` does.
        say: is told kind, rows and batches.
    """
    for module, name, kind, at in FORWARDS:
        patch(module, name, _counted(getattr(module, name), kind, at, say))


def _counted(forward: Callable, kind: str, at: int, say: Callable[[str, int, int], None]) -> Callable:
    def counted(*args, **kwargs):
        rows = len(set(args[at])) if kind == "texts" else len(args[at])
        batch = kwargs["batch"] if kind == "detect" else args[2].batch
        if rows:
            say(kind, rows, -(-rows // batch))
        return forward(*args, **kwargs)

    return counted


class Forwards:
    """Rows and batches by kind."""

    def __init__(self, monkeypatch) -> None:
        self.rows, self.batches = Counter(), Counter()
        count_forwards(monkeypatch.setattr, self._add)

    def _add(self, kind: str, rows: int, batches: int) -> None:
        self.rows[kind] += rows
        self.batches[kind] += batches

    def taken(self) -> tuple[Counter, Counter]:
        """What was counted since this was last asked."""
        found = self.rows.copy(), self.batches.copy()
        self.rows.clear()
        self.batches.clear()
        return found
