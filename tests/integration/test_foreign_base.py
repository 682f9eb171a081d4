"""A base as SigLIPs are: a timm image tower, a tokenizer of its own, a bias, a scale above 100, the sigmoid loss."""

import copy
import json
import math
import re

import open_clip
import pytest
import torch
from tiny_world import execute, linked
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pipeline.artifacts import catalog, weights
from pipeline.artifacts.schema import SpanKind
from pipeline.artifacts.workspace import Workspace
from pipeline.clip import towers
from pipeline.disk import files
from pipeline.errors import InputError

STAGES = ("features", "teacher", "targets", "concepts", "student", "embed")
CONTEXT = 12
CONFIG = {
    "model_cfg": {
        "embed_dim": 64,
        "custom_text": True,
        "init_logit_bias": -10,
        "init_logit_scale": math.log(117),
        "vision_cfg": {"image_size": 32, "timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none"},
        "text_cfg": {
            "context_length": CONTEXT, "vocab_size": 500, "width": 16, "heads": 2, "layers": 1,
            "no_causal_mask": True, "proj_bias": True, "pool_type": "last",
            "hf_tokenizer_name": "somebody/words",
        },
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "resize_mode": "squash"},
}  # fmt: skip


def foreign(folder, texts):
    """Write a base whose tokens are whole words."""
    torch.manual_seed(0)
    model = open_clip.CustomTextCLIP(**{k: v for k, v in CONFIG["model_cfg"].items() if k != "custom_text"})
    weights.write(folder / towers.WEIGHTS, model.state_dict())
    (folder / towers.CONFIG).write_text(json.dumps(CONFIG))
    words = ["[PAD]", "[UNK]", *sorted({word for text in texts for word in text.split()})[:498]]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)


@pytest.fixture(scope="module")
def started(world, tmp_path_factory):
    """The tiny world up to the spans of its captions, with another base."""
    given, params = world
    folder = tmp_path_factory.mktemp("foreign")
    data = linked(folder / "data", given, ["sample", "curate", "regions"])
    foreign(folder / "base", [text for own in Workspace(data).manifest().captions for text in own])
    changed = copy.deepcopy(params)
    detector = given / "models/detector.pt"
    as_given = {"kind": "weights", "path": str(detector), "sha256": files.sha256(detector)}
    changed["models"] |= {"clip": {"kind": "directory", "path": str(folder / "base")}, "detector": as_given}
    changed |= {"teachers": {}}
    changed["features"]["spans"] = ["phrases"]
    changed["student"] |= {"text": "trainable", "contrastive": "sigmoid", "recipe": "preserving_regions"}
    execute(["models", "teachers", "spans"], changed, data)
    return data, changed


def test_a_student_of_it_is_trained_by_its_own_loss_and_keeps_its_tokenizer_and_its_scale(started, capsys):
    data, params = started
    execute(STAGES, params, data)
    ws = Workspace(data)
    texts = {text for own in ws.manifest().captions for text in own}
    longer = sum(len(re.findall(r"\w+|[^\w\s]+", text)) > CONTEXT for text in texts)
    assert f"{longer:,} of {len(texts):,} distinct captions have more than 12 tokens" in capsys.readouterr().err
    base, end = (towers.load(ws.path(artifact)) for artifact in (catalog.BASE_CLIP, catalog.END_POINT))
    assert end.tokenize(["a red zebra"]).tolist() == base.tokenize(["a red zebra"]).tolist()
    assert end.weights != base.weights
    assert end.model.logit_bias.item() != base.model.logit_bias.item() == -10
    assert base.scale == pytest.approx(117)
    assert 100 < end.scale < 117.01
    for name in ("visual.trunk.blocks.0.attn.qkv.weight", "text.token_embedding.weight"):
        assert not torch.equal(end.model.get_parameter(name), base.model.get_parameter(name)), name
    rows = ws.rows(catalog.STUDENT_HISTORY, "contrastive")
    assert float(rows[-1]["contrastive"]) < float(rows[1]["contrastive"])


def test_it_has_phrases_and_no_tokens(started):
    data, _ = started
    kinds = Workspace(data).table(catalog.SPANS).strings("kind")
    assert set(kinds) == {SpanKind.PHRASES}
    assert "captions_cut" not in Workspace(data).summary("spans")


def test_where_its_tokens_are_asked_for_the_stage_says_why_not(started, tmp_path):
    given, params = started
    changed = copy.deepcopy(params)
    changed["features"]["spans"] = ["phrases", "tokens"]
    data = linked(tmp_path / "data", given, ["sample", "models", "teachers", "curate", "regions", "spans"])
    with pytest.raises(InputError, match=r"take tokens out of features\.spans"):
        execute(["features"], changed, data)
