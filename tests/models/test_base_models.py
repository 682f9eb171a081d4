import json

import open_clip
import pytest
from safetensors.torch import save_file
from tiny_models import config, tiny_clip

from pipeline.artifacts.weights import WrongWeights
from pipeline.clip import towers
from pipeline.models import base_models
from pipeline.params.models import ClipFromDirectory


def base(folder):
    return base_models.clip(ClipFromDirectory(kind="directory", path=str(folder)), folder, seed=0)


def test_a_directory_is_taken_as_it_is(tmp_path):
    tiny_clip().save(tmp_path)
    found, history = base(tmp_path)
    assert (found.weights, history) == (tiny_clip().weights, [])


def test_a_base_may_have_tokens_of_its_own(tmp_path):
    cfg = config()
    cfg["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {"clean": "canonicalize"}
    tiny_clip().save(tmp_path)
    (tmp_path / towers.CONFIG).write_text(json.dumps(cfg))
    assert not base(tmp_path)[0].reads_bpe


def test_a_decoder_of_texts_is_refused_with_the_reason(tmp_path):
    cfg = config()
    text = cfg["model_cfg"]["text_cfg"] | {"embed_cls": True, "output_tokens": True}
    cfg["model_cfg"] |= {"custom_text": True, "text_cfg": text}
    cfg["model_cfg"]["vision_cfg"] = {
        "image_size": 32,
        "patch_size": 16,
        "width": 64,
        "layers": 1,
        "output_tokens": True,
    }
    cfg["model_cfg"]["vision_cfg"] |= {"attentional_pool": True, "attn_pooler_heads": 2}
    cfg["model_cfg"]["multimodal_cfg"] = {"context_length": 16, "width": 16, "heads": 2, "layers": 1}
    model = open_clip.CoCa(**{k: v for k, v in cfg["model_cfg"].items() if k != "custom_text"})
    save_file(model.state_dict(), tmp_path / towers.WEIGHTS)
    (tmp_path / towers.CONFIG).write_text(json.dumps(cfg))
    with pytest.raises(WrongWeights, match=r"no decoder of texts, as CoCa has: .*dclip evaluate --model"):
        base(tmp_path)
