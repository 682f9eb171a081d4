import json

import pytest
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


def test_a_base_reads_clips_tokens(tmp_path, monkeypatch):
    cfg = config()
    cfg["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {"clean": "canonicalize"}
    tiny_clip().save(tmp_path)
    (tmp_path / towers.CONFIG).write_text(json.dumps(cfg))
    with pytest.raises(WrongWeights, match=r"CLIP's own tokens.*dclip evaluate --model"):
        base(tmp_path)
