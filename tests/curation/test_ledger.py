import pytest

from pipeline.curation.ledger import Ledger
from pipeline.schema import Reason
from pipeline.sources import Caption, Rejected, Sample


def sample(name, *texts):
    captions = tuple(Caption(text, f"{name}:{i}") for i, text in enumerate(texts))
    return Sample(f"mscoco-{name}", "mscoco", name, None, captions, url=f"http://x/{name}")


def test_what_is_kept_and_what_is_rejected_add_up_to_what_was_read():
    ledger = Ledger()
    dog, cat = sample("dog", "a dog", "a hound"), sample("cat", "a cat", "a pet")
    for row in (dog, cat, Rejected("caption", "", "mscoco", "file:9", Reason.MALFORMED_ROW)):
        ledger.saw(row)
    ledger.reject(cat, Reason.OVER_QUOTA)
    assert ledger.balance([dog]) == {
        "image": {"mscoco": {"read": 2, "kept": 1, "over_quota": 1}},
        "caption": {"mscoco": {"read": 5, "kept": 2, "over_quota": 2, "malformed_row": 1}},
    }


def test_a_rejected_image_takes_its_captions_along_with_their_places():
    ledger = Ledger()
    ledger.reject(sample("dog", "a dog", "a hound"), Reason.MISSING_IMAGE, "not there")
    assert [(r.kind, r.place, r.reason, r.detail) for r in ledger.rejected] == [
        ("image", "http://x/dog", Reason.MISSING_IMAGE, "not there"),
        ("caption", "dog:0", Reason.MISSING_IMAGE, "not there"),
        ("caption", "dog:1", Reason.MISSING_IMAGE, "not there"),
    ]


@pytest.mark.parametrize("kept", [0, 2])
def test_a_sample_lost_or_counted_twice_stops_the_run(kept):
    ledger = Ledger()
    dog = sample("dog", "a dog")
    ledger.saw(dog)
    with pytest.raises(AssertionError, match=f"images of mscoco: read 1, accounted for {kept}"):
        ledger.balance([dog] * kept)
