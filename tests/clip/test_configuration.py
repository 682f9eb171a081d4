"""Configurations from anywhere: what open_clip knows is let through, all else ends in a sentence."""

import json

import open_clip
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_models import config, picture, tiny_clip

from pipeline.artifacts.weights import WrongWeights
from pipeline.clip import configuration
from pipeline.clip.towers import CONFIG, WEIGHTS, create, load
from pipeline.errors import InputError


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    tiny_clip().save(folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    """The model's weights; a test writes the configuration."""
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / WEIGHTS).symlink_to(whole / WEIGHTS)
    return tmp_path / "clip"


def configured(folder, changed):
    (folder / CONFIG).write_text(changed if isinstance(changed, str) else json.dumps(changed))
    return folder


def changed(path, value):
    made = config()
    at = made
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = value
    return made


def paths(value, path=()):
    """Every place of a configuration."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in inner:
        yield from paths(part, (*path, name))


def test_every_architecture_of_open_clip_is_let_through():
    for name in open_clip.list_models():
        configuration.checked({"model_cfg": open_clip.get_model_config(name)}, name)


PREPROCESSED = {
    "none": None,
    "size and mode": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2], "size": [48, 48], "mode": "RGB"},
    "a key that open_clip skips": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2], "crop_pct": 0.9},
    "one number": {"mean": 0.5, "std": 0.25},
    "a list of one": {"mean": [0.5], "std": [0.25]},
    "no mean": {"std": [0.2, 0.3, 0.2], "interpolation": None},
    "zero, which open_clip takes for none": {"mean": 0, "std": 0.5},
    "squashed": {"resize_mode": "squash", "interpolation": "bilinear"},
    "filled": {"resize_mode": "longest", "fill_color": 127},
}


def read_alike(clip, folder):
    """Whether a CLIP reads images as open_clip does with the model in a folder."""
    _, _, theirs = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    for image in (picture(1, 48, 40), picture(2, 20, 90)):
        read = clip.normalise(torch.from_numpy(clip.pixels()(image))[None])[0]
        torch.testing.assert_close(read, theirs(image))


@pytest.mark.parametrize("preprocess", PREPROCESSED.values(), ids=PREPROCESSED)
def test_pictures_are_read_as_open_clip_reads_them_also_when_saved_again(folder, tmp_path, preprocess):
    made = {**config(), "preprocess_cfg": preprocess}
    if preprocess is None:
        del made["preprocess_cfg"]
    clip = load(configured(folder, made))
    clip.save(tmp_path / "again")
    read_alike(clip, folder)
    read_alike(clip, tmp_path / "again")


def test_an_image_size_may_be_a_list_of_two(tmp_path):
    made = config()
    made["model_cfg"]["vision_cfg"] |= {"layers": 1, "patch_size": 16, "image_size": [32, 32]}
    create(made).save(tmp_path)
    clip = load(tmp_path)
    assert clip.image_size == 32
    read_alike(clip, tmp_path)


REFUSED = {
    "a number": 5,
    "a list": [],
    "no model": {"preprocess_cfg": {}},
    "model is a list": changed(["model_cfg"], []),
    "an oblong": changed(["model_cfg", "vision_cfg", "image_size"], [32, 48]),
    "no pixels": changed(["model_cfg", "vision_cfg", "image_size"], 0),
    "more layers than time": changed(["model_cfg", "vision_cfg", "layers"], 10**9),
    "a list of them": changed(["model_cfg", "vision_cfg", "layers"], [1, 1, 1, 10**9]),
    "more width than memory": changed(["model_cfg", "text_cfg", "width"], 2**19),
    "more than there are weights": changed(["model_cfg", "embed_dim"], 2**18),
    "a number beyond float": changed(["model_cfg", "embed_dim"], 10**400),
    "a setting of next year": changed(["model_cfg", "text_cfg", "rotary"], True),
    "a model of a hub": changed(["model_cfg", "vision_cfg", "timm_model_name"], "hf-hub:nobody/nothing"),
    "a model of a folder": changed(["model_cfg", "vision_cfg", "timm_model_name"], "local-dir:/tmp"),
    "no model of timm": changed(["model_cfg", "vision_cfg", "timm_model_name"], "vit_of_next_year"),
    "tokens drawn at random": changed(["model_cfg", "text_cfg", "tokenizer_kwargs"], {"reduction_mask": "random"}),
    "another file of tokens": changed(["model_cfg", "text_cfg", "tokenizer_kwargs"], {"bpe_path": "/etc/passwd"}),
    "code": changed(["model_cfg", "text_cfg", "tokenizer_kwargs"], {"trust_remote_code": True}),
    "unknown cleaning": changed(["model_cfg", "text_cfg", "tokenizer_kwargs"], {"clean": "not at all"}),
    "a deviation of nothing": changed(["preprocess_cfg", "std"], [0.0, 0.2, 0.2]),
    "two channels": changed(["preprocess_cfg", "mean"], [0.5, 0.5]),
    "a word for a mean": changed(["preprocess_cfg", "mean"], "grey"),
    "unknown resizing": changed(["preprocess_cfg", "resize_mode"], "crop"),
    "unknown interpolation": changed(["preprocess_cfg", "interpolation"], "lanczos"),
    "a word for a colour": {**config(), "preprocess_cfg": {"resize_mode": "longest", "fill_color": "no colour"}},
    "another mode": changed(["preprocess_cfg", "mode"], "CMYK"),
    "half a file": '{"model_cfg": {',
    "nothing": "",
    "depth": "[" * 100_000,
    "deep settings": '{"model_cfg": ' * 2_000 + "1" + "}" * 2_000,
    "depth that can just be read": '{"model_cfg": {"text_cfg": {"act_kwargs": ' + '{"a":' * 900 + "1" + "}" * 903,
    "digits": '{"model_cfg": ' + "9" * 5_000 + "}",
}


@pytest.mark.parametrize("given", REFUSED.values(), ids=REFUSED)
def test_what_is_no_configuration_of_these_weights_is_refused_with_its_name(folder, given):
    with pytest.raises(InputError, match=str(folder)):
        load(configured(folder, given))


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(sorted(paths(config()), key=str)),
    st.sampled_from([None, True, "x", "", -1, 0, 1.5, 3, 2**20, [], [1], [3, 3], {}, {"a": 1}, float("nan")]),
)
def test_any_value_anywhere_loads_or_is_refused(folder, path, value):
    try:
        load(configured(folder, changed(path, value)))
    except InputError as error:
        assert str(folder) in str(error)


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("mode", "L", "RGB"), ("mode", 5, "RGB"), ("interpolation", "nearest", "bicubic or bilinear"),
        ("resize_mode", "foo", "shortest or longest or squash"), ("resize_mode", ["squash"], "shortest or"),
    ],
)  # fmt: skip
def test_unknown_ways_to_read_pictures_are_said_with_those_there_are(folder, setting, value, expected):
    with pytest.raises(WrongWeights) as caught:
        load(configured(folder, changed(["preprocess_cfg", setting], value)))
    assert f"preprocess_cfg.{setting} is {value!r}; expected {expected}" in str(caught.value)


def test_a_new_architecture_that_cannot_be_built_is_refused():
    with pytest.raises(WrongWeights, match="cannot build this architecture"):
        create(changed(["model_cfg", "text_cfg", "heads"], 0))
