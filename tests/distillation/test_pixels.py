import io

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from tiny_manifest import write_manifest
from tiny_models import tiny_clip

from pipeline.artifacts import shards
from pipeline.artifacts.manifest import Manifest
from pipeline.artifacts.schema import Split
from pipeline.artifacts.tables import ContractError
from pipeline.clip import towers
from pipeline.distillation.pixels import Decoded, cached, check
from pipeline.errors import Damaged
from pipeline.images import decoding
from pipeline.machine.ahead import ahead

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


@pytest.mark.parametrize("module", [decoding, towers])
def test_another_code_is_another_file(clip, manifest, tmp_path, monkeypatch, module):
    cached(clip, manifest, tmp_path / "cache")
    monkeypatch.setattr(module, "CODE", "raised")
    cached(clip, manifest, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_kill_while_decoding_leaves_no_file(clip, manifest, tmp_path, monkeypatch):
    pictures = list(manifest.images("read"))

    def killed(self, what):
        yield pictures[0]
        raise KeyboardInterrupt

    monkeypatch.setattr(Manifest, "images", killed)
    with pytest.raises(KeyboardInterrupt):
        cached(clip, manifest, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_pictures_decoded_when_they_are_read_are_those_that_are_cached(clip, manifest, tmp_path):
    wanted, found = cached(clip, manifest, tmp_path / "cache"), Decoded(clip, manifest)
    assert len(found) == len(wanted) == 3
    for rows in ([0, 1, 2], [2, 0], [1], [1, 1, 0]):
        rows = np.array(rows)
        assert (found[rows].dtype, found[rows].shape) == (np.uint8, (len(rows), 3, 32, 32))
        assert np.array_equal(found[rows], wanted[rows])


def test_pictures_decoded_when_they_are_read_take_no_disk_space(clip, manifest, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    Decoded(clip, manifest)[np.arange(3)]
    assert sorted(tmp_path.rglob("*")) == before


def test_threads_may_decode_at_the_same_time(clip, manifest, tmp_path):
    wanted, found = cached(clip, manifest, tmp_path / "cache"), Decoded(clip, manifest)
    rows = [np.random.default_rng(i).integers(0, 3, 2) for i in range(20)]
    for own, pixels in zip(rows, ahead(found.__getitem__, rows, threads=4, depth=8), strict=True):
        assert np.array_equal(pixels, wanted[own])


def test_a_manifest_without_pictures_has_none(clip, manifest):
    assert len(Decoded(clip, Manifest(manifest.folder, (Split.TEST,)))) == 0


def test_a_picture_that_is_gone_is_found_out_before_training(clip, manifest):
    key, data, _ = next(shards.read(manifest.folder / "train"))
    shards.write(manifest.folder / "train", [shards.record(key, "png", data)], per_shard=5)
    with pytest.raises(ContractError, match="has no image of mscoco-2"):
        Decoded(clip, manifest)


def test_a_picture_of_other_bytes_is_an_error_when_it_is_read(clip, manifest):
    first, second = shards.read(manifest.folder / "train")
    samples = [shards.record(key, "png", data) for key, data in ((first[0], first[1]), (second[0], second[1][::-1]))]
    shards.write(manifest.folder / "train", samples, per_shard=5)
    found = Decoded(clip, manifest)
    assert len(found[np.array([2, 0])]) == 2
    with pytest.raises(ContractError, match="the image of mscoco-2 has sha256"):
        found[np.array([0, 1])]


DAMAGES = {
    "cut": lambda content: content[: len(content) // 2],
    "header alone": lambda content: content[:128],
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "longer": lambda content: content + b"\0",
    "no array": lambda content: b"<html>",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_pixels_are_set_aside_and_named_and_decoded_again(clip, manifest, tmp_path, caplog, damage):
    wanted = np.array(cached(clip, manifest, tmp_path / "cache"))
    (path,) = (tmp_path / "cache").iterdir()
    whole = path.read_bytes()
    path.write_bytes(DAMAGES[damage](whole))
    assert np.array_equal(cached(clip, manifest, tmp_path / "cache"), wanted)
    assert path.read_bytes() == whole
    assert path.with_suffix(".damaged").read_bytes() == DAMAGES[damage](whole)
    assert str(path) in caplog.text and f"it is now {path.stem}.damaged" in caplog.text


def test_no_flipped_bit_of_pixels_is_taken(clip, manifest, tmp_path):
    cached(clip, manifest, tmp_path / "cache")
    (path,) = (tmp_path / "cache").iterdir()
    whole = path.read_bytes()
    for place in np.random.default_rng(0).integers(0, 8 * len(whole), 60).tolist():
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        with pytest.raises(Damaged):
            check(path)


def test_whole_pixels_of_another_source_are_not_taken(clip, manifest, tmp_path, caplog):
    wanted = np.array(cached(clip, manifest, tmp_path / "cache"))
    (path,) = (tmp_path / "cache").iterdir()
    cached(clip, Manifest(manifest.folder, (Split.TRAIN,)), tmp_path / "cache")
    (other,) = set((tmp_path / "cache").iterdir()) - {path}
    path.write_bytes(other.read_bytes())
    assert np.array_equal(cached(clip, manifest, tmp_path / "cache"), wanted)
    assert "it is now" in caplog.text
