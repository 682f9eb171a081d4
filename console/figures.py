"""Figures in tables of the console."""

from collections.abc import Iterator, Mapping
from typing import Any

ORDER = ("recall@1", "recall@5", "recall@10", "mrr", "map", "map@r")
"""The order of figures in a table; files have them by the alphabet."""

SELDOM = "base too seldom right"
"""What stands instead of the interval of a share where the base is right in none of some draws' images."""


def in_order(figures: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The figures of a direction that have a place in `ORDER`."""
    return ((name, figures[name]) for name in ORDER if name in figures)


def formatted(name: str, value: Any) -> str:
    """A figure by its name: fractions with three digits, ranks with at most one."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.1f}".removesuffix(".0") if name.endswith("_rank") else f"{value:.3f}"


def interval(change: Mapping[str, float], *, sign: str = "+") -> str:
    """`low` to `high` of a difference; with `sign` "" of a share."""
    return f"{change['low']:{sign}.3f} to {change['high']:{sign}.3f}"
