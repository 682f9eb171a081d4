import copy
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_gpu import PretendedGpu
from tiny_manifest import png
from tiny_models import COMPUTE, config, picture, tiny_clip

from pipeline.clip import encode
from pipeline.clip.cached import CachedClip
from pipeline.clip.encode import Compute
from pipeline.clip.towers import Clip, create
from pipeline.images.decoding import decode
from pipeline.machine.batches import batches
from pipeline.store import keys

CAPTIONS = ["a cat", "a dog", "a red star on a blue sky", "two moons", "a cat on a mat", "", "a cow " * 20]
PICTURES = [png(picture(seed)) for seed in range(7)]
KEYS = keys.pack(map(keys.from_bytes, PICTURES))
BATCH = COMPUTE.batch


@pytest.fixture(scope="module")
def clip():
    return tiny_clip()


@pytest.fixture
def root(tmp_path):
    return tmp_path / "store"


@contextmanager
def forwards(clip):
    """Counts how often each tower runs."""
    count = {"image": 0, "text": 0}

    def counter(tower):
        def count_one(*_):
            count[tower] += 1

        return count_one

    hooks = [
        clip.model.visual.register_forward_pre_hook(counter("image")),
        clip.model.token_embedding.register_forward_pre_hook(counter("text")),
    ]
    yield count
    for hook in hooks:
        hook.remove()


def embed(cached, numbers=range(7)):
    """Embed some of the images; which of them were read."""
    read = []

    def some(rows):
        for i in rows:
            read.append(numbers[i])
            yield PICTURES[numbers[i]]

    assert cached.embed_images(KEYS[list(numbers)], some, "pictures") == len(read)
    return read


def of_pictures(clip, compute=COMPUTE):
    pixels = [clip.pixels()(decode(data)) for data in PICTURES]
    return np.concatenate([encode.images(clip, part, compute) for part in batches(pixels, compute.batch)])


def of_tokens(clip, strings, compute=COMPUTE):
    """The tokens of every string between start and end, from the tower itself."""
    ends = (clip.tokenize(strings) != 0).sum(dim=1) - 1
    found = [
        row for part in batches(strings, compute.batch)
        for row in encode.texts_with_tokens(clip, part, compute)[1].numpy()
    ]  # fmt: skip
    return [row[1:end].astype(np.float16).tolist() for row, end in zip(found, ends, strict=True)]


def tokens_in(cached, strings):
    return cached.tokens.take(keys.from_texts(strings))["vector"].to_pylist()


# What the rows are


def test_a_pictures_row_is_its_embedding_in_float16(clip, root):
    cached = CachedClip(clip, COMPUTE, root)
    assert embed(cached) == [0, 1, 2, 3, 4, 5, 6]
    assert np.array_equal(cached.images.vectors(KEYS), of_pictures(clip).astype(np.float16))


@pytest.mark.parametrize("tokens", [False, True])
def test_a_texts_row_is_its_embedding_in_float16(clip, root, tokens):
    cached = CachedClip(clip, COMPUTE, root)
    assert cached.embed_texts(CAPTIONS, "texts", tokens=tokens) == 7
    wanted = encode.texts(clip, CAPTIONS, COMPUTE).numpy().astype(np.float16)
    assert np.array_equal(cached.texts.vectors(keys.from_texts(CAPTIONS)), wanted)
    assert np.array_equal(cached.embeddings_of(CAPTIONS[::-1], "again"), wanted[::-1])


def test_a_texts_tokens_are_the_positions_between_start_and_end(clip, root):
    cached = CachedClip(clip, COMPUTE, root)
    cached.embed_texts(CAPTIONS, "texts", tokens=True)
    found = tokens_in(cached, CAPTIONS)
    assert [len(rows) for rows in found] == [2, 2, 7, 2, 5, 0, 14], "14 is what a context of 16 leaves"
    assert found == of_tokens(clip, CAPTIONS)


@pytest.mark.parametrize("order", [[6, 5, 4, 3, 2, 1, 0], [3, 0, 6, 1, 5, 2, 4]])
def test_other_batches_and_another_order_give_the_same_bits(clip, root, order):
    whole, parts = CachedClip(clip, COMPUTE, root / "whole"), CachedClip(clip, COMPUTE, root / "parts")
    embed(whole)
    whole.embed_texts(CAPTIONS, "texts", tokens=True)
    for some in (order[:1], order[1:3], order):
        embed(parts, some)
        parts.embed_texts([CAPTIONS[i] for i in some], "texts", tokens=True)
    texts = keys.from_texts(CAPTIONS)
    assert parts.images.vectors(KEYS).tobytes() == whole.images.vectors(KEYS).tobytes()
    assert parts.texts.vectors(texts).tobytes() == whole.texts.vectors(texts).tobytes()
    assert parts.tokens.take(texts).equals(whole.tokens.take(texts))


