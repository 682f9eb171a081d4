import pytest

from pipeline.artifacts.schema import Reason
from pipeline.curation.captions import CaptionLimits
from pipeline.curation.intake import take
from pipeline.curation.ledger import Ledger
from pipeline.sources import Caption, File, Image, Rejected

LIMITS = CaptionLimits(1, 10)


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite", tmp_path) as ledger:
        yield ledger


def entered(ledger, *rows, source="mscoco"):
    """Key, path and captions of every image, and (kind, key, place, reason) of every row refused."""
    take(ledger, source, rows, LIMITS)
    query = "SELECT text FROM captions WHERE image = ?"
    images = [
        (key, path.decode(errors="replace"), [text for (text,) in ledger.db.execute(query, (number,))])
        for number, key, path in ledger.db.execute("SELECT number, key, path FROM images ORDER BY number").fetchall()
    ]
    refused = [(r["kind"], r["key"], r["place"], r["reason"]) for r in ledger.rejected()]
    return images, refused


def test_captions_find_their_image_in_whatever_order_they_come(ledger):
    images, refused = entered(
        ledger, Caption("2", "a cat", "f:1"), Image("1", File("1.jpg")), Caption("1", b"a  dog", "f:2"),
        Image("2", File("2.jpg")), Caption("1", "a hound", "f:3"),
    )  # fmt: skip
    assert sorted(images) == [("mscoco-1", "1.jpg", ["a dog", "a hound"]), ("mscoco-2", "2.jpg", ["a cat"])]
    assert refused == []
    assert ledger.read == {("image", "mscoco"): 2, ("caption", "mscoco"): 3}


def test_an_image_named_again_with_each_caption_is_one_image(ledger):
    images, refused = entered(ledger, *[r for i in range(3) for r in (Image("1", None), Caption("1", f"dog {i}", ""))])
    assert images == [("mscoco-1", "", ["dog 0", "dog 1", "dog 2"])]
    assert (refused, ledger.read["image", "mscoco"]) == ([], 1)


@pytest.mark.parametrize(
    ("first", "second", "path", "spare"),
    [
        (File("a/1.jpg"), File("b/1.jpg"), "a/1.jpg", "b/1.jpg"),
        (None, File("b/1.jpg"), "b/1.jpg", "1"),
        (File("a/1.jpg"), None, "a/1.jpg", "1"),
    ],
)
def test_of_two_images_with_one_id_the_first_that_has_a_file_counts(ledger, first, second, path, spare):
    images, refused = entered(ledger, Image("1", first), Caption("1", "a dog", ""), Image("1", second))
    assert images == [("mscoco-1", path, ["a dog"])]
    assert refused == [("image", "mscoco-1", spare, Reason.DUPLICATE_IMAGE)]
    assert ledger.read["image", "mscoco"] == 2


def test_an_image_that_one_of_two_rows_keeps_out_of_training_stays_out(ledger):
    entered(ledger, Image("1", None), Image("1", File("1.jpg"), evaluation="test"))
    assert ledger.has("mscoco", "test")
    assert not ledger.has("mscoco", "val")


def test_a_caption_without_an_image_is_refused(ledger):
    images, refused = entered(ledger, Image("1", None), Caption("9", "a dog", "f:7"), Caption("9", "", "f:8"))
    assert images == [("mscoco-1", "", [])]
    assert sorted(refused) == [
        ("caption", "mscoco-9", "f:7", Reason.MALFORMED_ROW),
        ("caption", "mscoco-9", "f:8", Reason.EMPTY_CAPTION),
    ]


def test_a_caption_that_its_image_has_already_is_refused_and_the_first_stays(ledger):
    texts = ["A dog.", "a cat", "a dog", "a  DOG !"]
    captions = [Caption("1", t, f"f:{i}") for i, t in enumerate(texts)]
    images, refused = entered(ledger, Image("1", None), *captions, Image("2", None), Caption("2", "a dog", "f:9"))
    assert images == [("mscoco-1", "", ["A dog.", "a cat"]), ("mscoco-2", "", ["a dog"])]
    assert refused == [("caption", "mscoco-1", f"f:{i}", Reason.DUPLICATE_CAPTION) for i in (2, 3)]


def test_equal_ids_of_two_corpora_are_two_images(ledger):
    entered(ledger, Image("1", None), Caption("1", "a dog", "f:1"))
    images, _ = entered(ledger, Image("1", None), Caption("1", "a dog", "g:1"), source="flickr30k")
    assert [(key, texts) for key, _, texts in images] == [("mscoco-1", ["a dog"]), ("flickr30k-1", ["a dog"])]


def test_what_no_reader_could_make_sense_of_is_counted_and_kept_with_its_reason(ledger):
    _, refused = entered(ledger, Rejected("caption", "", "f:1", Reason.MALFORMED_ROW, "no tab"))
    assert refused == [("caption", "", "f:1", Reason.MALFORMED_ROW)]
    assert ledger.balance() == {"image": {}, "caption": {"mscoco": {"read": 1, "kept": 0, "malformed_row": 1}}}


def test_a_row_on_which_nothing_was_decided_stops_the_run(ledger):
    entered(ledger, Image("1", None), Caption("1", "a dog", ""))
    with pytest.raises(AssertionError, match="images of mscoco: read 1, accounted for 0"):
        ledger.balance()
    ledger.reject_rest("mscoco", Reason.OVER_QUOTA, "")
    assert ledger.balance()["caption"] == {"mscoco": {"read": 1, "kept": 0, "over_quota": 1}}


def test_the_file_is_gone_afterwards(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite", tmp_path) as ledger:
        assert ledger.path.exists()
    assert list(tmp_path.iterdir()) == []


def test_names_that_utf8_cannot_hold_are_recorded(ledger):
    odd = "caf\udce9"
    images, refused = entered(
        ledger, Image("1", File(f"{odd}/1.jpg"), note=odd), Caption("1", "a dog", odd), Caption("1", "", f"{odd}:2"),
        Rejected("caption", "", odd, Reason.MALFORMED_ROW, odd),
    )  # fmt: skip
    assert len(images) == 1
    assert [place for _, _, place, _ in refused] == ["caf?:2", "caf?"]
    assert ledger.file(1).path == f"{odd}/1.jpg"
