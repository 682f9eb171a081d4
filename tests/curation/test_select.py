import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_corpora import png, write

from pipeline.curation.ledger import Ledger
from pipeline.curation.select import check_captions, draw, select
from pipeline.schema import Reason, Split
from pipeline.sources import Caption, Sample, SourceError


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """The path of a picture by number; equal numbers are equal bytes, negative ones are truncated."""
    folder = tmp_path_factory.mktemp("pictures")

    def make(number):
        path = folder / f"{number}.png"
        return path if path.exists() else write(path, png(number) if number >= 0 else png(-number)[:45])

    return make


@pytest.fixture
def sample(picture):
    def make(name, number, *, source="mscoco", evaluation=None, captions=("a dog",)):
        texts = tuple(Caption(text, f"{source}.txt:{name}/{i}") for i, text in enumerate(captions))
        path = None if number is None else picture(number)
        return Sample(f"{source}-{name}", source, str(name), path, texts, evaluation=evaluation)

    return make


def choose(*samples, quota=1000, test=None, validation=0.3, seed=1):
    """Splits by key, and reasons by key, of samples of any sources; the first source comes first."""
    rows = {s.source: [t for t in samples if t.source == s.source] for s in samples}
    quotas = quota if isinstance(quota, dict) else dict.fromkeys(rows, quota)
    ledger = Ledger()
    for row in samples:
        ledger.saw(row)
    kept = select(rows, quota=quotas, test=test or {}, validation=validation, seed=seed, workers=1, ledger=ledger)
    ledger.balance(k.sample for k in kept)
    splits = {k.sample.key: k.split for k in kept}
    assert len(splits) == len(kept)
    return splits, {r.key: r.reason for r in ledger.rejected if r.kind == "image"}


def test_karpathy_test_images_are_the_test_split_and_val_images_are_left_out(sample):
    splits, reasons = choose(
        sample(1, 1, evaluation="test"), sample(2, 2, evaluation="val"), sample(3, 3), test={"mscoco": "karpathy"}
    )
    assert splits["mscoco-1"] is Split.TEST
    assert splits["mscoco-3"] in (Split.TRAIN, Split.VAL)
    assert reasons == {"mscoco-2": Reason.EVALUATION_IMAGE}


def test_karpathy_images_never_train_in_a_corpus_that_gives_no_test_split(sample):
    splits, reasons = choose(sample(1, 1, evaluation="test"), sample(2, 2, evaluation="val"), sample(3, 3))
    assert list(splits) == ["mscoco-3"]
    assert reasons == {"mscoco-1": Reason.EVALUATION_IMAGE, "mscoco-2": Reason.EVALUATION_IMAGE}


@pytest.mark.parametrize("evaluation", ["val", "test"])
def test_a_byte_copy_of_an_evaluation_image_is_not_trained_on(sample, evaluation):
    copy, own = sample("copy", 1, source="conceptual_captions"), sample("own", 2, source="conceptual_captions")
    original = sample("original", 1, source="flickr30k", evaluation=evaluation)
    splits, reasons = choose(copy, own, original)  # the corpus with the copy is read first
    assert list(splits) == ["conceptual_captions-own"]
    assert reasons["conceptual_captions-copy"] is Reason.EVALUATION_IMAGE


def test_an_evaluation_image_without_captions_still_guards_its_copies(sample):
    test, other, copy = (
        sample(1, 1, evaluation="test", captions=()),
        sample(2, 2, evaluation="test"),
        sample(3, 1),
    )
    splits, reasons = choose(test, other, copy, test={"mscoco": "karpathy"})
    assert list(splits) == ["mscoco-2"]
    assert reasons == {"mscoco-1": Reason.NO_CAPTION, "mscoco-3": Reason.EVALUATION_IMAGE}


def test_of_equal_images_one_is_kept(sample):
    splits, reasons = choose(*(sample(i, 5) for i in range(4)), sample("else", 6))
    assert len(splits) == 2
    assert "mscoco-else" in splits
    assert sorted(reasons.values()) == [Reason.DUPLICATE_IMAGE] * 3


def test_of_equal_images_in_two_corpora_the_first_corpus_keeps_its_own(sample):
    splits, reasons = choose(sample(1, 5, source="flickr30k"), sample(2, 5, source="mscoco"))
    assert list(splits) == ["flickr30k-1"]
    assert reasons == {"mscoco-2": Reason.DUPLICATE_IMAGE}


