"""Curves as SVG for the page, and as CSV for `dvc plots`."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from pipeline import files
from pipeline.evaluation import DIRECTIONS
from pipeline.report import svg
from pipeline.retrieval.metrics import KS

COLOURS = {"base": "#8a93a6", "student": "#2f6fde"}


def write_recall(path: Path, metrics: dict[str, Any]) -> None:
    """Recall@K of both models, one row a model, direction and K."""
    with files.whole(path) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["model", "direction", "k", "recall"])
        for model in COLOURS:
            for way in DIRECTIONS:
                for k in KS:
                    writer.writerow([f"{model} {way.replace('_', ' ')}", way, k, metrics[model][way][f"recall@{k}"]])


def read_history(path: Path) -> dict[str, list[float]]:
    """Columns of a training history that have a value in some row; missing values are NaN."""
    if not path.is_file():
        return {}
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    columns = {name: [float(row[name]) if row[name] else float("nan") for row in rows] for name in (rows or [{}])[0]}
    return {name: values for name, values in columns.items() if any(v == v for v in values)}


def recall_bars(metrics: dict[str, Any]) -> str:
    """Recall@K of base and student both ways, as SVG."""
    with svg.style() as plt:
        figure, axes = plt.subplots(1, 2, figsize=(7, 2.4), sharey=True)
        for axis, way in zip(axes, DIRECTIONS, strict=True):
            for offset, (model, colour) in zip((-0.2, 0.2), COLOURS.items(), strict=True):
                values = [metrics[model][way][f"recall@{k}"] for k in KS]
                bars = axis.bar([i + offset for i in range(len(KS))], values, 0.38, color=colour, label=model)
                axis.bar_label(bars, fmt="%.2f", fontsize=7, color=svg.GREY)
            axis.set_xticks(range(len(KS)), [f"R@{k}" for k in KS])
            axis.set_title(way.replace("_", " "), fontsize=9)
        axes[0].legend(frameon=False)
        return svg.text(figure)


def curves(history: dict[str, list[float]], names: list[str], title: str, x: str = "epoch") -> str:
    """Some columns of a history over its column `x`, as SVG; empty if the history has none of them."""
    present = [name for name in names if name in history]
    if not present:
        return ""
    with svg.style() as plt:
        figure, axis = plt.subplots(figsize=(3.4, 2.2))
        for name in present:
            axis.plot(history[x], history[name], marker=".", label=name.removeprefix("val_").replace("_", " "))
        axis.set_xlabel(x)
        axis.set_title(title, fontsize=9)
        axis.legend(frameon=False, fontsize=7)
        return svg.text(figure)