def test_a_gpus_way_to_the_rows_gives_the_same_bits(clip, root, monkeypatch):
    plain, piped = CachedClip(clip, COMPUTE, root / "plain"), CachedClip(clip, COMPUTE, root / "piped")
    embed(plain)
    plain.embed_texts(CAPTIONS, "texts", tokens=True)
    gpu = PretendedGpu(monkeypatch)
    assert embed(piped) == [0, 1, 2, 3, 4, 5, 6]
    piped.embed_texts(CAPTIONS, "texts", tokens=True)
    assert gpu.asked == 2 * -(-7 // COMPUTE.batch)
    texts = keys.from_texts(CAPTIONS)
    assert piped.images.vectors(KEYS).tobytes() == plain.images.vectors(KEYS).tobytes()
    assert piped.texts.vectors(texts).tobytes() == plain.texts.vectors(texts).tobytes()
    assert piped.tokens.take(texts).equals(plain.tokens.take(texts))


def test_rows_of_a_compiled_image_tower_are_kept_apart_and_texts_are_not(clip, root):
    plain, compiled = (CachedClip(clip, replace(COMPUTE, compiled=value), root) for value in (False, True))
    for name, apart in (("images", True), ("views", True), ("texts", False), ("tokens", False)):
        assert (getattr(plain, name).folder != getattr(compiled, name).folder) == apart, name


# Computed once


def test_what_was_embedded_once_is_never_computed_again(clip, root):
    first = CachedClip(clip, COMPUTE, root)
    embed(first)
    first.embed_texts(CAPTIONS, "texts", tokens=True)
    for again in (first, CachedClip(clip, COMPUTE, root)):
        with forwards(clip) as count:
            assert embed(again) == []
            assert again.embed_texts(CAPTIONS, "texts", tokens=True) == 0
            assert again.embed_texts(CAPTIONS, "texts") == 0
        assert count == {"image": 0, "text": 0}


def test_only_what_is_new_is_read_and_embedded(clip, root):
    cached = CachedClip(clip, COMPUTE, root)
    embed(cached, [0, 2, 4])
    cached.embed_texts(CAPTIONS[:3], "texts")
    with forwards(clip) as count:
        assert embed(cached) == [1, 3, 5, 6]
        assert cached.embed_texts(CAPTIONS, "texts") == 4
    assert count == {"image": 1, "text": 1}


def test_a_picture_and_a_text_are_embedded_once_however_often_they_stand_there(clip, root):
    cached = CachedClip(clip, COMPUTE, root)
    with forwards(clip) as count:
        assert embed(cached, [3, 1, 3, 3, 1, 0, 2]) == [3, 1, 0, 2]
        assert cached.embed_texts([CAPTIONS[i] for i in (3, 1, 3, 3, 1, 0, 2)], "texts", tokens=True) == 4
    assert count == {"image": 1, "text": 1}
    assert (len(cached.images), len(cached.texts), len(cached.tokens)) == (4, 4, 4)


def test_tokens_asked_for_after_texts_cost_the_forwards_of_those_that_lack_them(clip, root):
    cached = CachedClip(clip, COMPUTE, root)
    cached.embed_texts(CAPTIONS[:2], "texts", tokens=True)
    cached.embed_texts(CAPTIONS[2:5], "texts")
    with forwards(clip) as count:
        assert cached.embed_texts(CAPTIONS, "texts", tokens=True) == 5
    assert count["text"] == 2, "five strings in batches of four"
    assert tokens_in(cached, CAPTIONS) == of_tokens(clip, CAPTIONS)


def test_tokens_asked_for_after_texts_write_no_text_a_second_time(clip, root):
    cached = CachedClip(clip, COMPUTE, root)
    cached.embed_texts(CAPTIONS, "texts")
    cached.embed_texts(CAPTIONS, "texts", tokens=True)
    assert (len(cached.texts), len(cached.tokens)) == (7, 7)


def test_texts_without_tokens_make_no_token_collection(clip, root):
    CachedClip(clip, COMPUTE, root).embed_texts(CAPTIONS, "texts")
    assert [p.name.partition("-")[0] for p in root.iterdir()] == ["texts"]


def test_nothing_is_embedded_for_nothing(clip, root):
    cached = CachedClip(clip, COMPUTE, root)
    with forwards(clip) as count:
        assert cached.embed_images(keys.pack([]), lambda rows: [], "pictures") == 0
        assert cached.embed_texts([], "texts", tokens=True) == 0
        assert cached.embeddings_of([], "texts").shape == (0, 16)
    assert count == {"image": 0, "text": 0}


def test_what_was_embedded_before_ctrl_c_is_kept(clip, root):
    def until_the_sixth(rows):
        for i in rows:
            if i == 5:
                raise KeyboardInterrupt
            yield PICTURES[i]

    with pytest.raises(KeyboardInterrupt):
        CachedClip(clip, COMPUTE, root).embed_images(KEYS, until_the_sixth, "pictures")
    again = CachedClip(clip, COMPUTE, root)
    assert embed(again) == [4, 5, 6], "the first batch of four was complete"
    assert np.array_equal(again.images.vectors(KEYS), of_pictures(clip).astype(np.float16))


def test_embeddings_that_are_not_finite_are_not_kept(root):
    broken = tiny_clip()
    with torch.no_grad():
        for weight in broken.model.parameters():
            weight.fill_(torch.nan)
    cached = CachedClip(broken, COMPUTE, root)
    for embed_some in (
        lambda: embed(cached),
        lambda: cached.embed_texts(CAPTIONS, "texts"),
        lambda: cached.embed_texts(CAPTIONS, "texts", tokens=True),
    ):
        with pytest.raises(ValueError, match="not finite"):
            embed_some()
    assert not root.exists()


# Another model, or the same in another way


def with_one_other_weight():
    made = tiny_clip()
    with torch.no_grad():
        made.model.text_projection[0, 0] += 1e-3
    return made


def other_architecture():
    made = config()
    made["model_cfg"]["quick_gelu"] = True
    torch.manual_seed(0)
    return create(made)


def other_preprocessing(clip):
    made = copy.deepcopy(clip.config)
    made["preprocess_cfg"]["mean"] = [0.1, 0.1, 0.1]
    return Clip(clip.model, made, clip.tokenize)


OTHERS = {
    "one weight": lambda clip: (with_one_other_weight(), COMPUTE),
    "architecture": lambda clip: (other_architecture(), COMPUTE),
    "dtype": lambda clip: (clip, Compute("cpu", "bfloat16", BATCH)),
    "batch": lambda clip: (clip, Compute("cpu", "float32", 2)),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_model_reads_none_of_the_rows_and_computes_its_own(clip, root, other):
    first = CachedClip(clip, COMPUTE, root)
    embed(first)
    first.embed_texts(CAPTIONS, "texts", tokens=True)
    changed, compute = OTHERS[other](clip)
    cached = CachedClip(changed, compute, root)
    with forwards(changed) as count:
        assert len(embed(cached)) == 7
        assert cached.embed_texts(CAPTIONS, "texts", tokens=True) == 7
    assert count == dict.fromkeys(("image", "text"), -(-7 // compute.batch))
    wanted = encode.texts(changed, CAPTIONS, compute).numpy().astype(np.float16)
    assert np.array_equal(cached.texts.vectors(keys.from_texts(CAPTIONS)), wanted)
    assert np.array_equal(cached.images.vectors(KEYS), of_pictures(changed, compute).astype(np.float16))
    assert tokens_in(cached, CAPTIONS) == of_tokens(changed, CAPTIONS, compute)


def test_other_preprocessing_embeds_pictures_anew_and_keeps_texts(clip, root):
    first = CachedClip(clip, COMPUTE, root)
    embed(first)
    first.embed_texts(CAPTIONS, "texts", tokens=True)
    cached = CachedClip(other_preprocessing(clip), COMPUTE, root)
    assert len(embed(cached)) == 7
    assert cached.embed_texts(CAPTIONS, "texts", tokens=True) == 0
    found = cached.images.vectors(KEYS)
    assert np.array_equal(found, of_pictures(cached.clip).astype(np.float16))
    assert not np.array_equal(found, first.images.vectors(KEYS))


def test_equal_models_share_their_rows_wherever_they_were_made(clip, root, tmp_path):
    embed(CachedClip(clip, COMPUTE, root))
    assert embed(CachedClip(tiny_clip(), COMPUTE, root)) == []
    assert len(embed(CachedClip(clip, COMPUTE, tmp_path / "another store"))) == 7
