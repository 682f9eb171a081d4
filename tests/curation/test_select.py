import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from tiny_corpora import encoded, picture, png, write

from pipeline.artifacts.schema import Reason, Split
from pipeline.curation.captions import CaptionLimits
from pipeline.curation.inspection import ImageLimits
from pipeline.curation.intake import take
from pipeline.curation.ledger import Ledger, draw
from pipeline.curation.select import Rules, select
from pipeline.sources import Caption, File, Image, SourceError


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """The file of an image by number; equal numbers are equal bytes, negative ones are truncated."""
    folder = tmp_path_factory.mktemp("pictures")

    def make(number):
        path = folder / f"{number}.png"
        if not path.exists():
            write(path, png(number) if number >= 0 else png(-number)[:400])
        return File(str(path))

    return make


@pytest.fixture
def sample(pictures):
    """A corpus and its rows: one image with captions. `number` is an image, a file, or None if it is missing."""

    def make(name, number, *, source="mscoco", evaluation=None, captions=("a dog",)):
        file = pictures(number) if isinstance(number, int) else number
        rows = [Caption(str(name), text, f"{source}.txt:{name}/{i}") for i, text in enumerate(captions)]
        return source, [Image(str(name), file, evaluation=evaluation), *rows]

    return make


def rules(quota, **changes):
    default = {
        "test": {}, "validation": 0.3, "images": ImageLimits(8, 10**6, 10), "radius": 12, "merge": True, "seed": 1,
    }  # fmt: skip
    return Rules(quota, **(default | changes))


def outcome(path, samples, wanted):
    """Kept images by key, and rejected rows, of samples of any corpora."""
    with Ledger(path / "ledger.sqlite", path) as ledger:
        for source in wanted.quota:
            rows = [row for s, own in samples if s == source for row in own]
            take(ledger, source, rows, CaptionLimits(1, 50))
        select(ledger, wanted, workers=1)
        ledger.balance()
        kept = {k.key: (split, k) for split in Split for k in ledger.kept(split)}
        return kept, list(ledger.rejected())


@pytest.fixture
def choose(tmp_path):
    """Splits by key, and reasons by key, of samples of any corpora; the first corpus comes first."""

    def run(*samples, quota=1000, **changes):
        sources = dict.fromkeys(source for source, _ in samples)
        quotas = quota if isinstance(quota, dict) else dict.fromkeys(sources, quota)
        kept, rejected = outcome(tmp_path, samples, rules(quotas, **changes))
        return (
            {key: split for key, (split, _) in kept.items()},
            {r["key"]: r["reason"] for r in rejected if r["kind"] == "image"},
        )

    return run


def test_karpathy_test_images_are_the_test_split_and_val_images_are_left_out(sample, choose):
    splits, reasons = choose(
        sample(1, 1, evaluation="test"), sample(2, 2, evaluation="val"), sample(3, 3), test={"mscoco": "karpathy"}
    )
    assert splits["mscoco-1"] is Split.TEST
    assert splits["mscoco-3"] in (Split.TRAIN, Split.VAL)
    assert reasons == {"mscoco-2": Reason.EVALUATION_IMAGE}


def test_karpathy_images_never_train_in_a_corpus_that_gives_no_test_split(sample, choose):
    splits, reasons = choose(sample(1, 1, evaluation="test"), sample(2, 2, evaluation="val"), sample(3, 3))
    assert list(splits) == ["mscoco-3"]
    assert reasons == {"mscoco-1": Reason.EVALUATION_IMAGE, "mscoco-2": Reason.EVALUATION_IMAGE}


@pytest.mark.parametrize("evaluation", ["val", "test"])
def test_a_byte_copy_of_an_evaluation_image_is_not_trained_on(sample, choose, evaluation):
    copy, own = sample("copy", 1, source="conceptual_captions"), sample("own", 2, source="conceptual_captions")
    original = sample("original", 1, source="flickr30k", evaluation=evaluation)
    splits, reasons = choose(copy, own, original)  # the corpus with the copy is read first
    assert list(splits) == ["conceptual_captions-own"]
    assert reasons["conceptual_captions-copy"] == Reason.EVALUATION_COPY


def test_an_evaluation_image_without_captions_still_guards_its_copies(sample, choose):
    test, other, copy = (
        sample(1, 1, evaluation="test", captions=()),
        sample(2, 2, evaluation="test"),
        sample(3, 1),
    )
    splits, reasons = choose(test, other, copy, test={"mscoco": "karpathy"})
    assert list(splits) == ["mscoco-2"]
    assert reasons == {"mscoco-1": Reason.NO_CAPTION, "mscoco-3": Reason.EVALUATION_COPY}


