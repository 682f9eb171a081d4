import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import CONFIG, config, picture, random_pixels, tiny_clip

from pipeline.artifacts.weights import WrongWeights
from pipeline.clip.towers import CONFIG as CONFIG_FILE
from pipeline.clip.towers import WEIGHTS, architecture, create, fetch, load


@pytest.fixture
def saved(tmp_path):
    clip = tiny_clip()
    clip.save(tmp_path)
    return clip, tmp_path


def embeddings(model, clip):
    with torch.inference_mode():
        pixels = clip.normalise(torch.from_numpy(random_pixels(3)))
        return model.encode_image(pixels), model.encode_text(clip.tokenize(["a cat", "two red stars"]))


def test_open_clip_loads_what_was_saved_with_the_same_embeddings(saved):
    clip, folder = saved
    theirs = open_clip.create_model(f"local-dir:{folder}").eval()
    theirs = theirs.to(memory_format=torch.channels_last)  # another layout of convolutions rounds differently
    for a, b in zip(embeddings(theirs, clip), embeddings(clip.model, clip), strict=True):
        assert torch.equal(a, b)


def test_a_saved_clip_loads_with_its_weights_and_configuration(saved):
    clip, folder = saved
    again = load(folder)
    assert again.weights == clip.weights
    assert again.config == clip.config
    assert not again.model.training
    for a, b in zip(embeddings(again.model, clip), embeddings(clip.model, clip), strict=True):
        assert torch.equal(a, b)


def test_saving_twice_gives_equal_files(saved, tmp_path):
    _, folder = saved
    load(folder).save(tmp_path / "again")
    for name in (CONFIG_FILE, WEIGHTS):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_its_properties_are_those_of_the_configuration():
    clip = tiny_clip()
    assert (clip.dimension, clip.image_size, clip.context_length) == (16, 32, 16)
    assert clip.tokenize(["a " * 100]).shape == (1, 16)


def test_a_configuration_without_context_length_means_77():
    cfg = config()
    del cfg["model_cfg"]["text_cfg"]["context_length"]
    assert create(cfg).tokenize(["a"]).shape == (1, 77)


def test_one_changed_weight_is_another_clip():
    one, other = tiny_clip(), tiny_clip()
    assert one.weights == other.weights
    with torch.no_grad():
        other.model.visual.conv1.weight[0, 0, 0, 0] += 1e-3
    assert one.weights != other.weights


@pytest.mark.parametrize("name", [CONFIG_FILE, WEIGHTS])
def test_a_missing_file_is_named(saved, name):
    _, folder = saved
    (folder / name).unlink()
    with pytest.raises(WrongWeights, match=f"has no {name}"):
        load(folder)


def test_weights_of_another_width_are_refused(saved):
    _, folder = saved
    (folder / CONFIG_FILE).write_text(json.dumps(config(embed_dim=8)))
    with pytest.raises(WrongWeights, match=f"{WEIGHTS} does not fit {CONFIG_FILE}"):
        load(folder)


@pytest.mark.parametrize("change", ["one tensor too few", "one tensor too many"])
def test_weights_are_loaded_strictly(saved, change):
    _, folder = saved
    state = load_file(folder / WEIGHTS)
    if change == "one tensor too few":
        del state["ln_final.weight"]
    else:
        state["ln_final.other"] = torch.zeros(1)
    save_file(state, folder / WEIGHTS)
    with pytest.raises(WrongWeights, match=r"ln_final\.(weight|other)"):
        load(folder)


def test_half_a_weights_file_is_refused(saved):
    _, folder = saved
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WrongWeights, match=WEIGHTS):
        load(folder)


@pytest.mark.parametrize("mode", [{}, {"resize_mode": "squash"}, {"resize_mode": "longest"}])
@pytest.mark.parametrize("size", [(48, 40), (20, 90), (32, 32), (17, 16)])
def test_pixels_and_normalise_are_open_clips_own_transform(tmp_path, mode, size):
    clip = tiny_clip()
    clip.config = {**CONFIG, "preprocess_cfg": {**CONFIG["preprocess_cfg"], **mode}}
    clip.save(tmp_path)
    _, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}")
    image = picture(1, *size)
    pixels = clip.pixels()(image)
    assert (pixels.shape, pixels.dtype) == ((3, 32, 32), np.uint8)
    torch.testing.assert_close(clip.normalise(torch.from_numpy(pixels)[None])[0], preprocess(image))


def test_normalise_by_hand():
    white = torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)
    found = tiny_clip().normalise(white).flatten().tolist()
    assert found == pytest.approx([(1 - 0.5) / 0.25, (1 - 0.4) / 0.2, (1 - 0.3) / 0.3])


