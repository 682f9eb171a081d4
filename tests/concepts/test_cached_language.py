import dataclasses
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_language import SAVED, save_encoder

from pipeline.concepts.cached import CachedLanguage
from pipeline.concepts.language import LanguageModel, Source
from pipeline.errors import InputError
from pipeline.store.collection import StoreError

TEXTS = ["a cat", "a red dog on a mat", "moon", "cat " * 20, "a blue star on a red sky", "sky"]
BATCH = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def root(tmp_path):
    return tmp_path / "store"


def cached(folder, root, *, batch=BATCH, weights=None, **how):
    source = Source("transformers", str(folder), **how)
    model = LanguageModel(source, "cpu")
    model.weights = weights or model.weights
    return CachedLanguage(model, source, batch, root)


def shown(language, monkeypatch):
    """The texts that the model is shown, from now on."""
    found, embed = [], language.model.embed
    monkeypatch.setattr(
        language.model, "embed", lambda texts, length, rows: found.extend(texts) or embed(texts, length, rows)
    )
    return found


@pytest.mark.parametrize("name", SAVED)
def test_a_texts_row_is_its_unit_vector_in_float16(tmp_path, root, name):
    language = cached(SAVED[name](tmp_path / name), root)
    assert language.embed(TEXTS) == 6
    found = language.vectors(TEXTS)
    assert (found.dtype, found.shape) == (np.float16, (6, 16))
    np.testing.assert_allclose(np.linalg.norm(found.astype(np.float32), axis=1), 1, atol=1e-3)
    wanted = F.normalize(language.model.embed(TEXTS, 32, 6), dim=-1)
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-3)
    assert np.array_equal(language.vectors(TEXTS[::-1]), found[::-1])


def test_what_was_embedded_once_is_never_embedded_again(folder, root, monkeypatch):
    cached(folder, root).embed(TEXTS)
    again = cached(folder, root)
    seen = shown(again, monkeypatch)
    assert (again.embed(TEXTS), again.embed(TEXTS[:2]), again.embed([])) == (0, 0, 0)
    assert seen == []


def test_only_new_texts_are_embedded(folder, root, monkeypatch):
    language = cached(folder, root)
    assert language.embed(TEXTS[1:3]) == 2
    seen = shown(language, monkeypatch)
    assert language.embed(TEXTS) == 4
    assert sorted(seen) == sorted({*TEXTS} - {*TEXTS[1:3]})
    assert len(language.rows) == 6


@pytest.mark.parametrize("order", [[5, 4, 3, 2, 1, 0], [3, 0, 5, 1, 4, 2]])
def test_other_batches_and_another_order_of_texts_give_the_same_bits(folder, root, order):
    whole, parts = cached(folder, root / "whole"), cached(folder, root / "parts")
    whole.embed(TEXTS)
    for some in (order[:1], order[1:3], order):
        parts.embed([TEXTS[i] for i in some])
    assert parts.vectors(TEXTS).tobytes() == whole.vectors(TEXTS).tobytes()


def test_texts_are_embedded_with_others_of_their_length(folder, root, monkeypatch):
    language = cached(folder, root)
    shapes, embed = [], language.model.embed
    monkeypatch.setattr(
        language.model,
        "embed",
        lambda texts, length, rows: shapes.append((len(texts), length, rows)) or embed(texts, length, rows),
    )
    language.embed(TEXTS)
    assert shapes == [(4, 16, 4), (1, 16, 4), (1, 32, 4)], "22 tokens are padded to 32"


def test_no_text_is_padded_beyond_the_limit(tmp_path, root):
    language = cached(save_encoder(tmp_path / "encoder", limit=20), root)
    assert language.embed(["cat " * 30, "dog " * 17]) == 2


OTHERS = {
    "layer": {"layer": 1},
    "pooling": {"pooling": "last"},
    "dtype": {"dtype": "bfloat16"},
    "weights": {"weights": "others"},
    "batch": {"batch": 2},
}


@pytest.mark.parametrize("other", OTHERS)
def test_what_a_vector_depends_on_has_a_collection_of_its_own(folder, root, other):
    first = cached(folder, root)
    first.embed(TEXTS)
    changed = cached(folder, root, **OTHERS[other])
    assert changed.rows.folder != first.rows.folder
    assert changed.embed(TEXTS) == 6


def test_another_kind_has_a_collection_of_its_own(folder, root):
    first = cached(folder, root)
    other = dataclasses.replace(Source("transformers", str(folder)), kind="sentence_transformers")
    assert CachedLanguage(first.model, other, BATCH, root).rows.folder != first.rows.folder


def test_where_the_model_is_makes_no_difference(folder, root, tmp_path):
    cached(folder, root).embed(TEXTS)
    moved = cached(shutil.copytree(folder, tmp_path / "elsewhere"), root)
    assert moved.embed(TEXTS) == 0
    known = dataclasses.replace(Source("transformers", str(folder)), sha256="0" * 64)
    assert CachedLanguage(moved.model, known, BATCH, root).embed(TEXTS) == 0


@pytest.mark.parametrize("part", ["tokenizer", "configuration"])
def test_equal_weights_with_another_tokenizer_or_configuration_share_no_rows(folder, root, tmp_path, part):
    cached(folder, root).embed(TEXTS)
    changed = shutil.copytree(folder, tmp_path / "changed")
    path, old, new = {
        "tokenizer": (changed / "tokenizer.json", '"cat"', '"lion"'),
        "configuration": (changed / "config.json", '"gelu"', '"relu"'),
    }[part]
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    language = cached(changed, root)
    language.embed(TEXTS)
    wanted = F.normalize(language.model.embed(TEXTS, 32, 6), dim=-1)
    np.testing.assert_allclose(language.vectors(TEXTS), wanted.numpy(), atol=1e-3)


@pytest.mark.parametrize("value", [0.0, torch.nan, torch.inf])
def test_a_text_without_a_direction_is_named(folder, root, monkeypatch, value):
    language = cached(folder, root)
    embed = language.model.embed

    def broken(texts, length, rows):
        found = embed(texts, length, rows).clone()
        found[[text == "moon" for text in texts]] = value
        return found

    monkeypatch.setattr(language.model, "embed", broken)
    with pytest.raises(InputError, match="the language model gives no direction for 'moon'"):
        language.embed(TEXTS)
    with pytest.raises(StoreError, match="lacks 1 of 1 rows"):
        cached(folder, root).vectors(["moon"])


def test_what_was_embedded_before_ctrl_c_is_not_embedded_again(folder, root, monkeypatch):
    language = cached(folder, root)
    embed, calls = language.model.embed, []

    def until_the_second(texts, length, rows):
        calls.append(texts)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return embed(texts, length, rows)

    monkeypatch.setattr(language.model, "embed", until_the_second)
    with pytest.raises(KeyboardInterrupt):
        language.embed(TEXTS)
    assert cached(folder, root).embed(TEXTS) == 2, "the first batch of four was complete"
