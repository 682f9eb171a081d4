import copy

import pytest

from pipeline.report.probes import rows

BASE = {
    "attributes": {"all": 0.7, "has_bill_shape": 0.6, "has_wing_color": 0.8},
    "captions": {"words": 0.9, "exact": 0.2, "near_misses": 0.5},
    "concepts": {"image": 0.4, "text": 0.6, "both": 0.3},
}
TITLES = [
    "attributes of images", "has bill shape", "has wing color", "words of captions", "captions read without an error",
    "captions found among near-misses", "images in the concept of their caption", "captions in their concept",
    "image and caption in the same concept",
]  # fmt: skip


def raised(figures, by):
    return {kind: {name: value + by for name, value in of.items()} for kind, of in figures.items()}


def metrics(language=True, kinds=("attributes", "captions", "concepts")):
    """As the stage leaves them; the student has .05 more than the base, the end point .1."""
    base = {kind: BASE[kind] for kind in kinds}
    changes = {
        kind: {name: {"value": 0.05, "low": value / 100, "high": value} for name, value in of.items()}
        for kind, of in base.items()
    }
    found = {"enabled": True, "base": base, "student": raised(base, 0.05), "end_point": raised(base, 0.1)}
    if language:
        found["language"] = raised({"captions": BASE["captions"]}, -0.1)
    other = {kind: {name: {"value": 9, "low": 9, "high": 9} for name in of} for kind, of in base.items()}
    return copy.deepcopy({**found, "difference": {"student": changes, "end_point": other}})


def test_there_is_a_row_for_every_figure_in_the_order_of_the_metrics():
    assert [row.title for row in rows(metrics())] == TITLES


def test_rows_have_the_figures_of_base_student_and_end_point():
    values = [value for of in BASE.values() for value in of.values()]
    found = rows(metrics())
    assert [row.base for row in found] == values
    assert [row.student for row in found] == [value + 0.05 for value in values]
    assert [row.end_point for row in found] == [value + 0.1 for value in values]


def test_the_change_is_that_of_the_student():
    for row in rows(metrics()):
        assert row.change == {"value": 0.05, "low": row.base / 100, "high": row.base}


def test_groups_of_attributes_are_parts_of_the_row_before():
    assert [row.title for row in rows(metrics()) if row.is_part] == ["has bill shape", "has wing color"]


def test_the_language_model_has_figures_of_captions_alone():
    of_language = {row.title: row.language for row in rows(metrics())}
    known = {title: value for title, value in of_language.items() if value is not None}
    assert list(known) == TITLES[3:6]
    assert list(known.values()) == pytest.approx([0.8, 0.1, 0.4])


def test_without_a_language_model_no_row_has_its_figure_and_the_rest_is_the_same():
    found, wanted = rows(metrics(language=False)), rows(metrics())
    assert all(row.language is None for row in found)
    for row in wanted:
        row.language = None
    assert found == wanted


def test_a_figure_of_zero_of_the_language_model_is_a_figure():
    given = metrics()
    given["language"]["captions"]["exact"] = 0.0
    assert rows(given)[4].language == 0.0


def test_without_concepts_there_are_no_rows_of_them():
    found = rows(metrics(language=False, kinds=("attributes", "captions")))
    assert [row.title for row in found] == TITLES[:6]


def test_without_probes_there_are_no_rows():
    assert rows({"enabled": False}) == []
