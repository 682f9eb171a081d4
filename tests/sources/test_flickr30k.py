import pytest
from tiny_corpora import flickr, png, write

from pipeline.schema import Reason
from pipeline.sources import Rejected, Sample, SourceError, read

DOG = b"100.jpg#0\ta dog"


def rows(folder):
    found = list(read("flickr30k", folder))
    return [r for r in found if isinstance(r, Sample)], [r for r in found if isinstance(r, Rejected)]


def test_an_image_has_its_captions_in_order_with_their_places(tmp_path):
    lines = [DOG, b"200.jpg#0\ta cat", b"100.jpg#1\ta caf\xc3\xa9"]
    (dog, cat), rejected = rows(flickr(tmp_path, lines, pictures={"100.jpg": png(1), "200.jpg": png(2)}))
    assert (dog.key, dog.source_id, dog.path.read_bytes()) == ("flickr30k-100", "100", png(1))
    assert [(c.text, c.place) for c in dog.captions] == [
        ("a dog", "results_20130124.token:1"),
        ("a café", "results_20130124.token:3"),
    ]
    assert cat.key == "flickr30k-200"
    assert rejected == []


def test_windows_line_ends_are_no_part_of_a_caption(tmp_path):
    (dog,), _ = rows(flickr(tmp_path, [DOG + b"\r"], pictures={}))
    assert [c.text for c in dog.captions] == ["a dog"]


@pytest.mark.parametrize("line", [b"", b"100.jpg#0 a dog", b"100.jpg\ta dog", b"#0\ta dog"])
def test_a_malformed_row_is_rejected_by_its_line_number(tmp_path, line):
    samples, (row,) = rows(flickr(tmp_path, [DOG, line], pictures={}))
    assert len(samples) == 1
    assert (row.kind, row.reason, row.place) == ("caption", Reason.MALFORMED_ROW, "results_20130124.token:2")


def test_a_caption_that_is_not_utf8_is_rejected_and_its_image_stays(tmp_path):
    (dog,), (row,) = rows(flickr(tmp_path, [DOG, b"100.jpg#1\ta caf\xe9"], pictures={"100.jpg": png(1)}))
    assert [c.text for c in dog.captions] == ["a dog"]
    assert (row.reason, row.key, row.place) == (Reason.NOT_UTF8, "flickr30k-100", "results_20130124.token:2")


def test_an_image_without_a_readable_caption_is_still_a_row(tmp_path):
    (dog,), (row,) = rows(flickr(tmp_path, [b"100.jpg#0\t\xff"], pictures={"100.jpg": png(1)}))
    assert (dog.captions, row.reason) == ((), Reason.NOT_UTF8)


def test_an_empty_caption_is_left_to_curation(tmp_path):
    (dog,), rejected = rows(flickr(tmp_path, [b"100.jpg#0\t"], pictures={}))
    assert ([c.text for c in dog.captions], rejected) == ([""], [])


def test_an_image_that_was_not_downloaded_has_no_path(tmp_path):
    (dog,), _ = rows(flickr(tmp_path, [DOG], pictures={"200.jpg": png(2)}))
    assert dog.path is None


def test_the_karpathy_split_is_by_file_name(tmp_path):
    lines = [b"%d.jpg#0\ta dog" % n for n in (1, 2, 3, 4)]
    folder = flickr(tmp_path, lines, pictures={}, karpathy={"1.jpg": "test", "2.jpg": "val", "3.jpg": "train"})
    samples, _ = rows(folder)
    assert [s.evaluation for s in samples] == ["test", "val", None, None]


def test_two_files_of_one_id_do_not_share_a_key(tmp_path):
    lines = [DOG, b"100.png#0\ta cat"]
    samples, _ = rows(flickr(tmp_path, lines, pictures={"100.jpg": png(1), "100.png": png(2)}))
    assert len({s.key for s in samples}) == len(samples)


@pytest.mark.parametrize("name", ["flickr30k_images", "flickr30k-images", "images"])
def test_the_image_folder_may_have_any_of_its_usual_names(tmp_path, name):
    folder = flickr(tmp_path, [DOG], pictures={})
    (folder / "flickr30k_images").rmdir()
    write(folder / name / "100.jpg", png(1))
    (dog,), _ = rows(folder)
    assert dog.path.read_bytes() == png(1)


def test_a_folder_without_a_token_file_is_an_error(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(SourceError, match=r"found 0 \*\.token files"):
        rows(tmp_path)


def test_two_token_files_are_an_error(tmp_path):
    folder = flickr(tmp_path, [DOG], pictures={})
    write(folder / "other.token", DOG)
    with pytest.raises(SourceError, match=r"found 2 \*\.token files"):
        rows(folder)


def test_a_folder_without_images_is_an_error_that_lists_the_names(tmp_path):
    write(tmp_path / "results.token", DOG)
    with pytest.raises(SourceError, match=r"no image folder .* flickr30k-images"):
        rows(tmp_path)


def test_a_corrupt_split_file_is_named(tmp_path):
    folder = flickr(tmp_path, [DOG], pictures={})
    write(folder / "dataset_flickr30k.json", b'{"images": [{"split": "test"}]}')
    with pytest.raises(SourceError, match=r"dataset_flickr30k\.json"):
        rows(folder)
