import io
import json
import os
import re

import open_clip
import pytest
import torch
from open_clip.factory import _MODEL_CONFIGS
from open_clip.pretrained import _PRETRAINED
from tiny_models import COMPUTE, CONFIG, config, picture, random_pixels, tiny_clip

from pipeline.artifacts import shards
from pipeline.artifacts.weights import WrongWeights
from pipeline.clip import encode, towers
from pipeline.errors import InputError
from pipeline.models import teacher_models
from pipeline.params.models import TeacherFromDirectory, TeacherFromOpenClip, TeacherFromSample


def directory(path):
    return TeacherFromDirectory(kind="directory", path=str(path), scale="own")


def fetched(name, pretrained):
    return TeacherFromOpenClip(kind="open_clip", name=name, pretrained=str(pretrained), scale="own")


def sample(**changed):
    settings = {"image_size": 64, "epochs": 2, "batch": 4, "lr": 1e-3, "weight_decay": 0.0, **changed}
    return TeacherFromSample(kind="sample", scale="own", **settings)


@pytest.fixture
def world(tmp_path):
    """A base, and nine pairs of its own."""
    tiny_clip().save(tmp_path / "base")
    records = []
    for i in range(9):
        picture(i).save(stream := io.BytesIO(), "png")
        records.append(shards.record(f"a-{i}", "png", stream.getvalue(), captions=[f"picture {i % 3}"]))
    shards.write(tmp_path / "pairs", records, per_shard=10)
    return tmp_path


def teacher(world, source):
    return teacher_models.clip("wise", source, world / "base", world / "pairs", seed=0, device="cpu")


def test_the_samples_teacher_is_its_base_trained_on_at_more_pixels(world):
    found, history = teacher(world, sample())
    assert (found.image_size, found.dimension, [row["epoch"] for row in history]) == (64, 16, [1, 2])
    assert not found.model.training
    before, after = tiny_clip().model.state_dict(), found.model.state_dict()
    for name in ("visual.conv1.weight", "ln_final.weight", "logit_scale"):
        assert 0 < (after[name] - before[name]).abs().max() < 0.1
    assert teacher(world, sample())[0].weights == found.weights
    found.save(world / "copy")
    assert towers.load(world / "copy").weights == found.weights


def test_at_its_own_size_a_clip_stays_as_it_is():
    clip = tiny_clip()
    assert towers.resized(clip, 32).weights == clip.weights


@pytest.mark.parametrize("tower", ["a ResNet", "a ViT"])
def test_positions_are_interpolated_and_the_first_which_is_no_place_is_kept(tower):
    cfg, name = config(), "visual.attnpool.positional_embedding"
    cfg["model_cfg"]["vision_cfg"]["image_size"] = 64
    if tower == "a ViT":
        cfg["model_cfg"]["vision_cfg"] |= {"layers": 1, "patch_size": 32}
        name = "visual.positional_embedding"
    clip = towers.create(cfg)
    with torch.no_grad():
        rows = clip.model.get_parameter(name)
        rows[:] = 3.0
        rows[0] = 7.0
    found = towers.resized(clip, 128)
    places = found.model.get_parameter(name)
    assert (len(rows), len(places), found.image_size) == (1 + 2 * 2, 1 + 4 * 4, 128)
    torch.testing.assert_close(places[0], torch.full_like(places[0], 7.0))
    torch.testing.assert_close(places[1:], torch.full_like(places[1:], 3.0))
    assert encode.images(found, random_pixels(2).repeat(4, 2).repeat(4, 3), COMPUTE).shape == (2, 16)


def test_a_size_that_no_image_tower_can_have_is_refused(world):
    with pytest.raises(WrongWeights, match=r"teachers\.wise: .*cannot be carried from 32 to 8 pixels"):
        teacher(world, sample(image_size=8))


def test_too_few_pairs_name_the_parameter(world):
    with pytest.raises(InputError, match=r"9 base pairs, and a batch is 10: lower teachers\.wise\.batch"):
        teacher(world, sample(batch=10))


def test_a_teacher_may_have_any_width_and_input(world):
    tiny_clip(embed_dim=24).save(world / "other")
    found, history = teacher(world, directory(world / "other"))
    assert (found.weights, found.dimension, history) == (tiny_clip(embed_dim=24).weights, 24, [])


def remove(folder):
    (folder / towers.WEIGHTS).unlink()


def cut(folder):
    os.truncate(folder / towers.WEIGHTS, 5_000)


def of_another_architecture(folder):
    (folder / towers.CONFIG).write_text(json.dumps(config(embed_dim=8)))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (remove, rf"has no {towers.WEIGHTS}; expected an open_clip local directory"),
        (cut, rf"{towers.WEIGHTS} does not fit {towers.CONFIG}"),
        (of_another_architecture, rf"{towers.WEIGHTS} does not fit {towers.CONFIG}"),
    ],
)
def test_a_damaged_folder_is_named_with_its_teacher(world, damage, said):
    damage(world / "base")
    with pytest.raises(WrongWeights, match=rf"^teachers\.wise: {re.escape(str(world / 'base'))}.*{said}"):
        teacher(world, directory(world / "base"))


def test_a_folder_that_is_not_there_is_named(world):
    with pytest.raises(WrongWeights, match=rf"teachers\.wise: {world / 'nowhere'} has no {towers.CONFIG}"):
        teacher(world, directory(world / "nowhere"))


@pytest.fixture
def small(monkeypatch):
    """An architecture that is built in a moment."""
    monkeypatch.setitem(_MODEL_CONFIGS, "small", CONFIG["model_cfg"])
    monkeypatch.setitem(_PRETRAINED, "small", {"ours": {"hf_hub": "nobody/small/"}})


def test_an_architecture_that_open_clip_does_not_know_is_named(world):
    with pytest.raises(WrongWeights, match=r"teachers\.wise: open_clip has no architecture 'ViT-L-15'"):
        teacher(world, fetched("ViT-L-15", "openai"))


def test_a_tag_that_open_clip_does_not_know_is_refused_with_those_that_it_does(world, small):
    with pytest.raises(WrongWeights, match=r"teachers\.wise: 'laion' is neither a file nor .* of small; tags: ours"):
        teacher(world, fetched("small", "laion"))


def test_a_tag_that_cannot_be_downloaded_is_named(world, small, monkeypatch):
    def offline(*_, **__):
        raise ConnectionError("no way to the hub")

    monkeypatch.setattr(open_clip.factory, "download_pretrained", offline)
    with pytest.raises(WrongWeights, match=r"teachers\.wise: small with ours: these weights cannot.*no way to the hub"):
        teacher(world, fetched("small", "ours"))


def test_half_a_download_is_refused(world, small):
    path = world / "half.safetensors"
    path.write_bytes((world / "base" / towers.WEIGHTS).read_bytes()[:5_000])
    with pytest.raises(WrongWeights, match=r"teachers\.wise: small with .*half\.safetensors: these weights cannot be"):
        teacher(world, fetched("small", path))
