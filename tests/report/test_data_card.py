import json
import re

import pytest
from tiny_card import HOSTILE, write_card

from pipeline.artifacts.schema import Reason
from pipeline.artifacts.workspace import Workspace
from pipeline.pages.html import render
from pipeline.report import data_card


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    folder = write_card(tmp_path_factory.mktemp("data") / "curate/card")
    data_card.write(Workspace(folder.parents[1]))
    return folder


def rows(text, first):
    """Cells of the table rows that begin with a cell."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith(f"| {first} |")
    ]


def test_every_reason_is_explained():
    assert set(data_card.MEANINGS) == set(Reason)


def test_counts_stand_in_tables_by_corpus_in_the_order_of_the_quota(card):
    text = (card / "README.md").read_text()
    assert rows(text, "mscoco")[0] == ["mscoco", "1,234", "50", "1,235", "50", "1,236", "50"]
    assert rows(text, "missing_image") == [["missing_image", "3", "0", "no file was found"]]
    assert rows(text, "no_words") == [["no_words", "1", "0", "only addresses, digits and punctuation"]]
    assert rows(text, "read") == [["read", "9", "2", ""], ["read", "20", "0", ""]]
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table


def test_the_leak_guard_names_its_split_files_and_every_copy(card):
    text = (card / "README.md").read_text()
    assert "dataset.json, sha256 abababababababab: 4 test, 1 val" in text
    assert "- `flickr30k-7`: `same bytes as mscoco-1`" in text


def test_pictures_of_examples_are_linked_beside_their_originals(card):
    text = (card / "README.md").read_text()
    links = re.findall(r'(?:src="|\]\()([^")]+)', text)
    plots = {f"{name}.svg" for name in ("words", "sides", "sharpness", "brightness", "shape")}
    assert plots | {"examples/a.jpg", "examples/b.jpg"} == set(links)
    assert all((card / link).is_file() for link in links)


def test_captions_that_clip_would_cut_are_counted_by_corpus(card, tmp_path):
    assert "No caption has more tokens than CLIP's text tower reads (77" in (card / "README.md").read_text()
    own = write_card(tmp_path / "curate/card")
    facts = json.loads((own / "facts.json").read_text())
    facts["captions_cut"] = {source: 1234 + i for i, source in enumerate(facts["order"])}
    (own / "facts.json").write_text(json.dumps(facts))
    data_card.write(Workspace(tmp_path))
    counts = ", ".join(f"{1234 + i:,} of {source}" for i, source in enumerate(facts["order"]))
    for text in ((own / "README.md").read_text(), render("data_card.html.j2", **data_card.values(Workspace(tmp_path)))):
        assert f"their ends are not seen: {counts}." in text


def test_text_of_others_stands_in_the_card_as_it_is(card):
    assert HOSTILE not in (card / "README.md").read_text()
    assert "`<script>alert('licence')</script> ¦ 'code'`" in (card / "README.md").read_text()


def test_the_same_facts_make_the_same_bytes(card, tmp_path):
    again = write_card(tmp_path / "curate/card")
    data_card.write(Workspace(tmp_path))
    for path in card.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (again / path.relative_to(card)).read_bytes()
