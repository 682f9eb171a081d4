"""Figures as SVG text: the same bytes every time, readable on a light and on a dark page."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

GREY = "#667085"
PALETTE = ("#2f6fde", "#f2994a", "#27ae60", "#9b51e0", "#eb5757", "#56ccf2")
_STYLE: dict[str, Any] = {"svg.hashsalt": "dclip", "svg.fonttype": "none", "font.size": 9, "axes.edgecolor": "#98a2b3"}
_STYLE |= {"axes.spines.top": False, "axes.spines.right": False}
_STYLE |= dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"), GREY)


@contextmanager
def style() -> Iterator[Any]:
    """Yields matplotlib's pyplot in the project's style."""
    with plt.rc_context(_STYLE):
        yield plt


def text(figure: Any) -> str:
    """The figure as one <svg> element; the figure is closed."""
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    found = out.getvalue()
    return found[found.index("<svg") :]
