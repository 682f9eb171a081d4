"""The report's table of probes."""

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
    """One figure; `language` is None where that model has none, `is_part` whether it belongs to the row above."""

    title: str
    base: float
    student: float
    change: dict[str, float]
    end_point: float
    language: float | None
    is_part: bool


def rows(metrics: dict[str, Any]) -> list[Row]:
    """The figures of probe/metrics.json, in the order of the table."""
    if not metrics["enabled"]:
        return []
    found = []
    for kind, figures in metrics["base"].items():
        for name, value in figures.items():
            title = _TITLES.get((kind, name))
            models = (metrics["student"], metrics["difference"]["student"], metrics["end_point"])
            student, change, end_point = (model[kind][name] for model in models)
            language = metrics.get("language", {}).get(kind, {}).get(name)
            shown = title or name.replace("_", " ")
            found.append(Row(shown, value, student, change, end_point, language, is_part=title is None))
    return found
