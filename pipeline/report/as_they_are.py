"""The report's table of models as they are: base, frozen teachers and student on the same test data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Interval = Mapping[str, float]


@dataclass(frozen=True)
class Row:
    """One model.

    Attributes:
        title: its name.
        dimension: of its embeddings; None of the student.
        image_size: pixels of its input; None of the student.
        text_to_image: recall@1.
        image_to_text: recall@1.
        zeroshot: top-1 of seen classes; None where there are none.
        unseen: top-1 of unseen classes; None where there are none.
        lead: what the student has more of recall@1 from text to image; None of the student.
    """

    title: str
    dimension: int | None
    image_size: int | None
    text_to_image: float
    image_to_text: float
    zeroshot: float | None
    unseen: float | None
    lead: Interval | None


def title(teacher: str) -> str:
    """What a teacher is called where recipes or models are named, too."""
    return f"teacher {teacher}"


def rows(metrics: Mapping[str, Any]) -> list[Row]:
    """Base, teachers and student of evaluate/metrics.json; nothing without a teacher."""
    teachers = metrics["teachers"]
    if not teachers:
        return []
    return [
        _row("base", metrics["base"], metrics["difference"]),
        *(_row(title(name), figures, figures["difference"]) for name, figures in teachers.items()),
        _row("student", metrics["student"], None),
    ]


def _row(name: str, figures: Mapping[str, Any], leads: Mapping[str, Any] | None) -> Row:
    seen, unseen = (figures.get(part, {}).get("top1") for part in ("zeroshot", "zeroshot_unseen"))
    return Row(
        title=name,
        dimension=figures.get("dimension"),
        image_size=figures.get("image_size"),
        text_to_image=figures["text_to_image"]["recall@1"],
        image_to_text=figures["image_to_text"]["recall@1"],
        zeroshot=seen,
        unseen=unseen,
        lead=leads["text_to_image"]["recall@1"] if leads else None,
    )
