"""Embeddings of what models are measured on: computed as the base's cached ones are, and found by their keys."""

import numpy as np
import pytest
import torch
from tiny_manifest import write_manifest
from tiny_models import COMPUTE, random_pixels, tiny_clip, unit_rows

from pipeline.artifacts.catalog import EMBEDDED
from pipeline.artifacts.schema import Split
from pipeline.artifacts.workspace import Workspace
from pipeline.clip import encode
from pipeline.evaluation import embeddings
from pipeline.evaluation.embeddings import Images, ModelTables, Texts, captions

SAMPLES = {Split.TEST: {"a-1": ["one a", "one b"], "a-2": ["two"], "a-3": ["three a", "three b", "three c"]}}


@pytest.fixture
def test(tmp_path):
    return write_manifest(tmp_path / "curate", SAMPLES)


@pytest.fixture(params=[True, False], ids=["frozen", "trained"])
def frozen(request):
    return request.param


def tables(ws, clip, manifest, frozen=True, model="student"):
    fingerprint = manifest.fingerprint
    return ModelTables(ws, model, clip, COMPUTE, base="of base", frozen_text=frozen, manifest=fingerprint)


@pytest.mark.parametrize("count", [1, 4, 6])
def test_images_are_embedded_in_batches_and_rounded_to_float16(count):
    clip, pixels = tiny_clip(), random_pixels(count)
    found = embeddings.images(clip, iter(pixels), COMPUTE)
    assert found.dtype == np.float16
    wanted = torch.cat([encode.images(clip, pixels[i : i + 4], COMPUTE) for i in range(0, count, 4)])
    assert np.array_equal(found, wanted.numpy().astype(np.float16))


def test_texts_are_embedded_and_rounded_to_float16():
    clip, strings = tiny_clip(), ["a dog", "a cat", "a dog", "two birds", "rain"]
    found = embeddings.texts(clip, strings, COMPUTE)
    assert np.array_equal(found, encode.texts(clip, strings, COMPUTE).numpy().astype(np.float16))


def test_captions_have_the_key_and_the_place_of_each(test):
    base_embeddings = unit_rows(6, 16).astype(np.float16)
    found = captions(test, base_embeddings, np.array([1, 2, 5]))
    assert list(found.keys) == ["a-1", "a-2", "a-3"]
    assert found.index.tolist() == [1, 0, 2]
    assert list(found.strings) == ["one b", "two", "three c"]
    assert np.array_equal(found.base_embeddings, base_embeddings[[1, 2, 5]])


def test_frozen_texts_are_the_bases_and_trained_ones_the_models(tmp_path, test, frozen):
    clip, base_embeddings = tiny_clip(2), unit_rows(6, 16).astype(np.float16)
    ws = Workspace(tmp_path)
    tables(ws, clip, test, frozen).write("captions", captions(test, base_embeddings, np.arange(6)))
    found = ws.table(EMBEDDED["student", "captions"], test, weights=clip.weights, base="of base")
    wanted = base_embeddings if frozen else embeddings.texts(clip, test.texts, COMPUTE)
    assert np.array_equal(found.rows_of(test.keys), wanted)
    assert found.strings("key") == ["a-1", "a-1", "a-2", "a-3", "a-3", "a-3"]
    assert found.integers("caption_index").tolist() == [0, 1, 0, 0, 1, 2]


def test_images_are_decoded_from_their_files_and_found_by_their_keys(tmp_path, test):
    clip, ws = tiny_clip(), Workspace(tmp_path)
    assert tables(ws, clip, test).write("images", Images(test.keys, test.image_files)) == 3
    found = ws.table(EMBEDDED["student", "images"], test, weights=clip.weights)
    assert found.strings("key") == test.keys
    lengths = np.linalg.norm(found.vectors().astype(np.float32), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=2e-3)


def test_what_belongs_to_no_sample_is_bound_to_no_manifest(tmp_path, test):
    ws = Workspace(tmp_path)
    prompts = Texts(["a red star"], ["a red star"], unit_rows(1, 16).astype(np.float16))
    tables(ws, tiny_clip(), test).write("class_prompts", prompts)
    assert ws.table(EMBEDDED["student", "class_prompts"]).metadata["manifest"] == ""


def test_a_table_that_nothing_asks_for_is_empty(tmp_path, test):
    ws = Workspace(tmp_path)
    assert tables(ws, tiny_clip(), test, model="end_point").write("captions", None) == 0
    assert ws.table(EMBEDDED["end_point", "captions"], test).vectors().shape == (0, 16)
