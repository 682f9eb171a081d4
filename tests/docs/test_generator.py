"""What the generator makes of a page, and what it finds in one."""

import pytest

from docs.generator import blocks, help_texts, links, markdown, parameters, sections
from docs.generator.tables import table
from pipeline.artifacts.catalog import ARTIFACTS
from pipeline.recipes import RECIPES

PAGE = "# A\n\n<!-- help: x -->\nold\n<!-- end -->\n\n<!-- generated: y -->\nlater\n<!-- end -->\n"


def test_blocks_of_one_kind_are_filled_and_others_stay():
    filled = blocks.filled(PAGE, "help", str.upper, keep_marks=True)
    assert filled == PAGE.replace("old", "X")
    assert blocks.filled(filled, "help", str.upper, keep_marks=True) == filled
    assert blocks.filled(PAGE, "generated", str.upper, keep_marks=False).endswith("\n\nY\n")
    assert blocks.names(PAGE) == [("help", "x"), ("generated", "y")]


def test_links_in_code_are_none():
    assert list(markdown.links("[a](b.md#c) `[d](e)` [u](https://u)\n```\n[f](g)\n```\n")) == [("b.md", "c")]


def test_anchors_are_those_of_headings_outside_of_code():
    page = "# What `data/` holds\n```bash\n# no heading\n```\n## Which recipe: `dclip compare`\n"
    assert markdown.anchors(page) == ["what-data-holds", "which-recipe-dclip-compare"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[a](nowhere.md)", "nowhere.md"),
        ("[a](page.md#nowhere)", "#nowhere"),
        ("`pipeline/nowhere.py`", "`pipeline/nowhere.py`"),
        ("`student.kepe: 0.9`", "student.kepe"),
        ("`models.clip.nowhere`", "models.clip.nowhere"),
        ("```bash\ndclip nowhere\n```", "dclip nowhere"),
        ("```bash\ndclip cache nowhere\n```", "dclip cache nowhere"),
        ("`python -m stages.nowhere --help`", "stages.nowhere"),
    ],
)
def test_what_is_not_there_is_named(tmp_path, text, fault):
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n{text}\n")
    found = list(links.broken(page))
    assert len(found) == 1
    assert fault in found[0]


@pytest.mark.parametrize(
    "text",
    [
        "[a](#page) [b](page.md#page) [c](https://nowhere.invalid/#x)",
        "`pipeline/errors.py` `pipeline/params/` `stages/<name>.py` `data/student/nowhere`",
        "`student.keep: 0.98` `models.clip.name` `student.weights.regions: 16` `sources.of`",
        "```bash\ndclip cache gc --unused\ndclip show\n```\n`python -m stages.student --help`",
    ],
)
def test_what_is_there_is_no_fault(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n{text}\n")
    assert list(links.broken(page)) == []


def test_cells_of_a_table_stay_in_it():
    assert table(("a", "b"), [("x | y", "one\ntwo")]) == "| a | b |\n| --- | --- |\n| x \\| y | one two |"


def test_parameters_have_their_range_value_and_meaning():
    text = parameters.markdown()
    assert "| `student.patience` | whole number, at least 0 | `0` | epochs without" in text
    assert "| `student.text` | `frozen`, `trainable` | `frozen` |" in text
    assert "| `student.layers` | whole number, at least 1 or `all` | `all` |" in text
    assert "| `student.ema_decay` | number, at least 0, below 1 | `0.98` |" in text
    assert "| `models.clip.kind` | `open_clip` |" in text
    assert "| `models.detector.sha256` | text |" in text


def test_every_reason_stands_in_the_table_with_what_the_code_says_of_it():
    from pipeline.artifacts.schema import Reason

    text = sections.reasons()
    assert all(f"| `{reason}` |" in text for reason in Reason)
    assert "| `no_words` | Nothing but addresses, digits and punctuation. |" in text


def test_every_recipe_stands_in_the_table_with_what_it_needs_and_its_formula():
    text = sections.recipes()
    assert all(f"| `{name}` | {recipe.about} |" in text for name, recipe in RECIPES.items())
    assert "`concepts.enabled: true`, `student.text: trainable` | [Knowledge-CLIP]" in text
    assert "- `contrastive`: `` L = InfoNCE(f_I, f_T)" in text


def test_every_artifact_stands_in_the_table_with_what_it_is_bound_to():
    text = sections.artifacts()
    assert all(f"| `data/{artifact.path}` |" in text for artifact in ARTIFACTS)
    assert "| `data/targets/targets.arrow` |" in text
    assert "| manifest, teacher, features |" in text


def test_help_texts_are_plain_and_of_one_width():
    text = help_texts.command("show")
    assert text.startswith("```text\nUsage: dclip show [OPTIONS]")
    assert "--data" in text
    assert all(len(line) <= help_texts.WIDTH for line in text.splitlines())


def test_a_group_has_the_help_texts_of_its_commands():
    names = [name for name, _ in help_texts.commands("cache")]
    assert "dclip cache gc" in names
    assert "dclip cache push" in names
