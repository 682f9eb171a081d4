import pytest
from tiny_corpora import coco, flickr, png, write

from pipeline.errors import InputError
from pipeline.sources.recognition import Recognised
from pipeline.trial.proposal import Found, changes, look
from pipeline.trial.sources import Tried


@pytest.fixture
def raw(tmp_path):
    root = tmp_path / "raw"
    coco(root / "my coco", {1: ["a dog"]})
    flickr(root / "flickr", [b"1.jpg#0\ta dog"], pictures={"1.jpg": png(1)})
    (root / "empty").mkdir()
    return root


def test_every_folder_is_recognised_or_said_not_to_be(raw):
    found, unread = look(raw)
    assert [(one.name, one.recognised.kind) for one in found] == [("flickr", "flickr30k"), ("my_coco", "mscoco")]
    assert [one.path.name for one in unread] == ["empty"]
    assert "mscoco" in unread[0].why


def test_a_corpus_itself_can_be_given(raw):
    found, unread = look(raw / "my coco")
    assert [one.recognised.kind for one in found] == ["mscoco"] and not unread


def test_folders_elsewhere_come_on_top_and_no_two_names_are_one(raw, tmp_path):
    other = coco(tmp_path / "elsewhere" / "flickr", {1: ["a dog"]})
    found, _ = look(raw, [other])
    assert [(one.name, one.recognised.kind) for one in found][-1] == ("flickr_2", "mscoco")


def test_a_folder_that_is_not_there_is_named(raw):
    for arguments in ((raw / "nowhere",), (raw, [raw / "nowhere"])):
        with pytest.raises(InputError, match=r"no folder .*nowhere"):
            look(*arguments)


def test_a_file_beside_the_folders_is_nothing(raw):
    write(raw / "notes.csv", b"a,b\n")
    assert len(look(raw)[0]) == 2


def found(name, root):
    return Found(name, root / name, Recognised("mscoco", ()), ())


def test_all_images_with_a_file_are_the_quota_and_published_test_images_the_test_split(tmp_path):
    counted = [
        Tried("small", 1, images=50, files=40, published={}),
        Tried("large", 1, images=500, files=400, published={}),
        Tried("split", 1, images=100, files=90, published={"test": 10, "val": 5}),
    ]
    proposed = changes([found(one.source, tmp_path) for one in counted], counted, tmp_path)
    assert proposed["sources"]["of"] == {
        "split": {"kind": "mscoco", "quota": 75},
        "large": {"kind": "mscoco", "quota": 400},
        "small": {"kind": "mscoco", "quota": 40},
    }
    assert proposed["curate"] == {"test": {"split": "karpathy"}, "duplicates": {"prefer": ["split", "large", "small"]}}


def test_without_a_published_split_a_tenth_of_the_largest_is_the_test_split(tmp_path):
    counted = [Tried("a", 1, files=5), Tried("b", 1, files=6)]
    assert changes([found(n, tmp_path) for n in "ab"], counted, tmp_path)["curate"]["test"] == {"b": 0.1}


def test_a_source_without_images_is_left_out_and_one_elsewhere_has_its_path(tmp_path):
    counted = [Tried("a", 1, files=0), Tried("b", 1, files=6)]
    of = changes([found(n, tmp_path / "far") for n in "ab"], counted, tmp_path)["sources"]["of"]
    assert of == {"b": {"kind": "mscoco", "quota": 6, "path": (tmp_path / "far" / "b").as_posix()}}
    with pytest.raises(InputError, match="image file"):
        changes([found("a", tmp_path)], counted[:1], tmp_path)
