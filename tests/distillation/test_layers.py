import copy
import functools

import pytest
import torch
from tiny_models import config
from torch import nn

from pipeline.clip.towers import architecture, create
from pipeline.distillation.layers import image_groups, trained, unfreeze
from pipeline.errors import InputError

VIT = {"image_size": 32, "patch_size": 16, "width": 16, "layers": 3, "head_width": 8}
TIMM = {"image_size": 32, "timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "linear"}
TIMM_VIT = {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "mlp"}
TINY = {"ResNet": {}, "ViT": VIT, "timm ConvNeXt": TIMM, "timm ViT": TIMM_VIT}
REAL = {"RN50": 6, "ViT-B-32": 14, "coca_ViT-B-32": 14, "convnext_base": 38, "EVA02-B-16": 14, "MobileCLIP-S1": 42}


@functools.cache
def built(name):
    cfg = config()
    cfg["model_cfg"]["vision_cfg"] = TINY[name] or cfg["model_cfg"]["vision_cfg"]
    torch.manual_seed(0)
    return create(cfg).model


def tiny(name):
    return copy.deepcopy(built(name))


@functools.cache
def real(name):
    """The image tower of an open_clip architecture, without memory for its weights."""
    cfg = architecture(name)["model_cfg"]
    cfg["text_cfg"] = config()["model_cfg"]["text_cfg"]
    cfg["vision_cfg"].pop("output_tokens", None)  # CoCa's tower makes them besides the embedding
    with torch.device("meta"):
        return create({"model_cfg": {k: cfg[k] for k in ("embed_dim", "vision_cfg", "text_cfg")}}).model


@pytest.fixture(params=TINY)
def model(request):
    return tiny(request.param)


@pytest.fixture(params=[*TINY, *REAL])
def any_model(request):
    return tiny(request.param) if request.param in TINY else real(request.param)


def names(model):
    called = {parameter: name for name, parameter in model.visual.named_parameters()}
    return [[called[parameter] for parameter in group] for group in image_groups(model)]


def parts(group, depth=1):
    return {".".join(name.split(".")[:depth]) for name in group}


def outside(model):
    return {name: p for name, p in model.named_parameters() if not name.startswith("visual.")}


def test_every_parameter_is_in_exactly_one_group(any_model):
    found = [name for group in names(any_model) for name in group]
    assert sorted(found) == sorted(name for name, _ in any_model.visual.named_parameters())
    assert all(names(any_model))


@pytest.mark.parametrize("name", REAL)
def test_groups_of_real_architectures(name):
    assert len(image_groups(real(name))) == REAL[name]


def test_vision_transformer():
    first, *blocks, last = names(tiny("ViT"))
    assert parts(first) == {"conv1", "class_embedding", "positional_embedding", "ln_pre"}
    assert [parts(block, 3) for block in blocks] == [{f"transformer.resblocks.{i}"} for i in range(3)]
    assert set(last) == {"ln_post.weight", "ln_post.bias", "proj"}


def test_attention_pooling_of_a_vision_transformer_is_in_its_last_group():
    assert parts(names(real("coca_ViT-B-32"))[-1]) == {"attn_pool", "ln_post", "proj"}


def test_modified_resnet():
    stem, *stages, last = names(tiny("ResNet"))
    assert parts(stem) == {"conv1", "bn1", "conv2", "bn2", "conv3", "bn3"}
    assert [parts(stage) for stage in stages] == [{"layer1"}, {"layer2"}, {"layer3"}, {"layer4"}]
    assert parts(last) == {"attnpool"}


def test_timm():
    stem, *_, last = names(tiny("timm ConvNeXt"))
    assert parts(stem, 2) == {"trunk.stem"}
    assert set(last) == {"trunk.head.norm.weight", "trunk.head.norm.bias", "head.proj.weight"}
    stem, *_, last = names(tiny("timm ViT"))
    assert parts(stem, 2) == {"trunk.cls_token", "trunk.pos_embed", "trunk.patch_embed"}
    assert parts(last, 2) == {"trunk.blocks", "trunk.norm", "head.mlp"}  # timm puts the last norm with the last block
    assert parts(last, 3) & {"trunk.blocks.4", "trunk.blocks.5"} == {"trunk.blocks.5"}


def test_groups_are_in_order_of_execution(model):
    """A parameter's gradient comes later in the backward pass the closer it is to the input."""
    model.eval()
    number_of = {parameter: number for number, group in enumerate(image_groups(model)) for parameter in group}
    seen = []
    for parameter in number_of:
        parameter.register_post_accumulate_grad_hook(lambda p: seen.append(number_of[p]))
    side = model.visual.image_size
    size = side if isinstance(side, tuple) else (side, side)
    model.encode_image(torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))).sum().backward()
    assert seen == sorted(number_of.values(), reverse=True)


def test_a_parameter_that_no_rule_names_joins_the_one_before_it():
    model = tiny("ResNet")
    model.visual.register_module("added", nn.Linear(2, 2))
    assert parts(names(model)[-1]) == {"attnpool", "added"}
    model = tiny("ViT")
    model.visual.transformer.register_module("added", nn.Linear(2, 2))
    assert parts(names(model)[-2], 3) == {
        "transformer.resblocks.2",
        "transformer.added.weight",
        "transformer.added.bias",
    }


def test_trained_are_the_last_groups(model):
    groups = image_groups(model)
    for layers in range(len(groups) + 1):
        chosen = set(trained(model, layers))
        assert chosen == {p for group in groups[len(groups) - layers :] for p in group}
    assert set(trained(model, None)) == set(model.visual.parameters())


def test_unfreeze_sets_exactly_the_chosen_parameters(model):
    count = len(image_groups(model))
    for layers in (2, None, 0, count, 1):
        assert unfreeze(model, layers) == (count if layers is None else layers)
        assert {p for p in model.visual.parameters() if p.requires_grad} == set(trained(model, layers))


@pytest.mark.parametrize("required", [True, False])
def test_unfreeze_leaves_what_is_outside_of_the_image_tower(model, required):
    for parameter in outside(model).values():
        parameter.requires_grad = required
    unfreeze(model, 1)
    assert {"logit_scale", "text_projection", "token_embedding.weight"} <= set(outside(model))
    assert all(parameter.requires_grad is required for parameter in outside(model).values())


@pytest.mark.parametrize("layers", [7, -1])
def test_more_layers_than_there_are_is_an_error_that_changes_nothing(layers):
    model = tiny("ResNet")
    unfreeze(model, 2)
    for call in (trained, unfreeze):
        with pytest.raises(InputError, match=rf"student.layers is {layers}, but .*ModifiedResNet has 6 groups"):
            call(model, layers)
    assert {p for p in model.visual.parameters() if p.requires_grad} == set(trained(model, 2))


@pytest.fixture
def unknown():
    model = tiny("ResNet")
    model.visual = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 16))
    return model


def test_an_unknown_tower_is_named_with_what_to_set(unknown):
    for call in (lambda: image_groups(unknown), lambda: trained(unknown, 1), lambda: unfreeze(unknown, 1)):
        with pytest.raises(InputError, match=r"image tower Sequential .*student\.layers: all"):
            call()


def test_all_of_an_unknown_tower_can_be_trained(unknown):
    unknown.visual.requires_grad_(False)
    assert unfreeze(unknown, None) == 1
    assert all(parameter.requires_grad for parameter in unknown.visual.parameters())
    assert trained(unknown, None) == list(unknown.visual.parameters())
