"""Folders of language models that name code, or hold what is not what it should be."""

import builtins
import json
import os
from contextlib import nullcontext

import pytest
import torch
from tiny_language import KINDS, WORDS, opened, save_encoder, save_tokenizer
from transformers import T5Config, T5Model

from pipeline.artifacts.weights import WrongWeights
from pipeline.concepts.language import LanguageModel, Source
from pipeline.errors import InputError


@pytest.fixture
def mark(folder, tmp_path, monkeypatch):
    """What code of the folder would leave behind; and nobody is asked whether it may run."""
    monkeypatch.setattr(builtins, "input", lambda *_: pytest.fail("a question was asked"))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')\nclass Own: pass\n")
    return tmp_path / "mark"


def update(path, **changed):
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | changed))


def modules(folder, *kinds):
    told = [{"idx": i, "name": str(i), "path": "" if i == 0 else str(i), "type": k} for i, k in enumerate(kinds)]
    (folder / "modules.json").write_text(json.dumps(told))


MAPPED = {"AutoConfig": "own.Own", "AutoModel": "own.Own", "AutoTokenizer": ["own.Own", "own.Own"]}
TRUSTING = {
    name: {"trust_remote_code": True} for name in ("model_args", "tokenizer_args", "config_args", "model_kwargs")
}
MODULES = {
    "a module": lambda f: modules(f, "own.Own"),
    "a module of Python": lambda f: modules(f, "os.system"),
    "another of the library": lambda f: modules(f, "sentence_transformers.util.misc.import_from_string"),
    "one that the library imports": lambda f: modules(f, "sentence_transformers.base.sampler.pickle"),
    "modules by name": lambda f: (f / "modules.json").write_text("{}"),
    "a module without a type": lambda f: (f / "modules.json").write_text("[{}]"),
}
CODE = MODULES | {
    "a configuration": lambda f: update(f / "config.json", auto_map=MAPPED, model_type="own"),
    "a tokenizer": lambda f: update(f / "tokenizer_config.json", auto_map=MAPPED, tokenizer_class="Own"),
    "trust": lambda f: (
        update(f / "sentence_bert_config.json", **TRUSTING),
        update(f / "config.json", auto_map=MAPPED, model_type="own"),
    ),
}
NOT_FOLLOWED = {
    "sentence_transformers": {"a tokenizer"},
    "transformers": {"a tokenizer", *MODULES},
}
"""What is not even looked at: transformers takes its own tokenizer for its own model, and reads no modules.json."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CODE)
def test_code_of_a_folder_is_not_run_and_nobody_is_asked(folder, mark, kind, name):
    CODE[name](folder)
    opens = name in NOT_FOLLOWED[kind]
    with nullcontext() if opens else pytest.raises(WrongWeights, match=str(folder)):
        opened(folder, kind)
    assert not mark.exists()


def test_a_pickle_is_not_run(folder, mark):
    class Marking:
        def __reduce__(self):
            return os.system, (f"touch {mark}",)

    (folder / "model.safetensors").unlink()
    torch.save({"weight": Marking()}, folder / "pytorch_model.bin")
    with pytest.raises(WrongWeights, match=str(folder)):
        opened(folder)
    assert not mark.exists()


BROKEN = {
    "a list for a configuration": lambda f: (f / "config.json").write_text("[]"),
    "a deep one": lambda f: (f / "config.json").write_text("[" * 100_000),
    "a word for a number": lambda f: update(f / "config.json", hidden_size="x"),
    "half a tokenizer": lambda f: os.truncate(f / "tokenizer.json", 100),
    "links to nowhere": lambda f: [(path.unlink(), path.symlink_to("nowhere")) for path in list(f.iterdir())],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_refused_with_its_folder(folder, kind, damage):
    damage(folder)
    with pytest.raises(InputError, match=str(folder)):
        LanguageModel(Source(kind, str(folder)), "cpu")


def test_an_encoder_with_a_decoder_is_refused(tmp_path):
    T5Model(
        T5Config(vocab_size=len(WORDS), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    ).save_pretrained(tmp_path)  # fmt: skip
    save_tokenizer(tmp_path, encoder=True)
    with pytest.raises(WrongWeights, match="is an encoder with a decoder"):
        opened(tmp_path)


def test_a_tokenizer_of_another_model_is_refused_where_it_goes_beyond_the_weights(tmp_path):
    model = opened(save_encoder(tmp_path, vocab_size=6))
    assert model.embed(["a cat"], 8, 1).shape == (1, 16)
    with pytest.raises(WrongWeights, match=r"makes token 8 of a caption, its weights are of 6"):
        model.embed(["a star"], 8, 1)
