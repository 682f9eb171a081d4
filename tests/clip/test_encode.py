from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tiny_models import COMPUTE, random_pixels, tiny_clip

from pipeline.clip import encode
from pipeline.clip.encode import Compute
from pipeline.errors import InputError
from pipeline.machine import compiling
from pipeline.machine.batches import batches

CAPTIONS = ["a cat", "a dog", "a red star on a blue sky", "two moons", "a cat on a mat", "nothing at all", "a cow"]


@pytest.fixture(scope="module")
def clip():
    return tiny_clip()


@pytest.fixture
def forwards(clip):
    """Shapes of what the towers were given."""
    shapes = []
    hooks = [
        clip.model.visual.register_forward_pre_hook(lambda module, given: shapes.append(tuple(given[0].shape))),
        clip.model.token_embedding.register_forward_pre_hook(lambda m, given: shapes.append(tuple(given[0].shape))),
    ]
    yield shapes
    for hook in hooks:
        hook.remove()


def test_batches_hold_everything_in_order():
    assert list(batches(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batches([], 3)) == []
    assert list(batches([1, 2], 2)) == [[1, 2]]


def test_images_are_the_towers_own_embeddings_at_unit_length(clip):
    pixels = random_pixels(4)
    found = encode.images(clip, pixels, COMPUTE)
    with torch.inference_mode():
        wanted = F.normalize(clip.model.encode_image(clip.normalise(torch.from_numpy(pixels))), dim=-1)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(4))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_an_images_embedding_does_not_depend_on_how_many_there_are(clip, count):
    pixels = random_pixels(4)
    whole = encode.images(clip, pixels, COMPUTE)
    assert torch.equal(encode.images(clip, pixels[:count], COMPUTE), whole[:count])


@pytest.mark.parametrize("count", [1, 3, 5])
def test_a_texts_embedding_does_not_depend_on_how_many_there_are(clip, count):
    whole = encode.texts(clip, CAPTIONS, COMPUTE)
    assert torch.equal(encode.texts(clip, CAPTIONS[:count], COMPUTE), whole[:count])


def test_every_forward_has_the_same_shape(clip, forwards):
    encode.images(clip, random_pixels(1), COMPUTE)
    encode.texts(clip, CAPTIONS, COMPUTE)
    encode.texts_with_tokens(clip, CAPTIONS[:3], COMPUTE)
    assert forwards == [(4, 3, 32, 32)] + [(4, 16)] * 3


def test_images_may_be_a_list_of_arrays(clip):
    pixels = random_pixels(3)
    assert torch.equal(encode.images(clip, list(pixels), COMPUTE), encode.images(clip, pixels, COMPUTE))


def test_texts_encodes_each_distinct_string_once(clip, forwards):
    repeated = [CAPTIONS[i] for i in (3, 0, 3, 3, 1, 0, 2, 2, 3, 1)]
    found = encode.texts(clip, repeated, COMPUTE)
    assert len(forwards) == 1, "four distinct strings are one batch of four"
    assert found.shape == (10, 16)
    for row, string in zip(found, repeated, strict=True):
        torch.testing.assert_close(row, encode.texts(clip, [string], COMPUTE)[0])


def test_texts_of_nothing_has_no_rows(clip, forwards):
    assert encode.texts(clip, [], COMPUTE).shape == (0, 16)
    assert forwards == []


def test_texts_are_the_towers_own_embeddings_at_unit_length(clip):
    found = encode.texts(clip, CAPTIONS[:4], COMPUTE)
    with torch.inference_mode():
        wanted = F.normalize(clip.model.encode_text(clip.tokenize(CAPTIONS[:4])), dim=-1)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(4))


def test_tokens_come_with_the_same_embeddings_as_without(clip):
    pooled, tokens = encode.texts_with_tokens(clip, CAPTIONS[:3], COMPUTE)
    assert torch.equal(pooled, encode.texts(clip, CAPTIONS[:3], COMPUTE))
    assert tokens.shape == (3, 16, 16)
    torch.testing.assert_close(tokens.norm(dim=-1), torch.ones(3, 16))


def test_the_end_token_is_the_texts_embedding(clip):
    strings = CAPTIONS[:3]
    pooled, tokens = encode.texts_with_tokens(clip, strings, COMPUTE)
    end = clip.tokenize(strings).argmax(dim=1)  # the end token has the highest id
    assert end.tolist() == [3, 3, 8]
    torch.testing.assert_close(tokens[torch.arange(3), end], pooled)


def test_a_token_sees_only_what_stands_before_it(clip):
    _, tokens = encode.texts_with_tokens(clip, ["a red star", "a red moon"], COMPUTE)
    torch.testing.assert_close(tokens[0, :3], tokens[1, :3])
    assert not torch.allclose(tokens[0, 3], tokens[1, 3])


def test_tokens_leave_no_hook_behind(clip):
    encode.texts_with_tokens(clip, CAPTIONS[:2], COMPUTE)
    assert len(clip.model.ln_final._forward_hooks) == 0


def test_tokens_need_open_clips_own_text_tower(clip):
    other = tiny_clip()
    del other.model.ln_final
    with pytest.raises(InputError, match=r"take tokens out of features\.spans"):
        encode.texts_with_tokens(other, ["a"], COMPUTE)


def test_an_image_tower_is_compiled_once_where_it_is_asked_for(monkeypatch):
    own, taken = tiny_clip(), []

    def compiled(forward):
        taken.append("compiled")
        return lambda *given: taken.append("called") or forward(*given)

    monkeypatch.setattr(compiling, "compiled", compiled)
    pixels = random_pixels(8)
    wanted = list(encode.images_of(own, [pixels[:4], pixels[4:]], COMPUTE))
    assert taken == []
    found = list(encode.images_of(own, [pixels[:4], pixels[4:]], replace(COMPUTE, compiled=True)))
    assert taken == ["compiled", "called", "called"]
    assert all(map(torch.equal, found, wanted))


def test_half_precision_is_another_result_in_float32(clip):
    half = Compute("cpu", "bfloat16", 4)
    found, exact = (encode.images(clip, random_pixels(4), compute) for compute in (half, COMPUTE))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(4))
    assert not torch.equal(found, exact)
    torch.testing.assert_close((found * exact).sum(-1), torch.ones(4), atol=1e-2, rtol=0)