@pytest.mark.parametrize("wrapped", [True, False])
def test_an_architecture_may_be_a_json_file_of_either_form(tmp_path, wrapped):
    path = tmp_path / "narrow.json"
    path.write_text(json.dumps(CONFIG if wrapped else CONFIG["model_cfg"]))
    found = architecture(str(path))
    assert found["model_cfg"] == CONFIG["model_cfg"]
    clips_own = [0.48145466, 0.4578275, 0.40821073]
    assert found["preprocess_cfg"]["mean"] == (CONFIG["preprocess_cfg"]["mean"] if wrapped else clips_own)


def test_an_architecture_may_be_one_of_open_clips():
    assert architecture("ViT-B-32")["model_cfg"]["embed_dim"] == 512


def test_an_unknown_architecture_is_refused():
    with pytest.raises(WrongWeights, match="no architecture 'ViT-B-33'"):
        architecture("ViT-B-33")
    with pytest.raises(WrongWeights, match="no architecture 'ViT-B-33'"):
        fetch("ViT-B-33", "openai")


def test_an_unknown_pretrained_tag_is_refused_with_the_known_ones():
    with pytest.raises(WrongWeights, match=r"'nobody' is neither a file nor a pretrained tag.*openai"):
        fetch("ViT-B-32", "nobody")


def test_an_architecture_to_fetch_is_one_of_open_clips(tmp_path):
    (tmp_path / "narrow.json").write_text(json.dumps(CONFIG))
    with pytest.raises(WrongWeights, match=r"no architecture '.*narrow\.json'; see open_clip\.list_models"):
        fetch(str(tmp_path / "narrow.json"), "openai")


@pytest.mark.parametrize(
    ("name", "content"),
    [("w.pt", b""), ("w.pt", b"\x89PNG\r\n"), ("w.safetensors", b"version https://git-lfs"), ("w.safetensors", b"")],
)
def test_what_is_no_weights_file_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WrongWeights, match=rf"ViT-B-32 with .*{name}: ."):
        fetch("ViT-B-32", str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "tag", "quick"),
    [
        ("ViT-B-32", "openai", True), ("ViT-B-32", "metaclip_400m", True), ("ViT-B-32-quickgelu", "openai", True),
        ("ViT-B-32", "laion2b_s34b_b79k", False),
    ],
)  # fmt: skip
def test_weights_run_with_the_activation_that_they_were_trained_with(monkeypatch, name, tag, quick):
    asked = {}

    def made(name, **options):
        asked.update(options)
        return tiny_clip().model, None, None

    monkeypatch.setattr(open_clip, "create_model_and_transforms", made)
    monkeypatch.setattr(open_clip, "get_model_preprocess_cfg", lambda model: CONFIG["preprocess_cfg"])
    config = fetch(name, tag).config["model_cfg"]
    assert (asked["force_quick_gelu"], bool(config.get("quick_gelu"))) == (quick, quick)


def test_a_decoder_of_texts_is_not_trained():
    with pytest.raises(WrongWeights, match="a decoder of texts"):
        create(architecture("coca_ViT-B-32"))


@pytest.mark.parametrize("schema", ["local-dir:", "hf-hub:", "other:"])
def test_a_folder_or_a_name_of_the_hub_is_no_architecture(saved, schema):
    """open_clip would open it itself, unchecked, and pass over the weights file that is given."""
    _, folder = saved
    for make in (architecture, lambda name: fetch(name, str(folder / WEIGHTS))):
        with pytest.raises(WrongWeights, match=r"no architecture .*kind: directory"):
            make(f"{schema}{folder}")


@pytest.mark.parametrize("content", ["5", "null", "true", "[]", '"model_cfg"'])
def test_an_architecture_of_a_file_without_settings_is_refused(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(WrongWeights, match=r"x\.json has no model_cfg"):
        architecture(str(tmp_path / "x.json"))


def test_a_name_too_long_for_a_file_is_refused():
    with pytest.raises(WrongWeights, match="has no open_clip_config"):
        load(Path("x" * 300))
    with pytest.raises(WrongWeights, match="neither a file nor a pretrained tag"):
        fetch("ViT-B-32", "x" * 300)


@pytest.mark.parametrize(
    ("section", "setting"),
    [("vision_cfg", {"output_tokens": True}), ("text_cfg", {"pool_type": "none"})],
)
def test_towers_that_make_something_else_than_a_vector_are_refused(tmp_path, section, setting):
    made, folder = config(), tmp_path
    made["model_cfg"]["vision_cfg"] |= {"layers": 1, "patch_size": 16}
    create(made).save(folder)
    made["model_cfg"][section] |= setting
    (folder / CONFIG_FILE).write_text(json.dumps(made))
    with pytest.raises(WrongWeights, match="expected one vector"):
        load(folder)
    with pytest.raises(WrongWeights, match="expected one vector"):
        create(made)