def test_of_equal_images_one_is_kept(sample, choose):
    splits, reasons = choose(*(sample(i, 5) for i in range(4)), sample("else", 6))
    assert len(splits) == 2
    assert "mscoco-else" in splits
    assert sorted(reasons.values()) == [Reason.DUPLICATE_IMAGE] * 3


def test_of_equal_images_in_two_corpora_the_first_corpus_keeps_its_own(sample, choose):
    splits, reasons = choose(sample(1, 5, source="flickr30k"), sample(2, 5, source="mscoco"))
    assert list(splits) == ["flickr30k-1"]
    assert reasons == {"mscoco-2": Reason.DUPLICATE_IMAGE}


def test_broken_and_missing_images_do_not_use_up_the_quota(sample, choose):
    bad = [sample(f"bad{i}", n) for i, n in enumerate((-1, -2, None))]
    good = [sample(f"good{i}", i) for i in range(5)]
    splits, _ = choose(*bad, *good, quota=5)
    assert sorted(splits) == [f"mscoco-good{i}" for i in range(5)]
    _, reasons = choose(*bad, *good, quota=6)
    assert reasons == {
        "mscoco-bad0": Reason.UNREADABLE_IMAGE,
        "mscoco-bad1": Reason.UNREADABLE_IMAGE,
        "mscoco-bad2": Reason.MISSING_IMAGE,
    }


def test_images_over_the_quota_say_so(sample, choose):
    splits, reasons = choose(*(sample(i, i) for i in range(5)), quota=2)
    assert len(splits) == 2
    assert list(reasons.values()) == [Reason.OVER_QUOTA] * 3


def test_an_image_without_a_caption_is_not_kept(sample, choose):
    splits, reasons = choose(sample(1, 1, captions=()), sample(2, 2))
    assert (list(splits), reasons) == (["mscoco-2"], {"mscoco-1": Reason.NO_CAPTION})


@settings(deadline=None, max_examples=40)
@given(
    numbers=st.lists(st.integers(-1, 12), min_size=1, max_size=25),
    quota=st.integers(1, 10),
    more=st.integers(0, 10),
    seed=st.integers(0, 3),
)
def test_raising_a_quota_only_adds(tmp_path_factory, pictures, numbers, quota, more, seed):
    samples = [
        ("mscoco", [Image(str(i), pictures(n)), Caption(str(i), "a dog", f"file:{i}")]) for i, n in enumerate(numbers)
    ]
    folder = tmp_path_factory.mktemp("ledger")
    few, _ = outcome(folder, samples, rules({"mscoco": quota}, seed=seed))
    many, _ = outcome(folder, samples, rules({"mscoco": quota + more}, seed=seed))
    assert len(few) == min(quota, len(many))
    assert {key: split for key, (split, _) in few.items()}.items() <= {k: s for k, (s, _) in many.items()}.items()


@pytest.mark.parametrize("test", [{}, {"mscoco": 0.25}])
def test_adding_data_moves_nothing_to_another_split(sample, choose, test):
    samples = [sample(i, i) for i in range(60)]
    before, _ = choose(*samples[:40], test=test)
    after, _ = choose(*reversed(samples), test=test)
    assert len(before) == 40
    assert before.items() <= after.items()


def test_adding_data_to_a_full_quota_only_takes_places(sample, choose):
    samples = [sample(i, i) for i in range(60)]
    before, _ = choose(*samples[:40], quota=20)
    after, _ = choose(*samples, quota=20)
    old = {f"mscoco-{i}" for i in range(40)}
    assert {key for key in after if key in old} < set(before)
    assert len(before) == len(after) == 20


def test_a_fraction_makes_a_test_split_whose_copies_do_not_train(sample, choose):
    samples = [sample(i, i) for i in range(60)]
    splits, _ = choose(*samples, test={"mscoco": 0.25})
    test = {key for key, split in splits.items() if split is Split.TEST}
    assert 5 <= len(test) <= 25
    copies = [sample(f"copy{i}", i, source="flickr30k") for i in range(60)]
    splits, reasons = choose(*copies, *samples, test={"mscoco": 0.25})
    assert {key for key, split in splits.items() if split is Split.TEST} == test
    leaked = {key for key, reason in reasons.items() if reason == Reason.EVALUATION_COPY}
    assert leaked == {key.replace("mscoco-", "flickr30k-copy") for key in test}


def test_another_seed_makes_another_split(sample, choose):
    samples = [sample(i, i) for i in range(30)]
    assert choose(*samples, seed=1)[0] == choose(*samples, seed=1)[0]
    assert choose(*samples, seed=1)[0] != choose(*samples, seed=2)[0]


