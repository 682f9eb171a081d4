"""A model reads texts by its own tokenizer, which for some of open_clip's is one of transformers."""

import open_clip
import pytest
import torch
from tiny_models import COMPUTE, config, save_worded_clip, tiny_clip

from pipeline.artifacts.weights import WrongWeights
from pipeline.clip import encode
from pipeline.clip.cached import CachedClip
from pipeline.clip.towers import architecture, create, load
from pipeline.distillation.student import start
from pipeline.errors import InputError


@pytest.fixture
def folder(tmp_path):
    """A CLIP whose configuration names another tokenizer, which lies beside it."""
    save_worded_clip(tmp_path)
    return tmp_path


def named(cfg):
    cfg["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "somebody/words"
    return cfg


def test_texts_are_read_by_the_tokenizer_that_lies_beside_the_model(folder):
    tokens = load(folder).tokenize(["a red cat", "zebra"])
    assert tokens.tolist() == [[2, 5, 3] + [0] * 13, [1] + [0] * 15]


def test_a_saved_copy_and_a_student_read_as_the_model_does(folder, tmp_path):
    clip = load(folder)
    load(folder).save(tmp_path / "again")
    again = load(tmp_path / "again")
    theirs = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'again'}")
    for reads in (again.tokenize, start("base", clip, seed=0).tokenize, theirs):
        assert torch.equal(reads(["a dog", "red star"]), clip.tokenize(["a dog", "red star"]))


def test_embeddings_are_those_of_its_tokens(folder):
    clip = load(folder)
    with torch.inference_mode():
        raw = clip.model.encode_text(torch.tensor([[2, 3] + [0] * 14]))
    expected = torch.nn.functional.normalize(raw, dim=-1)
    torch.testing.assert_close(encode.texts(clip, ["a cat"], COMPUTE), expected)


def test_without_its_tokenizer_a_model_is_refused(folder):
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(WrongWeights, match="no tokenizer that can be read"):
        load(folder)


def test_only_clips_own_tokens_have_features(folder):
    assert tiny_clip().reads_bpe
    assert not load(folder).reads_bpe
    with pytest.raises(InputError, match=r"take tokens out of features\.spans"):
        encode.texts_with_tokens(load(folder), ["a"], COMPUTE)


def test_a_new_model_has_clips_tokens():
    with pytest.raises(WrongWeights, match="as somebody/words does"):
        create(named(config()))
    with pytest.raises(WrongWeights, match="as timm/ViT-B-16-SigLIP2 does"):
        create(architecture("ViT-B-16-SigLIP2"))


def test_a_text_tower_with_a_class_token_has_no_token_features():
    cfg = config()
    cfg["model_cfg"] |= {"custom_text": True}
    cfg["model_cfg"]["text_cfg"] |= {"embed_cls": True, "pad_id": 0}
    with pytest.raises(InputError, match="without a class token"):
        encode.check_tokens(create(cfg))


def test_texts_that_another_tokenizer_read_are_other_rows_of_the_store(folder, tmp_path):
    def collection():
        clip = load(folder)
        clip.tokenize(["a cat"])  # which leaves its length and padding in the tokenizer
        return CachedClip(clip, COMPUTE, tmp_path / "store").texts.folder

    before = collection()
    assert collection() == before
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace('"cat"', '"cow"'))
    assert collection() != before
