"""How many rows and batches the frozen models compute, whatever else happens."""

from collections import Counter
from collections.abc import Callable

import pipeline.detector.cached
from pipeline.clip import encode
from pipeline.concepts.language import LanguageModel

FORWARDS = (
    (pipeline.detector.cached, "detect", "detect", 1),
    (encode, "forward_images", "pictures", 1),
    (encode, "forward_texts", "texts", 1),
    (LanguageModel, "embed", "language", 1),
)
"""Module or class, function, kind, and which argument holds the rows."""
_BATCH = {
    "detect": lambda args, kwargs: kwargs["batch"],
    "pictures": lambda args, kwargs: args[2].batch,
    "texts": lambda args, kwargs: args[2].batch,
    "language": lambda args, kwargs: args[3],
}
"""Of each kind, how many rows a batch has."""


def count_forwards(patch: Callable, say: Callable[[str, int, int], None]) -> None:
    """Have every frozen forward say its kind, its rows and its batches before it begins.

    Args:
        patch: sets an attribute, as `monkeypatch.setattr` does.
        say: is told kind, rows and batches.
    """
    for module, name, kind, at in FORWARDS:
        patch(module, name, _counted(getattr(module, name), kind, at, say))


def _counted(forward: Callable, kind: str, at: int, say: Callable[[str, int, int], None]) -> Callable:
    def counted(*args, **kwargs):
        if rows := len(args[at]):
            say(kind, rows, -(-rows // _BATCH[kind](args, kwargs)))
        return forward(*args, **kwargs)

    return counted


class Forwards:
    """Rows and batches by kind; Ctrl-C comes before a kind's next forward when `stop_after` batches of it are done."""

    def __init__(self, monkeypatch, stop_after: dict[str, int] | None = None) -> None:
        self.rows, self.batches, self.stop_after = Counter(), Counter(), dict(stop_after or {})
        count_forwards(monkeypatch.setattr, self._add)

    def _add(self, kind: str, rows: int, batches: int) -> None:
        if self.batches[kind] >= self.stop_after.get(kind, self.batches[kind] + 1):
            raise KeyboardInterrupt
        self.rows[kind] += rows
        self.batches[kind] += batches

    def taken(self) -> tuple[Counter, Counter]:
        """What was counted since this was last asked."""
        found = self.rows.copy(), self.batches.copy()
        self.rows.clear()
        self.batches.clear()
        return found