def test_broken_and_missing_images_do_not_use_up_the_quota(sample):
    bad = [sample(f"bad{i}", n) for i, n in enumerate((-1, -2, None))]
    good = [sample(f"good{i}", i) for i in range(5)]
    splits, _ = choose(*bad, *good, quota=5)
    assert sorted(splits) == [g.key for g in good]
    _, reasons = choose(*bad, *good, quota=6)
    assert reasons == {
        "mscoco-bad0": Reason.UNREADABLE_IMAGE,
        "mscoco-bad1": Reason.UNREADABLE_IMAGE,
        "mscoco-bad2": Reason.MISSING_IMAGE,
    }


def test_images_over_the_quota_say_so(sample):
    splits, reasons = choose(*(sample(i, i) for i in range(5)), quota=2)
    assert len(splits) == 2
    assert list(reasons.values()) == [Reason.OVER_QUOTA] * 3


def test_an_image_without_a_caption_is_not_kept(sample):
    splits, reasons = choose(sample(1, 1, captions=()), sample(2, 2))
    assert (list(splits), reasons) == (["mscoco-2"], {"mscoco-1": Reason.NO_CAPTION})


@settings(deadline=None, max_examples=40)
@given(
    numbers=st.lists(st.integers(-1, 12), min_size=1, max_size=25),
    quota=st.integers(1, 10),
    more=st.integers(0, 10),
    seed=st.integers(0, 3),
)
def test_raising_a_quota_only_adds(picture, numbers, quota, more, seed):
    samples = [
        Sample(f"mscoco-{i}", "mscoco", str(i), picture(n), (Caption("a dog", f"file:{i}"),))
        for i, n in enumerate(numbers)
    ]
    few, _ = choose(*samples, quota=quota, seed=seed)
    many, _ = choose(*samples, quota=quota + more, seed=seed)
    assert few.items() <= many.items()


@pytest.mark.parametrize("test", [{}, {"mscoco": 0.25}])
def test_adding_data_moves_nothing_to_another_split(sample, test):
    samples = [sample(i, i) for i in range(60)]
    before, _ = choose(*samples[:40], test=test)
    after, _ = choose(*reversed(samples), test=test)
    assert len(before) == 40
    assert before.items() <= after.items()


def test_adding_data_to_a_full_quota_only_takes_places(sample):
    samples = [sample(i, i) for i in range(60)]
    before, _ = choose(*samples[:40], quota=20)
    after, _ = choose(*samples, quota=20)
    old = {s.key for s in samples[:40]}
    assert {key for key in after if key in old} < set(before)
    assert len(before) == len(after) == 20


def test_a_fraction_makes_a_test_split_whose_copies_do_not_train(sample):
    samples = [sample(i, i) for i in range(60)]
    splits, _ = choose(*samples, test={"mscoco": 0.25})
    test = {key for key, split in splits.items() if split is Split.TEST}
    assert 5 <= len(test) <= 25
    copies = [sample(f"copy{i}", i, source="flickr30k") for i in range(60)]
    splits, reasons = choose(*copies, *samples, test={"mscoco": 0.25})
    assert {key for key, split in splits.items() if split is Split.TEST} == test
    leaked = {key for key, reason in reasons.items() if reason is Reason.EVALUATION_IMAGE}
    assert leaked == {key.replace("mscoco-", "flickr30k-copy") for key in test}


def test_another_seed_makes_another_split(sample):
    samples = [sample(i, i) for i in range(30)]
    assert choose(*samples, seed=1)[0] == choose(*samples, seed=1)[0]
    assert choose(*samples, seed=1)[0] != choose(*samples, seed=2)[0]


def test_a_karpathy_test_split_without_its_file_is_an_error(sample):
    with pytest.raises(SourceError, match="Karpathy test images of mscoco"):
        choose(sample(1, 1), test={"mscoco": "karpathy"})


def test_draws_are_even_and_independent_of_each_other():
    keys = [f"mscoco-{i}" for i in range(2000)]
    draws = [draw(17, "split", key) for key in keys]
    assert all(0 <= d < 1 for d in draws)
    assert 160 <= sum(d < 0.1 for d in draws) <= 240
    assert all(draw(17, "split", k) != draw(18, "split", k) != draw(17, "test", k) for k in keys[:50])


def test_empty_captions_are_taken_out_with_their_places():
    texts = ["a dog", " . ", "  a \t cat "]
    captions = tuple(Caption(text, f"file:{i}") for i, text in enumerate(texts))
    ledger = Ledger()
    kept = check_captions(Sample("mscoco-1", "mscoco", "1", None, captions), ledger)
    assert [(c.text, c.place) for c in kept.captions] == [("a dog", "file:0"), ("a cat", "file:2")]
    assert [(r.kind, r.place, r.reason) for r in ledger.rejected] == [("caption", "file:1", Reason.EMPTY_CAPTION)]
