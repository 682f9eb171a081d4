"""The pages name only what is there, and their help texts are those of the programs."""

import pytest

from docs.generator import ROOT, blocks, help_texts, links, sections, site

PAGES = links.pages()


@pytest.mark.parametrize("page", PAGES, ids=[page.relative_to(ROOT).as_posix() for page in PAGES])
def test_a_page_names_only_what_is_there(page):
    assert list(links.broken(page)) == []


def test_help_texts_in_pages_are_those_of_the_program():
    stale = [
        page.name
        for page in PAGES
        if blocks.filled(page.read_text(), "help", help_texts.command, keep_marks=True) != page.read_text()
    ]
    assert stale == [], "run make docs"


def test_every_generated_block_has_a_maker_and_every_maker_a_block():
    asked = [name for page in PAGES for kind, name in blocks.names(page.read_text()) if kind == "generated"]
    assert sorted(asked) == sorted(sections.SECTIONS)


def test_the_readme_is_one_page():
    assert len((ROOT / "README.md").read_text().splitlines()) < 140


def test_every_page_of_the_site_is_in_its_navigation():
    configuration = (ROOT / "docs" / site.CONFIGURATION).read_text()
    places = [place for path, place in site.places().items() if path.suffix == ".md"]
    assert [place for place in places if f'"{place}"' not in configuration] == []
