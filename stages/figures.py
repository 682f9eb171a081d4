"""Figures in tables of the console."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def told(name: str, value: Any) -> str:
    """A figure by its name: fractions with three digits, ranks with at most one."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.1f}".removesuffix(".0") if name.endswith("_rank") else f"{value:.3f}"


def interval(change: Mapping[str, float]) -> str:
    """`low` to `high`."""
    return f"{change['low']:+.3f} to {change['high']:+.3f}"
