"""Folders and files from anywhere: nothing in them is run, nothing is asked, and what is broken ends in a sentence."""

import builtins
import json
import os
import struct
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from tiny_models import CONFIG as MODEL
from tiny_models import config, tiny_clip

from pipeline.artifacts.weights import WrongWeights
from pipeline.clip import towers
from pipeline.clip.towers import CONFIG, WEIGHTS, fetch, load
from pipeline.errors import InputError

MARKING = "open({mark!r}, 'w').write('run')\nfrom transformers import PreTrainedTokenizerFast as {name}\n"


@pytest.fixture
def folder(tmp_path):
    tiny_clip().save(tmp_path / "clip")
    return tmp_path / "clip"


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch):
    monkeypatch.setattr(builtins, "input", lambda *_: pytest.fail("a question was asked"))


def put(folder, text, **of_text):
    """A model with settings of its text tower, and other files as JSON or code."""
    made = config()
    made["model_cfg"]["text_cfg"] |= of_text
    (folder / CONFIG).write_text(json.dumps(made))
    for name, content in text.items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.mark.parametrize(
    "trusting", [{}, {"tokenizer_kwargs": {"trust_remote_code": True}}], ids=["silent", "trusting"]
)
def test_a_tokenizer_of_the_folder_is_not_run(folder, tmp_path, trusting):
    mark = tmp_path / "mark"
    put(
        folder,
        {
            "own.py": MARKING.format(mark=str(mark), name="Own"),
            "tokenizer_config.json": {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", "own.Own"]}},
            "config.json": {"model_type": "bert"},
        },
        hf_tokenizer_name="clip", **trusting,
    )  # fmt: skip
    with pytest.raises(WrongWeights, match=str(folder)):
        load(folder)
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["own", "bert"])
def test_a_text_tower_of_a_folder_is_not_run(folder, tmp_path, kind):
    mark = tmp_path / "mark"
    mapped = {"model_type": kind, "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Own"}}
    put(
        folder,
        {"own.py": MARKING.format(mark=str(mark), name="Own"), "config.json": mapped},
        hf_model_name=str(folder), hf_pooler_type="cls_pooler",
    )  # fmt: skip
    with pytest.raises(WrongWeights, match=str(folder)):
        load(folder)
    assert not mark.exists()


def header(folder):
    content = (folder / WEIGHTS).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def rewritten(folder, change):
    described, data = header(folder)
    change(described)
    text = json.dumps(described).encode()
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + data)


def dangle(folder):
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to("nowhere")


BROKEN = {
    "empty": lambda f: (f / WEIGHTS).write_bytes(b""),
    "endless header": lambda f: (f / WEIGHTS).write_bytes(struct.pack("<Q", 2**63) + bytes(100)),
    "deep header": lambda f: (f / WEIGHTS).write_bytes(struct.pack("<Q", 40_000) + b'{"a":' * 8_000),
    "cut": lambda f: os.truncate(f / WEIGHTS, 5_000),
    "beyond its end": lambda f: rewritten(f, lambda d: d["ln_final.weight"].update(data_offsets=[0, 10**12])),
    "negative shape": lambda f: rewritten(f, lambda d: d["ln_final.weight"].update(shape=[-1])),
    "unknown numbers": lambda f: rewritten(f, lambda d: d["ln_final.weight"].update(dtype="X9")),
    "no tensors": lambda f: save_file({}, f / WEIGHTS),
    "a link to nowhere": dangle,
    "a folder": lambda f: ((f / WEIGHTS).unlink(), (f / WEIGHTS).mkdir()),
}


@pytest.mark.parametrize("damage", BROKEN.values(), ids=BROKEN)
def test_broken_weights_are_refused_with_their_name(folder, damage):
    damage(folder)
    with pytest.raises(WrongWeights, match=f"{folder}.*{WEIGHTS}"):
        load(folder)


def test_a_model_with_fewer_tokens_than_its_tokenizer_makes_is_refused(tmp_path):
    made = config()
    made["model_cfg"]["text_cfg"]["vocab_size"] = 1_000
    model = open_clip.CLIP(**made["model_cfg"])
    save_file(model.state_dict(), tmp_path / WEIGHTS)
    (tmp_path / CONFIG).write_text(json.dumps(made))
    with pytest.raises(WrongWeights, match=r"makes token 49,407 of a text, the model has 1,000"):
        load(tmp_path)


@pytest.fixture
def small(monkeypatch):
    """An architecture that is built in a moment, published with other settings."""
    published = {
        "ours": {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)},
        "grey": {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "resize_mode": "squash"},
        "quick": {"quick_gelu": True},
    }  # fmt: skip
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "small", MODEL["model_cfg"])
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "small", published)
    return published


def evil(path):
    class Marking:
        def __reduce__(self):
            return Path.touch, (path.with_name("mark"),)

    return Marking()


FILES = {
    "nothing": ("w.pt", {}),
    "a list": ("w.pt", [1, 2]),
    "no state": ("w.pt", {"state_dict": 5}),
    "numbers for names": ("w.pt", {1: torch.zeros(1)}),
    "code": ("w.pt", evil),
    "code in an array": ("w.npy", evil),
    "no tensors": ("w.safetensors", None),
}


@pytest.mark.parametrize(("name", "content"), FILES.values(), ids=FILES)
def test_a_file_that_holds_no_model_is_refused(small, tmp_path, name, content):
    path = tmp_path / name
    content = content(path) if content is evil else content
    if name.endswith(".pt"):
        torch.save(content, path)
    elif name.endswith(".npy"):
        np.save(path, np.array([content], dtype=object))
    else:
        save_file({}, path)
    with pytest.raises(WrongWeights, match=rf"small with .*{name}: these weights cannot be loaded \(."):
        fetch("small", str(path))
    assert not (tmp_path / "mark").exists()


def test_what_is_assumed_of_a_file_is_said_where_published_weights_are_read_otherwise(small, tmp_path, capsys):
    path = tmp_path / "w.pt"
    torch.save(tiny_clip().model.state_dict(), path)
    clip = fetch("small", str(path))
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    for part in (
        str(path), "interpolation bicubic", "resize_mode shortest", "quick_gelu False",
        "grey: mean [0.5, 0.5, 0.5], std [0.5, 0.5, 0.5], resize_mode squash", "quick: quick_gelu True",
    ):  # fmt: skip
        assert part in said
    assert "ours" not in said
    assert clip.config["preprocess_cfg"]["mean"] == list(small["ours"]["mean"])
    small.pop("grey"), small.pop("quick")
    fetch("small", str(path))
    assert capsys.readouterr().err == ""


def test_an_architecture_that_lies_nowhere_is_refused(tmp_path):
    (tmp_path / "a.json").symlink_to("nowhere.json")
    with pytest.raises(InputError, match=r"there is no file .*a\.json, which links to nowhere\.json"):
        towers.architecture(str(tmp_path / "a.json"))
