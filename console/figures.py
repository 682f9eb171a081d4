"""Figures in tables of the console."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table as RichTable

from pipeline.report.as_they_are import Row

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


def as_they_are(rows: Sequence[Row]) -> RichTable:
    """Base, frozen teachers and student side by side, with what the student has more of recall@1."""
    table = RichTable(title="teachers as they are: a better base without training", title_justify="left")
    table.add_column("", no_wrap=True)
    for heading in ("width", "input", "text to image R@1", "image to text R@1", "zero-shot", "unseen"):
        table.add_column(heading, justify="right", no_wrap=not heading.endswith("R@1"))
    table.add_column("student leads by", justify="right", no_wrap=True)
    for row in rows:
        size = ["" if number is None else str(number) for number in (row.dimension, row.image_size)]
        figures = (row.text_to_image, row.image_to_text, row.zeroshot, row.unseen)
        shown = ("" if figure is None else formatted("", figure) for figure in figures)
        lead = f"{row.lead['value']:+.3f} ({interval(row.lead)})" if row.lead else ""
        table.add_row(row.title, *size, *shown, lead)
    return table
