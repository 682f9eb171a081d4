import ftfy
import numpy as np
import pytest

from pipeline.sample_world.captions import detailed
from pipeline.sample_world.faulty_captions import FAULTS, faulty_caption
from pipeline.sample_world.scenes import random_scene
from pipeline.sample_world.vocabulary import SEEN_COLOURS, SEEN_SHAPES


def some(name, count=60):
    """Faulty captions, each with the good ones of its image."""
    rng = np.random.default_rng(2)
    for _ in range(count):
        scene = random_scene(rng, SEEN_SHAPES, SEEN_COLOURS)
        own = detailed(rng, scene)
        yield own, faulty_caption(rng, name, own, scene)


@pytest.mark.parametrize("name", FAULTS)
def test_only_what_can_be_repaired_has_a_repaired_text(name):
    for _, caption in some(name, 5):
        assert caption.name == name
        assert (caption.repaired is not None) == (name == "mojibake")


def test_all_but_one_kind_are_utf8_and_every_one_is_one_line():
    for name in FAULTS:
        for _, caption in some(name, 20):
            assert not {b"\t", b"\n", b"\r"} & {bytes([c]) for c in caption.text}
            if name == "not_utf8":
                with pytest.raises(UnicodeDecodeError):
                    caption.text.decode()
            else:
                caption.text.decode()


def test_mojibake_is_repaired_to_what_was_meant():
    entities = 0
    for own, caption in some("mojibake"):
        raw = caption.text.decode()
        entities += "&amp;" in raw
        assert raw != caption.repaired == ftfy.fix_text(raw)
        assert caption.repaired.startswith(own[0])
    assert 10 < entities < 50


def test_a_repeated_caption_is_repeated_in_several_ways():
    found = {caption.text.decode().replace(own[0], "same") for own, caption in some("duplicate_caption")}
    assert {"same", "  same ", "same ."} < found
    for own, caption in some("duplicate_caption"):
        assert caption.text.decode().casefold().strip(" .") == own[0].casefold()


def test_long_and_short_captions():
    assert {len(c.text.split()) for _, c in some("long_caption")} == {120}
    assert {len(c.text.split()) for _, c in some("short_caption")} == {1}


def test_an_unknown_fault_is_named():
    with pytest.raises(ValueError, match=r"unknown fault 'rude'; there are empty_caption"):
        list(some("rude", 1))
