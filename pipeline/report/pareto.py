"""Recipes on one map: retrieval gained against zero-shot kept, as SVG."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report import svg
from pipeline.report.as_they_are import title

_MARKERS = ("D", "s", "^", "v", "P", "X")
"""Of teachers, which have no colour."""


def _kept(row: Mapping[str, Any], seed: int | None = None) -> float:
    shares = row["retained"].values()
    return min((s["mean"] if seed is None else s["values"][seed] for s in shares), default=1.0)


def plot(
    rows: Sequence[Mapping[str, Any]],
    teachers: Sequence[Mapping[str, Any]],
    base: float,
    paths: Mapping[str, Sequence[tuple[float, float]]],
) -> str:
    """Two panels: every recipe on test data, and on validation data its way from the base's weights to its own.

    Args:
        rows: of `pipeline.evaluation.recipe_comparison.compare`.
        teachers: of its `as_they_are`; they are on the map of test data alone.
        base: the base's text-to-image recall@1.
        paths: for each recipe (share of zero-shot retained, text-to-image recall@1) at every point of interpolation.
    """
    with svg.style() as plt:
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2))
        colours = {row["recipe"]: plt.cm.tab20(i % 20) for i, row in enumerate(rows)}
        left.scatter([1.0], [base], marker="*", s=90, color=svg.GREY, label="base")
        for row in rows:
            colour, recall = colours[row["recipe"]], row["text_to_image"]
            for seed, value in enumerate(recall["values"]):
                left.scatter([_kept(row, seed)], [value], s=6, color=colour, alpha=0.6)
            change = recall["difference"]
            below, above = change["value"] - change["low"], change["high"] - change["value"]
            style = {"fmt": "o", "color": colour, "capsize": 2, "linewidth": 0.8, "label": row["recipe"]}
            reach = [[max(0.0, below)], [max(0.0, above)]]
            left.errorbar([_kept(row)], [recall["mean"]], yerr=reach, **style)
        for row, marker in zip(teachers, _MARKERS * len(teachers), strict=False):
            place = [_kept(row)], [row["text_to_image"]["mean"]]
            left.scatter(
                *place, marker=marker, s=36, facecolors="none", edgecolors=svg.GREY, label=title(row["teacher"])
            )
        front = sorted((_kept(row), row["text_to_image"]["mean"]) for row in rows if row["front"])
        left.plot(*zip(*front, strict=True), color=svg.GREY, linewidth=0.8, linestyle=":", zorder=0)
        left.set_title("test: chosen points, 95 % intervals of the difference to the base", fontsize=9)
        for recipe, points in paths.items():
            right.plot(*zip(*points, strict=True), color=colours[recipe], marker=".", markersize=3, linewidth=1)
        right.set_title("validation: from the base to the end of training", fontsize=9)
        for axis in (left, right):
            axis.set_xlabel("zero-shot retained, the worse of seen and unseen classes")
            axis.set_ylabel("text to image recall@1")
        beside = {"loc": "center left", "bbox_to_anchor": (0.92, 0.5)}
        figure.legend(*left.get_legend_handles_labels(), frameon=False, fontsize=7, **beside)
        return svg.text(figure)
