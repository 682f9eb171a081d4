"""Curves as SVG for the page, and as CSV for `dvc plots`."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.disk import files
from pipeline.evaluation.comparison import DIRECTIONS
from pipeline.report import svg
from pipeline.retrieval.metrics import KS

MOST_K = 50
"""The largest K of the recall curves."""
COLOURS = {"base": "#8a93a6", "student": "#2f6fde"}
_SIZE = (3.3, 2.3)
"""Inches of a plot: three beside each other on a desk, one on a phone."""


def write_recall(path: Path, metrics: dict[str, Any]) -> None:
    """Recall@K of both models, one row a model, direction and K."""
    with files.whole(path) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["model", "direction", "k", "recall"])
        for model in COLOURS:
            for direction in DIRECTIONS:
                title, figures = f"{model} {direction.replace('_', ' ')}", metrics[model][direction]
                writer.writerows([title, direction, k, figures[f"recall@{k}"]] for k in KS)


def recall_bars(metrics: dict[str, Any]) -> list[str]:
    """Recall@K of base and student, an SVG for each direction."""
    return [_recall_bars(metrics, direction) for direction in DIRECTIONS]


def _recall_bars(metrics: dict[str, Any], direction: str) -> str:
    with svg.style() as plt:
        figure, axis = plt.subplots(figsize=_SIZE)
        for offset, (model, colour) in zip((-0.2, 0.2), COLOURS.items(), strict=True):
            values = [metrics[model][direction][f"recall@{k}"] for k in KS]
            bars = axis.bar([i + offset for i in range(len(KS))], values, 0.38, color=colour, label=model)
            axis.bar_label(bars, fmt="%.2f", fontsize=7, color=svg.GREY)
        axis.set_xticks(range(len(KS)), [f"R@{k}" for k in KS])
        axis.set_title(f"recall, {direction.replace('_', ' ')}", fontsize=9)
        axis.legend(frameon=False, fontsize=7)
        return svg.text(figure)


def recall_curves(ranks: Mapping[str, Mapping[str, NDArray[np.int64]]]) -> list[str]:
    """Recall@K of both models over K, an SVG for each direction; `ranks` are of every query's best match."""
    return [_recall_curves({model: ranks[model][d] for model in COLOURS}, d) for d in DIRECTIONS]


def _recall_curves(ranks: Mapping[str, NDArray[np.int64]], direction: str) -> str:
    with svg.style() as plt:
        figure, axis = plt.subplots(figsize=_SIZE)
        for model, colour in COLOURS.items():
            counts = np.bincount(ranks[model], minlength=MOST_K + 1)[1 : MOST_K + 1]
            axis.plot(range(1, MOST_K + 1), np.cumsum(counts) / len(ranks[model]), color=colour, label=model)
        axis.set_xlabel("K")
        axis.set_ylim(0, 1)
        axis.set_title(f"recall@K, {direction.replace('_', ' ')}", fontsize=9)
        axis.legend(frameon=False, fontsize=7)
        return svg.text(figure)


def trade_off(interpolation: dict[str, list[float]], chosen: float) -> str:
    """Retrieval over zero-shot kept on validation data at every point of interpolation, as SVG; empty without any."""
    parts = [name for name in ("val_zeroshot_top1", "val_zeroshot_unseen_top1") if interpolation.get(name, [0])[0] > 0]
    if not parts:
        return ""
    kept = np.min([np.array(interpolation[name]) / interpolation[name][0] for name in parts], axis=0)
    recall = np.array(interpolation["val_text_to_image_recall@1"])
    alphas = interpolation["alpha"]
    with svg.style() as plt:
        figure, axis = plt.subplots(figsize=_SIZE)
        axis.plot(kept, recall, marker=".", color=COLOURS["student"], zorder=1)
        axis.scatter(kept[:1], recall[:1], color=COLOURS["base"], zorder=2, label="base")
        position = int(np.argmin(np.abs(np.array(alphas) - chosen)))
        axis.scatter(kept[position], recall[position], marker="*", s=90, color="#f2994a", zorder=3, label="chosen")
        axis.set_xlabel("zero-shot kept, the worse of seen and unseen")
        axis.set_ylabel("text to image recall@1")
        axis.set_title("trade-off on validation", fontsize=9)
        axis.legend(frameon=False, fontsize=7)
        return svg.text(figure)


def curves(history: dict[str, list[float]], names: list[str], title: str, x: str = "epoch") -> str:
    """Some columns of a history over its column `x`, as SVG; empty if the history has none of them."""
    present = [name for name in names if name in history]
    if not present:
        return ""
    with svg.style() as plt:
        figure, axis = plt.subplots(figsize=_SIZE)
        for name in present:
            axis.plot(history[x], history[name], marker=".", label=name.removeprefix("val_").replace("_", " "))
        axis.set_xlabel(x)
        axis.set_title(title, fontsize=9)
        axis.legend(frameon=False, fontsize=7)
        return svg.text(figure)
