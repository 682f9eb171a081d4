import pytest
from tiny_corpora import coco, conceptual, flickr, img2dataset, png, write

from pipeline import sources
from pipeline.sources import recognised
from pipeline.sources.recognition import ORDER


def kinds(folder):
    return [one.kind for one in recognised(folder)]


def saved_dataset(folder):
    for name in ("dataset_info.json", "state.json", "data-00000-of-00001.arrow"):
        write(folder / name, b"{}")


def captions_beside(folder):
    write(folder / "a.png", png(1))
    write(folder / "a.txt", b"a dog")


LAYOUTS = {
    "mscoco": lambda folder: coco(folder, {1: ["a dog"]}),
    "flickr30k": lambda folder: flickr(folder, [b"1.jpg#0\ta dog"], pictures={"1.jpg": png(1)}),
    "conceptual_captions": lambda folder: conceptual(folder, {"http://a.b/c": (b"a dog", None)}),
    "img2dataset": lambda folder: img2dataset(folder, [("http://a.b/c", "a dog", png(1))]),
    "webdataset": lambda folder: write(folder / "train-000.tar", b""),
    "table": lambda folder: write(folder / "captions.jsonl", b'{"image": "a.png", "caption": "a dog"}\n'),
    "folder": captions_beside,
    "huggingface": saved_dataset,
}


def test_every_layout_here_has_a_recogniser():
    assert LAYOUTS.keys() == sources.CORPORA.keys() == set(ORDER)
    assert all(corpus.recognise for corpus in sources.CORPORA.values())


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_folder_is_first_of_all_what_it_was_written_as(tmp_path, kind):
    folder = tmp_path / "mine"
    folder.mkdir()
    LAYOUTS[kind](folder)
    assert kinds(folder)[0] == kind


@pytest.mark.parametrize("names", [(), ("notes.txt",), ("a.png",), (".hidden.tar",)])
def test_other_folders_are_nothing(tmp_path, names):
    for name in names:
        write(tmp_path / name, b"")
    assert kinds(tmp_path) == kinds(tmp_path / "nowhere") == []


def test_what_a_corpus_lacks_is_named(tmp_path):
    write(tmp_path / "annotations/captions_val2017.json", b"")
    (found,) = recognised(tmp_path)
    assert found.by == ("annotations/captions_val2017.json",)
    assert [text.partition(",")[0] for text in found.lacking] == ["val2017/", "dataset_coco.json"]
    (tmp_path / "val2017").mkdir()
    write(tmp_path / "dataset_coco.json", b"")
    assert next(recognised(tmp_path)).lacking == ()


def test_flickr30k_without_images_or_split_says_so(tmp_path):
    write(tmp_path / "results_20130124.token", b"")
    (found,) = recognised(tmp_path)
    assert [text.partition(",")[0] for text in found.lacking] == ["flickr30k_images/", "dataset_flickr30k.json"]


@pytest.mark.parametrize("captions", ["captions.csv", "captions.txt"])
def test_tables_that_others_have_too_are_flickr30k_by_the_name_of_their_folder(tmp_path, captions):
    for name in ("Flickr30k", "other"):
        write(tmp_path / name / captions, b"image,caption\n1.jpg,a dog\n")
        (tmp_path / name / "images").mkdir()
    assert kinds(tmp_path / "Flickr30k")[0] == "flickr30k"
    assert "flickr30k" not in kinds(tmp_path / "other")


def test_urls_without_images_lack_them(tmp_path):
    write(tmp_path / "Train_GCC-training.tsv", b"a dog\thttp://a.b/c\n")
    assert "dclip fetch" in next(recognised(tmp_path)).lacking[0]
    write(tmp_path / "downloads/0_123.jpg", png(1))
    assert next(recognised(tmp_path)).lacking == ()


def test_a_table_without_urls_is_no_conceptual_captions(tmp_path):
    write(tmp_path / "train.tsv", b"image\tcaption\na.png\tsee http below\n")
    assert kinds(tmp_path) == ["table"]