def test_a_karpathy_test_split_without_its_file_is_an_error(sample, choose):
    with pytest.raises(SourceError, match="published test images of mscoco"):
        choose(sample(1, 1), test={"mscoco": "karpathy"})


def test_draws_are_even_and_independent_of_each_other():
    keys = [f"mscoco-{i}" for i in range(2000)]
    draws = [draw(17, "split", key) for key in keys]
    assert all(0 <= d < 1 for d in draws)
    assert 160 <= sum(d < 0.1 for d in draws) <= 240
    assert all(draw(17, "split", k) != draw(18, "split", k) != draw(17, "test", k) for k in keys[:50])


@pytest.fixture
def look(tmp_path):
    """A file with a changed version of image `number`: the change is a function of an image and returns bytes."""

    def make(number, change):
        return File(
            str(write(tmp_path / f"look{len(list(tmp_path.iterdir()))}.jpg", change(picture(number, (192, 144)))))
        )

    return make


def plain(image):
    return encoded(image)


def compressed(image):
    return encoded(image, "JPEG", quality=60)


def smaller(image):
    return encoded(image.resize((120, 90)), "JPEG", quality=80)


def cropped(image):
    return encoded(image.crop((4, 2, 190, 142)), "JPEG", quality=80)


COPIES = [compressed, smaller, cropped]


@pytest.mark.parametrize("change", COPIES)
def test_of_near_duplicates_the_first_corpus_keeps_its_own(sample, choose, look, change):
    splits, reasons = choose(
        sample(1, look(5, plain), source="flickr30k"), sample(2, look(5, change)), sample(3, look(6, plain))
    )
    assert sorted(splits) == ["flickr30k-1", "mscoco-3"]
    assert reasons == {"mscoco-2": Reason.NEAR_DUPLICATE}


@pytest.mark.parametrize("change", COPIES)
@pytest.mark.parametrize("evaluation", ["val", "test"])
def test_a_near_duplicate_of_an_evaluation_image_is_not_trained_on(sample, choose, look, change, evaluation):
    splits, reasons = choose(
        sample("copy", look(5, change), source="conceptual_captions"),
        sample("own", look(6, plain), source="conceptual_captions"),
        sample("original", look(5, plain), source="flickr30k", evaluation=evaluation),
    )
    assert list(splits) == ["conceptual_captions-own"]
    assert reasons["conceptual_captions-copy"] == Reason.EVALUATION_COPY


def recoloured(image):
    patch = Pillow.new("RGB", (24, 24), "red" if image.getpixel((84, 84))[0] < 128 else "blue")
    image.paste(patch, (72, 72))
    return encoded(image)


def test_a_picture_with_one_thing_recoloured_is_kept(sample, choose, look):
    splits, reasons = choose(sample(1, look(5, plain)), sample(2, look(5, recoloured)), radius=20)
    assert (len(splits), reasons) == (2, {})


def test_test_images_are_kept_as_they_are_named_even_copies_of_each_other(sample, choose, look):
    splits, reasons = choose(
        sample(1, look(5, plain), evaluation="test"), sample(2, look(5, plain), evaluation="test"),
        sample(3, look(5, compressed), evaluation="test"), sample(4, 6), test={"mscoco": "karpathy"},
    )  # fmt: skip
    assert sorted(key for key, split in splits.items() if split is Split.TEST) == ["mscoco-1", "mscoco-2", "mscoco-3"]
    assert reasons == {}


def test_a_byte_copy_of_a_copy_is_a_copy(sample, choose, look):
    samples = [sample(i, look(5, plain if i == 0 else compressed)) for i in range(6)]
    splits, reasons = choose(*samples)
    assert len(splits) == 1
    assert len(reasons) == 5
    assert set(reasons.values()) <= {Reason.NEAR_DUPLICATE, Reason.DUPLICATE_IMAGE}
    samples[0][1][0] = Image("0", look(5, plain), evaluation="val")
    splits, reasons = choose(*samples)
    assert splits == {}
    assert [reasons.pop("mscoco-0"), *set(reasons.values())] == [Reason.EVALUATION_IMAGE, Reason.EVALUATION_COPY]


@pytest.mark.parametrize("merge", [True, False])
def test_captions_of_a_copy_are_merged_or_dropped(tmp_path, sample, look, merge):
    samples = [
        sample(1, look(5, plain), captions=("a red dog", "a hound")),
        sample(2, look(5, compressed), source="flickr30k", captions=("A hound.", "a pet", "a dog")),
        sample(3, look(5, compressed), source="conceptual_captions", captions=("a pet", "best dogs")),
    ]
    quota = {"mscoco": 9, "flickr30k": 9, "conceptual_captions": 9}
    kept, rejected = outcome(tmp_path, samples, rules(quota, merge=merge))
    ((_, found),) = kept.values()
    own = ["a red dog", "a hound"]
    assert found.captions == ([*own, "a pet", "a dog", "best dogs"] if merge else own)
    assert found.origins[:2] == ["mscoco:mscoco.txt:1/0", "mscoco:mscoco.txt:1/1"]
    assert found.origins[2:] == (
        ["flickr30k:flickr30k.txt:2/1", "flickr30k:flickr30k.txt:2/2",
         "conceptual_captions:conceptual_captions.txt:3/1"] if merge else []
    )  # fmt: skip
    lost = [r["place"] for r in rejected if r["kind"] == "caption"]
    assert len(lost) + len(found.captions) == 7


