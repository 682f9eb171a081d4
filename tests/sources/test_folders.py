from tiny_corpora import write

from pipeline.sources import folders


def test_names_are_those_of_files(tmp_path):
    write(tmp_path / "a.jpg", b"")
    write(tmp_path / "inner" / "b.jpg", b"")
    assert folders.names(tmp_path) == {"a.jpg"}
    assert folders.names(tmp_path / "nowhere") == set()


def test_below_finds_files_at_any_depth_and_follows_links_once(tmp_path):
    corpus, elsewhere = tmp_path / "corpus", tmp_path / "elsewhere"
    for path in (
        corpus / "a",
        corpus / "b" / "c" / "d",
        corpus / ".hidden" / "e",
        corpus / "b" / "._a",
        elsewhere / "f",
    ):
        write(path, b"")
    (corpus / "link").symlink_to(elsewhere)
    (corpus / "b" / "loop").symlink_to(corpus)
    (corpus / "broken").symlink_to(tmp_path / "nowhere")
    found = list(folders.below(corpus))
    assert {"a", "b/c/d", "link/f"} <= set(found)
    assert len(found) == len(set(found))
    assert not any(name.endswith(("/e", "._a", "broken")) for name in found)
    assert len(found) < 8


def test_a_link_to_itself_is_no_file(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    write(tmp_path / "a.jpg", b"")
    assert folders.names(tmp_path) == {"a.jpg"}
    assert list(folders.below(tmp_path)) == ["a.jpg"]
