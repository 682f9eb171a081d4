import pytest
from tiny_manifest import write_manifest
from tiny_page import HOSTILE, Links, assert_asks_no_host

from pipeline.artifacts.schema import Split
from pipeline.search import page
from pipeline.search.index import Hit


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    samples = {f"mscoco-{i}": [f"{i} a {HOSTILE}"] for i in range(6)}
    return write_manifest(tmp_path_factory.mktemp("page") / "curate", {Split.TEST: samples})


def test_a_search_page_asks_no_host_and_escapes_its_query(manifest, tmp_path):
    captions = dict(zip(manifest.keys, manifest.captions, strict=True))
    hits = [Hit("mscoco-5", 0.9), Hit("mscoco-3", 0.25)]
    page.write(tmp_path / "found.html", HOSTILE, hits, captions, manifest)
    html = (tmp_path / "found.html").read_text(encoding="utf-8")
    assert_asks_no_host(html)
    assert HOSTILE in Links(html).texts
    assert Links(html).tags.count("img") == 2
    assert html.index("0.900") < html.index("0.250")
