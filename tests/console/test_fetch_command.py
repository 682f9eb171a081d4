import pytest
from tiny_program import assert_one_error

from pipeline.fetch import download, items


@pytest.fixture
def nobody(monkeypatch):
    """Nothing may be asked of any host."""
    for name in ("head", "Client"):
        monkeypatch.setattr(download.httpx, name, lambda *_, **__: pytest.fail("something was fetched unasked"))


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("arguments", [(), ("--list",), ("mscoco", "--list")])
def test_a_list_is_all_that_is_given_unasked(program, tmp_path, arguments):
    code, out, _ = program("fetch", *arguments, "--to", tmp_path)
    assert code == 0
    assert "mscoco" in out and "20.4 GB" in out and "by hand" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("nobody")
def test_nothing_is_fetched_without_yes(program, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.fetch.fetching.check_room", lambda *_: None)
    lock = tmp_path / "lock.json"
    result = program("fetch", "mscoco", "--to", tmp_path, "--lock", lock)
    assert_one_error(result, "20.4 GB from cs.stanford.edu, images.cocodataset.org", "--yes")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("nobody")
def test_what_needs_a_form_says_where_to_go(program, tmp_path):
    code, out, _ = program("fetch", "conceptual_captions", "--to", tmp_path, "--lock", tmp_path / "lock.json")
    assert code == 0
    assert "https://ai.google.com" in out and f"{tmp_path}/raw/conceptual_captions" in out and "img2dataset" in out


def test_an_unknown_name_lists_the_known_ones(program, tmp_path):
    assert_one_error(program("fetch", "laion5b", "--to", tmp_path), "nothing called laion5b", "mscoco")


def test_a_named_item_is_fetched_when_asked(program, tmp_path, monkeypatch):
    from tiny_server import serving

    with serving() as site:
        site.files["yolo.pt"] = b"weights"
        remote = items.Remote(site.url("yolo.pt"), "weights")
        monkeypatch.setitem(items.ITEMS, "tiny", items.Item("a detector", (remote,)))
        code, out, _ = program("fetch", "tiny", "--yes", "--to", tmp_path, "--lock", tmp_path / "lock.json")
    assert code == 0
    assert (tmp_path / "weights/yolo.pt").read_bytes() == b"weights"
    assert "0.0 MB from 127.0.0.1" in out and "models.detector" in out
