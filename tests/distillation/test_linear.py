import copy
import functools

import pytest
import torch
import torch.nn.functional as F
from tiny_models import config, random_pixels, unit_rows
from torch import nn

from pipeline.clip.towers import create
from pipeline.distillation.linear import fold, image_projection, procrustes
from pipeline.errors import InputError

VIT = {"image_size": 32, "patch_size": 16, "width": 24, "layers": 2, "head_width": 8}
TIMM = {"image_size": 32, "timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "linear"}
TOWERS = {
    "ModifiedResNet": {},
    "VisionTransformer": VIT,
    "pooled by attention": {**VIT, "attentional_pool": True, "attn_pooler_queries": 4, "attn_pooler_heads": 2},
    "timm linear": TIMM,
    "timm linear with bias": {**TIMM, "timm_proj_bias": True},
    "timm mlp with bias": {**TIMM, "timm_proj": "mlp", "timm_proj_bias": True},
}


@functools.cache
def built(tower):
    cfg = config()
    cfg["model_cfg"]["vision_cfg"] = TOWERS[tower] or cfg["model_cfg"]["vision_cfg"]
    torch.manual_seed(0)
    made = create(cfg)
    for name, parameter in made.model.visual.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter)  # open_clip and timm begin with zeros, which any map would leave alone
    return made


@pytest.fixture(params=TOWERS)
def clip(request):
    return copy.deepcopy(built(request.param))


def unit(*shape, seed=0):
    return torch.from_numpy(unit_rows(*shape, seed=seed))


def rotation(d=16, seed=1):
    return torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(seed)))[0]


def state(clip):
    return copy.deepcopy(clip.model.state_dict())


def embed(clip):
    with torch.no_grad():
        return clip.model.encode_image(clip.normalise(torch.from_numpy(random_pixels(3))))


def test_procrustes_recovers_a_planted_rotation():
    images, planted = unit(200, 16), rotation()
    found = procrustes(images, images @ planted.T)
    assert found.dtype == torch.float32
    assert torch.allclose(found, planted, atol=1e-6)


def test_procrustes_by_hand():
    quarter_turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    assert torch.allclose(procrustes(torch.eye(2), torch.tensor([[0.0, 1.0], [-1.0, 0.0]])), quarter_turn)


@pytest.mark.parametrize("rows", [3, 50])
def test_procrustes_is_orthogonal_and_no_worse_than_doing_nothing(rows):
    images, texts = unit(rows, 16), unit(rows, 16, seed=1)
    found = procrustes(images, texts)
    assert torch.allclose(found @ found.T, torch.eye(16), atol=1e-6)
    assert (images @ found.T - texts).norm() < (images - texts).norm()
    assert (images @ found.T - texts).norm() < (images @ rotation().T - texts).norm()


def test_procrustes_sums_over_all_blocks_of_rows(monkeypatch):
    images, texts = unit(50, 16), unit(50, 16, seed=1)
    whole = procrustes(images, texts)
    monkeypatch.setattr("pipeline.distillation.linear.ROWS", 7)
    assert torch.allclose(procrustes(images, texts), whole, atol=1e-6)


@pytest.mark.parametrize(
    ("images", "texts"),
    [(unit(4, 8), unit(5, 8)), (unit(4, 8), unit(4, 6)), (unit(8), unit(8)), (torch.empty(0, 8), torch.empty(0, 8))],
)
def test_procrustes_refuses_shapes_that_do_not_fit(images, texts):
    with pytest.raises(InputError, match=r"images \[.*\] and texts \[.*\]: expected one shape"):
        procrustes(images, texts)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_procrustes_refuses_values_that_are_not_finite(broken):
    texts = unit(4, 8)
    texts[2, 3] = broken
    with pytest.raises(InputError, match="1 of 4 rows of texts"):
        procrustes(unit(4, 8), texts)


def test_the_projection_ends_in_the_embedding(clip):
    name, dimension = image_projection(clip.model)
    assert clip.model.get_parameter(name).shape[dimension] == clip.dimension


def test_a_folded_tower_gives_the_mapped_embedding(clip):
    before, matrix = embed(clip), torch.randn(16, 16, generator=torch.Generator().manual_seed(2)) / 4
    fold(clip.model, matrix, state(clip))
    assert not torch.allclose(embed(clip), before, atol=1e-2)
    assert torch.allclose(embed(clip), before @ matrix.T, atol=1e-5)


def test_folding_touches_the_last_layer_only(clip):
    before = state(clip)
    fold(clip.model, rotation(), before)
    name, _ = image_projection(clip.model)
    moved = {key for key, value in clip.model.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {name, name.removesuffix("weight") + "bias"} & set(before)


def test_folding_twice_is_folding_once(clip):
    original = state(clip)
    fold(clip.model, rotation(), original)
    once = state(clip)
    fold(clip.model, rotation(), original)
    assert all(torch.equal(value, once[key]) for key, value in clip.model.state_dict().items())


def test_the_last_map_replaces_the_one_before(clip):
    original = state(clip)
    fold(clip.model, rotation(), original)
    fold(clip.model, torch.eye(16), original)
    assert all(torch.equal(value, original[key]) for key, value in clip.model.state_dict().items())


def test_procrustes_folded_brings_pictures_to_their_texts(clip):
    images, texts = F.normalize(embed(clip), dim=-1), unit(3, 16)
    fold(clip.model, procrustes(images, texts), state(clip))
    assert (F.normalize(embed(clip), dim=-1) * texts).sum() > (images * texts).sum()


def test_a_matrix_of_another_width_is_refused(clip):
    with pytest.raises(InputError, match=r"matrix \[8, 8\]: expected \[16, 16\]"):
        fold(clip.model, torch.eye(8), state(clip))


def test_an_original_without_the_projection_is_refused(clip):
    name, _ = image_projection(clip.model)
    for original, found in (({}, "nothing"), ({name: torch.zeros(3, 3)}, r"\[3, 3\]")):
        with pytest.raises(InputError, match=f"original holds {found} for {name}"):
            fold(clip.model, torch.eye(16), original)


def tower_without_a_projection(cfg):
    cfg["model_cfg"]["vision_cfg"] = {**TIMM, "timm_pool": "avg", "timm_proj": "none"}
    cfg["model_cfg"]["embed_dim"] = 64  # the trunk's own width
    return create(cfg).model


def tower_of_another_class(cfg):
    model = create(cfg).model
    model.visual = nn.Linear(4, 16)
    return model


@pytest.mark.parametrize(
    ("made", "name"), [(tower_without_a_projection, "TimmModel"), (tower_of_another_class, "Linear")]
)
def test_an_unknown_tower_is_named(made, name):
    with pytest.raises(InputError, match=rf"image tower {name} .*supported: VisionTransformer with proj"):
        fold(made(config()), torch.eye(16), {})
