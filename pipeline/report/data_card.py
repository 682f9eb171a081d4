"""The data card: what trains, what does not and why, where it is from, and how it may be used; Markdown and HTML."""

import base64
from typing import Any

from pipeline.artifacts.catalog import DATA_CARD
from pipeline.artifacts.schema import Split
from pipeline.artifacts.workspace import Workspace
from pipeline.disk import files
from pipeline.pages.html import render
from pipeline.report import svg

MEANINGS = {
    "missing_image": "no file was found",
    "empty_file": "the file has no bytes",
    "not_an_image": "the file is something else",
    "unreadable_image": "truncated, damaged, or of a kind that is not read",
    "oversized_image": "more bytes or pixels than are decoded",
    "costly_image": "built so that it takes too long to decode",
    "small_image": "too small",
    "extreme_shape": "too long and thin",
    "animated_image": "several frames",
    "duplicate_image": "the same bytes, or id, as another",
    "near_duplicate": "the same image as another",
    "evaluation_image": "in a published val or test split",
    "evaluation_copy": "the same image as an evaluation image",
    "over_quota": "the quota was full",
    "no_caption": "no caption is left",
    "empty_caption": "nothing but white space",
    "no_words": "only addresses, digits and punctuation",
    "short_caption": "too few words",
    "long_caption": "too many words, or one without end",
    "low_similarity": "image and caption are unlike under a frozen CLIP",
    "duplicate_caption": "the image has it already",
    "not_utf8": "cannot be decoded",
    "malformed_row": "cannot be parsed, or belongs to no image",
    "held_out": "of a val or test image, where it has no use",
}
"""What every reason means, in a few words."""


_KINDS = {
    "image": "images",
    "caption": "captions",
    "rewrite": "rewrites",
    "negative": "negatives",
    "box": "boxes",
}
"""What is counted, and what several of it are called."""


def write(ws: Workspace) -> None:
    """Write README.md and its plots beside facts.json, which curation left."""
    card, folder = _read(ws), ws.path(DATA_CARD).parent
    for name, plot in _plots(card).items():
        files.write_text(folder / f"{name}.svg", plot)
    files.write_text(folder / "README.md", render("data_card.md.j2", **_values(card)))


def values(ws: Workspace) -> dict[str, Any]:
    """What the report's template data_card.html.j2 needs, images inside."""
    card, folder = _read(ws), ws.path(DATA_CARD).parent
    images = {
        path.relative_to(folder).as_posix(): "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode()
        for path in sorted(folder.glob("examples/*.jpg"))
    }
    return {**_values(card), "pictures": images, "plots": [*_plots(card).values()]}


def _read(ws: Workspace) -> dict[str, Any]:
    """The facts, with corpora in the order that decides between copies; JSON has sorted them by name."""
    card = ws.json(DATA_CARD)
    for name in ("sources", "kept", "caption_words", "captions_cut", "shorter_sides"):
        card[name] = {source: card[name][source] for source in card["order"]}
    guard = card["leak_guard"]["sources"]
    card["leak_guard"]["sources"] = {source: guard[source] for source in card["order"]}
    return dict(card)


def _values(card: dict[str, Any]) -> dict[str, Any]:
    reasons = {
        kind: sorted({r for counts in by_source.values() for r in counts} - {"read", "kept"})
        for kind, by_source in card["counts"].items()
    }
    shown = {"card": card, "reasons": reasons, "meanings": MEANINGS, "splits": [split.value for split in Split]}
    shown["kinds"] = [(kind, several) for kind, several in _KINDS.items() if kind in card["counts"]]
    return shown | {"cut": _cut(card["captions_cut"], card["context"])}


def _cut(counts: dict[str, int], context: int) -> str:
    """A sentence that says of how many captions CLIP does not see the end."""
    read = f"more tokens than CLIP's text tower reads ({context}, start and end included)"
    if not any(counts.values()):
        return f"No caption has {read}."
    return (
        f"Captions with {read}, so that their ends are not seen: "
        + ", ".join(f"{count:,} of {source}" for source, count in counts.items())
        + "."
    )


AXES = {
    "sharpness": "sharpness, log2(1 + variance of the Laplacian)",
    "brightness": "mean grey level",
    "shape": "longer over shorter side",
}


def _plots(card: dict[str, Any]) -> dict[str, str]:
    """Every plot, as SVG, by the name of its file."""
    images, captions = "share of the corpus's images", "share of the corpus's captions"
    found = {
        "words": _histogram(card["caption_words"], 1, "words of a caption", captions),
        "sides": _histogram(card["shorter_sides"], 64, "shorter side of an image, pixels", images),
    }
    for name, measured in card["quality"].items():
        counts = {source: measured["counts"][source] for source in card["order"]}
        found[name] = _histogram(counts, measured["step"], AXES[name], images, measured["start"])
    if similar := card["similarity"]:
        counts = {source: similar["counts"][source] for source in card["order"]}
        found["similarity"] = _histogram(counts, similar["step"], "similarity to the image", captions, similar["start"])
    return found


def _histogram(counts: dict[str, list[int]], step: float, x: str, y: str, start: float = 0) -> str:
    with svg.style() as plt:
        figure, axis = plt.subplots(figsize=(4.6, 2.4))
        last = 1
        for (source, bins), colour in zip(counts.items(), svg.PALETTE * len(counts), strict=False):
            total = max(sum(bins), 1)
            edges = [start + step * n for n in range(len(bins) + 1)]
            axis.stairs([n / total for n in bins], edges, label=source, color=colour, linewidth=1.4)
            last = max([last, *(n + 1 for n, count in enumerate(bins) if count)])
        axis.set_xlim(start, start + step * (last + 1))
        axis.set_xlabel(x)
        axis.set_ylabel(y)
        axis.legend(frameon=False, fontsize=8)
        return svg.text(figure)
