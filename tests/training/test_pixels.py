import io

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from tiny_manifest import write_manifest
from tiny_models import tiny_clip

from pipeline.manifest import Manifest
from pipeline.schema import Split
from pipeline.training.pixels import cached

SAMPLES = {Split.TRAIN: {"mscoco-1": ["a"], "mscoco-2": ["b"]}, Split.VAL: {"mscoco-3": ["c"]}}


@pytest.fixture(scope="module")
def clip():
    return tiny_clip()


@pytest.fixture
def manifest(tmp_path):
    return write_manifest(tmp_path / "curate", SAMPLES)


def test_pixels_are_those_of_open_clips_own_preprocessing(clip, manifest, tmp_path):
    clip.save(tmp_path / "clip")
    _, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'clip'}")
    rows = cached(clip, manifest, tmp_path / "cache")
    assert (rows.shape, rows.dtype) == ((3, 3, 32, 32), np.uint8)
    for row, (_, data) in zip(rows, manifest.images("read"), strict=True):
        wanted = preprocess(Image.open(io.BytesIO(data)))
        torch.testing.assert_close(clip.normalise(torch.from_numpy(row.copy())[None])[0], wanted)


def test_rows_stand_in_manifest_order_for_the_wanted_splits(clip, manifest, tmp_path):
    everything = cached(clip, manifest, tmp_path / "cache")
    validation = cached(clip, Manifest(manifest.folder, (Split.VAL,)), tmp_path / "cache")
    assert not np.array_equal(everything[0], everything[1])
    assert np.array_equal(validation, everything[2:])


def test_pictures_are_decoded_once(clip, manifest, tmp_path, monkeypatch):
    first = np.array(cached(clip, manifest, tmp_path / "cache"))
    monkeypatch.setattr(Manifest, "images", None)
    assert np.array_equal(cached(clip, manifest, tmp_path / "cache"), first)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_the_rows_are_mapped_and_cannot_be_changed(clip, manifest, tmp_path):
    rows = cached(clip, manifest, tmp_path / "cache")
    assert isinstance(rows, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        rows[0] = 0


def test_another_manifest_or_split_or_preprocessing_is_another_file(clip, manifest, tmp_path):
    folder = tmp_path / "cache"
    cached(clip, manifest, folder)
    cached(clip, Manifest(manifest.folder, (Split.TRAIN,)), folder)
    assert len(list(folder.iterdir())) == 2
    other = {Split.TRAIN: {"mscoco-1": ["another caption"], "mscoco-2": ["b"]}, Split.VAL: {"mscoco-3": ["c"]}}
    cached(clip, write_manifest(tmp_path / "other", other), folder)
    assert len(list(folder.iterdir())) == 3
    squashed = tiny_clip()
    squashed.config = {**clip.config, "preprocess_cfg": {**clip.config["preprocess_cfg"], "resize_mode": "squash"}}
    rows = cached(squashed, manifest, folder)
    assert len(list(folder.iterdir())) == 4
    assert not np.array_equal(rows, cached(clip, manifest, folder))


def test_a_kill_while_decoding_leaves_no_file(clip, manifest, tmp_path, monkeypatch):
    pictures = list(manifest.images("read"))

    def killed(self, what):
        yield pictures[0]
        raise KeyboardInterrupt

    monkeypatch.setattr(Manifest, "images", killed)
    with pytest.raises(KeyboardInterrupt):
        cached(clip, manifest, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
