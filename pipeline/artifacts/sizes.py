"""The numbers of a model's configuration, from wherever it is: none that would exhaust the memory."""

from __future__ import annotations

from typing import Any

from pipeline.artifacts.weights import WrongWeights

_MOST = 2**20
"""The largest number: of rows of a vocabulary; open_clip's own go to 262,144."""
_MOST_LAYERS = 500
_NUMBERS_OF_LAYERS = ("layers", "layer", "depth")
"""How settings end that say how many layers there are, in open_clip, transformers and spaCy."""


def check_numbers(value: Any, where: str, most: int = _MOST, kinds: tuple[type, ...] = (int, float)) -> None:
    """No number in a configuration, or `where` in it, is so large that building the model would take all memory.

    `most` is the largest number, of layers there are fewer; `kinds` are the types that sizes may have.

    Raises:
        WrongWeights: a number is larger.
    """
    match value:
        case dict():
            for name, inner in value.items():
                check_numbers(inner, f"{where}.{name}", most, kinds)
        case list():
            for inner in value:
                check_numbers(inner, where, most, kinds)
        case int() | float() if isinstance(value, kinds):
            bound = _MOST_LAYERS if where.endswith(_NUMBERS_OF_LAYERS) else most
            if not abs(value) <= bound:  # NaN is not, either
                raise WrongWeights(f"{where} is {value!r:.40}; expected a number up to {bound:,}")