def test_captions_of_a_copy_never_reach_an_evaluation_image(tmp_path, sample, look):
    samples = [sample(1, look(5, plain), evaluation="test"), sample(2, look(5, compressed), captions=("a pet",))]
    kept, rejected = outcome(tmp_path, samples, rules({"mscoco": 9}, test={"mscoco": "karpathy"}))
    assert kept["mscoco-1"][1].captions == ["a dog"]
    assert [(r["kind"], r["reason"]) for r in rejected] == [(k, Reason.EVALUATION_COPY) for k in ("image", "caption")]


def drifting(step):
    """A crop further and further in: each is a copy of the one before, the last is none of the first."""
    return lambda image: encoded(image.crop((4 * step, 3 * step, 192 - 4 * step, 144 - 3 * step)))


@pytest.mark.parametrize("seed", range(6))
def test_neighbours_of_a_copy_are_in_the_split_of_its_original(sample, choose, look, seed):
    chain = [sample(i, look(5, drifting(i))) for i in range(8)]
    splits, reasons = choose(*chain, seed=seed, validation=0.5, radius=20)
    assert len(splits) > 1, "the ends of the chain are different images"
    assert reasons, "neighbours in the chain are not"
    assert len(set(splits.values())) == 1


def test_a_rejected_copy_names_the_image_it_is_a_copy_of(tmp_path, sample, look):
    samples = [sample("a", 1), sample("b", 1), sample("c", look(2, plain)), sample("d", look(2, compressed))]
    kept, rejected = outcome(tmp_path, samples, rules({"mscoco": 9}))
    details = {r["key"]: r["detail"] for r in rejected if r["kind"] == "image"}
    for key, detail in details.items():
        assert any(f"as {other}" in detail for other in kept), json.dumps(details)
        assert ("same bytes" in detail) == (key in ("mscoco-a", "mscoco-b"))


@pytest.mark.parametrize(
    ("original", "copy"),
    [
        (lambda image: encoded(image.resize((30, 24))), smaller),
        (lambda image: encoded(image.resize((380, 90))), lambda image: encoded(image.resize((340, 90)))),
        (lambda image: encoded(image, save_all=True, append_images=[picture(9, (192, 144))]), plain),
    ],
    ids=["too small", "too long", "animated"],
)
def test_an_evaluation_image_that_is_not_kept_itself_guards_its_copies(sample, choose, look, original, copy):
    images = ImageLimits(60, 10**6, 4)
    splits, reasons = choose(
        sample(1, look(5, original), evaluation="test"), sample(2, look(5, copy)), sample(3, look(6, plain)),
        images=images, radius=20,
    )  # fmt: skip
    assert list(splits) == ["mscoco-3"]
    assert reasons == {"mscoco-1": Reason.EVALUATION_IMAGE, "mscoco-2": Reason.EVALUATION_COPY}


def test_a_picture_a_shade_lighter_is_a_copy(sample, choose, look):
    lighter = look(5, lambda image: encoded(image.point(lambda v: v * 0.9 + 12)))
    darker = look(5, lambda image: encoded(image.point(lambda v: v * 0.9)))
    splits, reasons = choose(sample(1, darker), sample(2, lighter))
    assert len(splits) == 1
    assert list(reasons.values()) == [Reason.NEAR_DUPLICATE]


@pytest.mark.parametrize("change", [lambda path: path.unlink(), lambda path: path.write_bytes(b"404")])
def test_an_image_that_is_gone_when_it_should_be_compared_stops_the_run(tmp_path, sample, look, monkeypatch, change):
    from pathlib import Path

    from pipeline.curation.inspection import ImageChanged
    from pipeline.curation.lookalikes import Lookalikes

    first, second = look(5, plain), look(5, compressed)
    original = Lookalikes.before

    def before_and_change(self, start):
        change(Path(second.path))
        return original(self, start)

    monkeypatch.setattr(Lookalikes, "before", before_and_change)
    with pytest.raises(ImageChanged, match="run it again"):
        outcome(tmp_path, [sample(1, first), sample(2, second)], rules({"mscoco": 9}))
