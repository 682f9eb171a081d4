"""The parameters that pages on data show are taken as they stand."""

import re

import pytest
import yaml

from docs.generator import ROOT
from pipeline.params.sources import Sources

PAGES = [ROOT / "docs/your-data.md", *sorted((ROOT / "docs/your-data").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_sources_in_a_page_are_taken(page):
    blocks = re.findall(r"```yaml title=\"params\.yaml\"\n(.*?)```", page.read_text(), re.DOTALL)
    assert blocks
    kinds = set()
    for block in blocks:
        found = yaml.safe_load(block)
        sources = Sources.model_validate(found["sources"])
        kinds |= {source.kind for source in sources.of.values()}
        assert set(found.get("curate", {}).get("test", {})) <= set(sources.of)
    assert page.stem == "your-data" or kinds == {page.stem}
