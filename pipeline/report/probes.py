"""The report's table of probes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_TITLES = {
    ("attributes", "all"): "attributes of images",
    ("captions", "words"): "words of captions",
    ("captions", "exact"): "captions read without an error",
    ("captions", "near_misses"): "captions found among near-misses",
    ("concepts", "image"): "images in the concept of their caption",
    ("concepts", "text"): "captions in their concept",
    ("concepts", "both"): "image and caption in the same concept",
}


@dataclass
class Row:
    """One figure; `language` is None where the language model has none, `of` tells a part of the row before it."""

    title: str
    base: float
    student: float
    change: dict[str, float]
    end_point: float
    language: float | None
    of: bool


def rows(metrics: dict[str, Any]) -> list[Row]:
    """The figures of probe/metrics.json, in the order of the table."""
    if not metrics["enabled"]:
        return []
    found = []
    for kind, figures in metrics["base"].items():
        for name, value in figures.items():
            title = _TITLES.get((kind, name))
            found.append(
                Row(
                    title or name.replace("_", " "), value, metrics["student"][kind][name],
                    metrics["difference"]["student"][kind][name], metrics["end_point"][kind][name],
                    metrics.get("language", {}).get(kind, {}).get(name), title is None,
                )
            )  # fmt: skip
    return found
