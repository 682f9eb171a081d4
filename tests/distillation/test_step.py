import functools
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_knowledge import heads, knowledge
from tiny_models import config, random_pixels, tiny_clip, unit_rows

from pipeline.clip.encode import Compute
from pipeline.clip.towers import create
from pipeline.distillation.layers import image_groups, unfreeze
from pipeline.distillation.loader import Loader
from pipeline.distillation.pairs import Negatives, Pairs, Regions
from pipeline.distillation.step import Step
from pipeline.distillation.student import Student
from pipeline.recipes import RECIPES
from pipeline.recipes.embedded import Embedded, EmbeddedKnowledge, EmbeddedNegatives, EmbeddedRegions
from pipeline.training.distributed import Group

OFF = torch.amp.GradScaler("cpu", enabled=False)
BASE_SCALE = 20.0
VIT = {"image_size": 32, "patch_size": 16, "width": 16, "layers": 2, "head_width": 8}

# Images 0 and 4 share "a cat"; image 3 says "a red star" twice over.
CAPTIONS = [
    ["a cat", "a sleeping cat"],
    ["a dog"],
    ["a red star", "a star"],
    ["two moons", "a red star", "a night"],
    ["a cat", "a small cat"],
    ["a blue sea"],
    ["a house", "an old house"],
    ["a tree"],
    ["rain"],
    ["a green hill", "a hill"],
]
# The negative "a dog" is right for image 1; "a blue star" is made from two captions.
WRONG = {"a cat": ["a dog", "a hat"], "a red star": ["a blue star"], "a star": ["a blue star"], "rain": ["snow"]}


def pairs(recipe, *, frozen=False, count=10):
    captions = CAPTIONS[:count]
    total = sum(map(len, captions))
    distinct = list(dict.fromkeys(text for texts in captions for text in texts))
    texts = [WRONG.get(text, []) for text in distinct]
    negatives = Negatives(texts, unit_rows(sum(map(len, texts)), 16, seed=4) if frozen else None)
    target = RECIPES[recipe].target
    return Pairs(
        random_pixels(count), captions, unit_rows(total, 16, seed=1), unit_rows(count, 16, seed=2),
        targets=None if target is None else unit_rows(count if target == "image" else total, 16, seed=3),
        negatives=negatives if RECIPES[recipe].negatives else None,
        regions=Regions(random_pixels(count, seed=5), unit_rows(2 * count, 16, seed=5), 2 * np.arange(count + 1))
        if RECIPES[recipe].regions
        else None,
        knowledge=knowledge(total) if RECIPES[recipe].knowledge else None,
    )  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@functools.cache
def shared(**given):
    """A student that no test changes but for its gradients."""
    return student(**given)


def student(*, train_text=True, width=16, temperature="learnable", vision=None, recipe="contrastive"):
    torch.manual_seed(0)
    cfg = config(width)
    cfg["model_cfg"]["vision_cfg"] = vision or cfg["model_cfg"]["vision_cfg"]
    clip = create(cfg)
    with torch.no_grad():  # some gains start at zero, and what is before them would get no gradient
        for parameter in clip.model.parameters():
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn(parameter.shape)
    return Student(clip, target_dimension=16, train_text=train_text, temperature=temperature, **heads(recipe))


def batch_of(made, data, recipe, count=10):
    load = Loader(
        data, made.clip.tokenize if made.train_text else None, batch=count, captions=None, seed=3,
        per_image=RECIPES[recipe].target != "pair", group=Group(), device="cpu", threads=1,
    )  # fmt: skip
    return next(load(1, 1))


def step_of(made, recipe, micro_batch=0, weights=None, precision="float32", compiled=False):
    return Step(
        made, RECIPES[recipe], weights or {}, base_scale=BASE_SCALE, group=Group(), micro_batch=micro_batch,
        compute=Compute("cpu", precision, 10), compiled=compiled,
    )  # fmt: skip


def gradients(made):
    return {n: None if p.grad is None else p.grad.clone() for n, p in made.named_parameters()}


def taken(made, data, recipe, *, scaler=OFF, **given):
    """Terms and gradients of one step."""
    made.zero_grad()
    terms = step_of(made, recipe, **given)(batch_of(made, data, recipe), scaler)
    return {name: term.item() for name, term in terms.items()}, gradients(made)


def assert_close(found, wanted, atol=1e-5):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        if value is None:
            assert found[name] is None, name
        else:
            off = atol * max(1.0, float(value.abs().max()))  # sums round by a share of their largest terms
            torch.testing.assert_close(found[name], value, atol=off, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


def plainly(made, data, recipe, weights=None):
    """The same step without pieces, distinct texts and gathering: every caption is embedded by itself."""
    made.zero_grad()
    model, clip = made.clip.model, made.clip
    batch = batch_of(made, data, recipe)
    rows = [int(name.split()[1]) for name in batch.names]
    places = [c for i in rows for c in range(data.start[i], data.start[i + 1])]
    places = [places[k] for k in order_within(batch, data, rows, places)]
    texts = [data.distinct[data.caption_ids[c]] for c in places]
    image = F.normalize(model.encode_image(clip.normalise(torch.from_numpy(data.pixels[np.array(rows)]))), dim=-1)
    text = torch.from_numpy(data.caption_embeddings[places])
    negatives = allowed = None
    if made.train_text:
        text = F.normalize(model.encode_text(clip.tokenize(texts)), dim=-1)
    if data.negatives is not None:
        by_text = {t: data.negatives.texts[i] for i, t in enumerate(data.distinct)}
        made_of = sorted({negative for t in texts for negative in by_text[t]})
        allowed = torch.tensor([[negative not in data.captions[i] for negative in made_of] for i in rows])
        if made.train_text:
            negatives = F.normalize(model.encode_text(clip.tokenize(made_of)), dim=-1)
        else:
            flat = [negative for own in data.negatives.texts for negative in own]
            vectors = {negative: data.negatives.embeddings[k] for k, negative in reversed(list(enumerate(flat)))}
            negatives = torch.from_numpy(np.stack([vectors[negative] for negative in made_of]))
    at = {i: k for k, i in enumerate(rows)}
    targets = {None: None, "image": rows, "pair": places}[RECIPES[recipe].target]
    embedded = Embedded(
        image=image, text=text, scale=made.log_scale.exp(), owner=torch.tensor([at[data.owner[c]] for c in places]),
        positives=torch.tensor([[t in data.captions[i] for t in texts] for i in rows]),
        image_in_target=F.normalize(made.image_to_target(image), dim=-1),
        text_in_target=F.normalize(made.text_to_target(text), dim=-1),
        target=None if targets is None else torch.from_numpy(data.targets[targets]),
        base_image=torch.from_numpy(data.image_embeddings[rows]),
        base_text=torch.from_numpy(data.caption_embeddings[places]),
        base_scale=BASE_SCALE, text_is_frozen=not made.train_text, noise=batch.noise,
        negatives=None if negatives is None else EmbeddedNegatives(negatives, allowed),
    )  # fmt: skip
    if data.regions is not None:
        drawn = [int((data.regions.embeddings == row.numpy()).all(1).argmax()) for row in batch.regions.base]
        assert all(data.regions.start[i] < k < data.regions.start[i + 1] for i, k in zip(rows, drawn, strict=True))
        crops = torch.from_numpy(data.regions.crops[np.array([k // 2 for k in drawn])])  # each second one is a crop
        region = F.normalize(model.encode_image(clip.normalise(crops)), dim=-1)
        in_target = F.normalize(made.image_to_target(region), dim=-1)
        embedded.regions = EmbeddedRegions(in_target, batch.regions.base)
    if (known := data.knowledge) is not None:
        classified = (x @ made.to_concepts.weight.T + made.to_concepts.bias for x in (image, text))
        embedded.knowledge = EmbeddedKnowledge(
            torch.from_numpy(known.language[places]), text @ made.to_language.weight.T, *classified,
            torch.from_numpy(known.concepts[places]).long(), torch.from_numpy(known.shares[places]),
        )  # fmt: skip
    terms = RECIPES[recipe].terms(embedded)
    terms = {name: (weights or {}).get(name, 1.0) * term for name, term in terms.items()}
    sum(terms.values()).backward()
    return {name: term.item() for name, term in terms.items()}, gradients(made)


def order_within(batch, data, rows, places):
    """Which place each of the batch's captions is: found by the base's vectors, which all differ."""
    vectors = {data.caption_embeddings[c].tobytes(): k for k, c in enumerate(places)}
    return [vectors[row.numpy().tobytes()] for row in batch.base_text]


TRAINABLE = [
    "contrastive",
    "hard_negatives",
    "preserving",
    "dclip",
    "dclip_clean",
    "dclip_regions",
    "similarity",
    "clip_refine",
    "knowledge_clip",
    "dclip+knowledge",
]


def of(recipe, **given):
    """The shared student that has what a recipe trains."""
    return shared(**given, **({"recipe": "knowledge_clip"} if heads(recipe) else {}))


@pytest.mark.parametrize("recipe", TRAINABLE)
def test_a_step_has_the_terms_and_gradients_of_a_plain_forward_and_backward(recipe):
    made, data = of(recipe), pairs(recipe)
    terms, found = taken(made, data, recipe)
    wanted_terms, wanted = plainly(made, data, recipe)
    assert terms == pytest.approx(wanted_terms, abs=1e-5)
    assert_close(found, wanted)
    given = [g for g in found.values() if g is not None]
    assert sum(float(g.abs().max()) > 1e-4 for g in given) > 0.9 * len(given), "they are not all zero"


@pytest.mark.parametrize("micro_batch", [1, 3, 5, 9])
@pytest.mark.parametrize("recipe", TRAINABLE)
def test_pieces_have_the_terms_and_gradients_of_the_whole_batch(recipe, micro_batch):
    made, data = of(recipe), pairs(recipe)
    terms, found = taken(made, data, recipe, micro_batch=micro_batch)
    wanted_terms, wanted = taken(made, data, recipe)
    assert terms == pytest.approx(wanted_terms, abs=1e-5)
    assert_close(found, wanted)


@pytest.mark.parametrize("micro_batch", [0, 3])
@pytest.mark.parametrize("recipe", ["dclip", "dclip_clean", "feature_distillation", "dclip+knowledge"])
def test_a_student_of_another_width_has_the_gradients_of_a_plain_backward(recipe, micro_batch):
    made, data = of(recipe, width=8), pairs(recipe)
    terms, found = taken(made, data, recipe, micro_batch=micro_batch)
    wanted_terms, wanted = plainly(made, data, recipe)
    assert terms == pytest.approx(wanted_terms, abs=1e-5)
    assert_close(found, wanted)
    assert found["image_to_target.weight"].abs().max() > 1e-4
    assert (found["text_to_target.weight"] is None) == (recipe == "feature_distillation")


@pytest.mark.parametrize("micro_batch", [0, 3])
@pytest.mark.parametrize("recipe", ["contrastive", "hard_negatives", "dclip", "dclip_clean", "clip_refine"])
def test_a_student_with_frozen_text_has_the_gradients_of_a_plain_backward(recipe, micro_batch):
    made, data = shared(train_text=False), pairs(recipe, frozen=True)
    terms, found = taken(made, data, recipe, micro_batch=micro_batch)
    wanted_terms, wanted = plainly(made, data, recipe)
    assert terms == pytest.approx(wanted_terms, abs=1e-5)
    assert_close(found, wanted)
    assert all(found[f"towers.model.{name}"] is None for name, _ in made.text_parameters())


@pytest.mark.parametrize("micro_batch", [0, 3])
def test_terms_and_gradients_are_weighted_by_name(micro_batch):
    weights = {"teacher": 3.0, "preserve": 0.0, "contrastive": 0.5}
    made, data = shared(), pairs("dclip_clean")
    terms, found = taken(made, data, "dclip_clean", micro_batch=micro_batch, weights=weights)
    wanted_terms, wanted = plainly(made, data, "dclip_clean", weights)
    assert (terms, terms["preserve"]) == (pytest.approx(wanted_terms, abs=1e-5), 0)
    assert_close(found, wanted)


@pytest.mark.parametrize("micro_batch", [0, 3])
def test_of_two_terms_of_knowledge_each_moves_its_own_head(micro_batch):
    made, data = of("knowledge_clip"), pairs("knowledge_clip")
    for term, moved in (("language", {"to_language.weight"}), ("concepts", {"to_concepts.weight", "to_concepts.bias"})):
        weights = {"language": 0.0, "concepts": 0.0, "contrastive": 0.0, term: 1.0}
        _, found = taken(made, data, "knowledge_clip", micro_batch=micro_batch, weights=weights)
        heads_moved = {n for n, g in found.items() if n.startswith("to_") and g.abs().max() > 1e-4}
        assert heads_moved == moved
        assert found["towers.model.text_projection"].abs().max() > 1e-4
        of_image = found["towers.model.visual.attnpool.c_proj.weight"].abs().max()
        assert (of_image > 1e-5) == (term == "concepts"), "images are classified, and not mapped to the language"


@pytest.mark.parametrize("micro_batch", [0, 4])
def test_the_learnable_temperature_gets_the_gradient_of_a_difference_quotient(micro_batch):
    made, data = shared(), pairs("contrastive")
    _, found = taken(made, data, "contrastive", micro_batch=micro_batch)

    def loss(change):
        with torch.no_grad():
            made.log_scale += change
        terms, _ = taken(made, data, "contrastive")
        with torch.no_grad():
            made.log_scale -= change
        return terms["contrastive"]

    assert found["log_scale"].item() == pytest.approx((loss(0.05) - loss(-0.05)) / 0.1, rel=0.02)


def test_a_fixed_temperature_gets_no_gradient():
    assert taken(shared(temperature=0.1), pairs("contrastive"), "contrastive", micro_batch=3)[1]["log_scale"] is None


def test_gradients_are_added_to_those_that_are_there():
    made, data = shared(), pairs("contrastive")
    made.zero_grad()
    step, batch = step_of(made, "contrastive", micro_batch=3), batch_of(made, data, "contrastive")
    step(batch, OFF)
    once = gradients(made)
    step(batch, OFF)
    assert_close(gradients(made), {name: None if g is None else 2 * g for name, g in once.items()}, atol=2e-5)


def test_the_terms_hold_no_graph():
    made = shared()
    terms = step_of(made, "dclip_clean")(batch_of(made, pairs("dclip_clean"), "dclip_clean"), OFF)
    assert not any(term.requires_grad for term in terms.values())


def test_a_piece_is_never_larger_than_asked(monkeypatch):
    made, data = shared(), pairs("contrastive")
    step, shown = step_of(made, "contrastive", micro_batch=4), []
    forward = made.towers.forward
    monkeypatch.setattr(
        made.towers, "forward", lambda x, t: shown.append((len(x), torch.is_grad_enabled())) or forward(x, t)
    )
    step(batch_of(made, data, "contrastive"), OFF)
    assert shown == [(4, False), (3, False), (3, False), (4, True), (3, True), (3, True)]
    shown.clear()
    step_of(made, "contrastive", micro_batch=10)(batch_of(made, data, "contrastive"), OFF)
    assert shown == [(10, True)], "one piece needs no second forward"


def test_more_pieces_than_texts_do_no_harm():
    data = Pairs(random_pixels(8), [["a cat"]] * 4 + [["a dog"]] * 4, unit_rows(8, 16))
    found = []
    for micro_batch in (0, 1):
        made = shared()
        made.zero_grad()
        step_of(made, "contrastive", micro_batch=micro_batch)(batch_of(made, data, "contrastive", count=8), OFF)
        found.append(gradients(made))
    assert_close(found[1], found[0])


@pytest.mark.parametrize("micro_batch", [0, 3])
def test_a_scaler_scales_every_gradient_and_unscales_to_the_same(micro_batch):
    made, data = shared(width=8), pairs("dclip_clean")
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=True)
    terms, plain = taken(made, data, "dclip_clean", micro_batch=micro_batch)
    optimizer = torch.optim.SGD(made.parameters(), lr=1.0)
    scaled_terms, scaled = taken(made, data, "dclip_clean", micro_batch=micro_batch, scaler=scaler)
    assert scaled_terms == terms, "terms are not scaled"
    assert_close(scaled, {name: None if g is None else 1024 * g for name, g in plain.items()}, atol=1e-2)
    scaler.unscale_(optimizer)
    assert_close(gradients(made), plain)


@pytest.mark.parametrize("recipe", ["contrastive", "dclip_clean"])
@pytest.mark.parametrize("micro_batch", [0, 3])
def test_bfloat16_is_close_and_leaves_parameters_and_gradients_float32(recipe, micro_batch):
    made, data = shared(temperature=0.5), pairs(recipe)
    terms, found = taken(made, data, recipe, micro_batch=micro_batch, precision="bfloat16")
    wanted_terms, wanted = taken(made, data, recipe)
    assert terms == pytest.approx(wanted_terms, abs=0.02)
    assert terms != wanted_terms
    assert all(g.dtype == torch.float32 for g in found.values() if g is not None)
    for name in ("towers.model.visual.attnpool.c_proj.weight", "towers.model.text_projection", "log_scale"):
        if wanted[name] is not None:
            assert F.cosine_similarity(found[name].flatten(), wanted[name].flatten(), dim=0) > 0.98, name


@pytest.mark.parametrize("micro_batch", [0, 3])
@pytest.mark.parametrize("layers", [0, 1, 2])
def test_frozen_layers_get_no_gradient_and_the_others_the_same(layers, micro_batch):
    made, data = student(vision=VIT), pairs("contrastive")
    _, everything = taken(made, data, "contrastive")
    unfreeze(made.clip.model, layers)
    _, found = taken(made, data, "contrastive", micro_batch=micro_batch)
    groups = image_groups(made.clip.model)
    own = {id(p) for group in groups[len(groups) - layers :] for p in group}
    frozen = {f"towers.model.visual.{n}" for n, p in made.clip.model.visual.named_parameters() if id(p) not in own}
    assert len(frozen) > 5
    assert_close(found, {n: None if n in frozen else g for n, g in everything.items()})


def test_after_prepare_layers_that_were_frozen_are_trained():
    made, data = student(vision=VIT), pairs("contrastive")
    unfreeze(made.clip.model, 1)
    step = step_of(made, "contrastive")
    step(batch_of(made, data, "contrastive"), OFF)
    assert made.clip.model.visual.conv1.weight.grad is None
    unfreeze(made.clip.model, None)
    step.prepare()
    step(batch_of(made, data, "contrastive"), OFF)
    assert made.clip.model.visual.conv1.weight.grad is not None


def linear_pairs():
    return Pairs(unit_rows(10, 16, seed=7), CAPTIONS, unit_rows(sum(map(len, CAPTIONS)), 16), unit_rows(10, 16, seed=7))


@pytest.mark.parametrize("micro_batch", [0, 3])
def test_a_linear_student_gets_the_gradient_of_its_map(micro_batch):
    made = Student(tiny_clip(), target_dimension=16, train_text=False, temperature="learnable", linear=True)
    data = linear_pairs()
    terms = step_of(made, "labclip", micro_batch=micro_batch)(batch_of(made, data, "labclip"), OFF)
    found = gradients(made)
    made.zero_grad()
    batch = batch_of(made, data, "labclip")
    image = F.normalize(batch.pixels @ made.towers.matrix.T, dim=-1)
    logits = made.log_scale.exp() * image @ batch.base_text.T
    rows = torch.stack([logits[i].log_softmax(0)[batch.positives[i]].mean() for i in range(10)])
    columns = torch.stack([logits[:, j].log_softmax(0)[batch.positives[:, j]].mean() for j in range(logits.shape[1])])
    loss = -(rows.mean() + columns.mean()) / 2
    loss.backward()
    assert terms["contrastive"].item() == pytest.approx(loss.item(), abs=1e-5)
    assert_close(found, gradients(made))
    assert {name for name, g in found.items() if g is not None} == {"towers.matrix", "log_scale"}


def test_a_linear_student_is_trained_in_bfloat16_too():
    made = Student(tiny_clip(), target_dimension=16, train_text=False, temperature="learnable", linear=True)
    batch = batch_of(made, linear_pairs(), "labclip")
    terms = step_of(made, "labclip", precision="bfloat16")(batch, OFF)
    wanted = step_of(made, "labclip")(batch, OFF)
    assert terms["contrastive"].item() == pytest.approx(wanted["contrastive"].item(), abs=0.05)


COMPILERS = ("c++", "g++", "clang++")


@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="torch.compile needs a C++ compiler")
def test_compiled_towers_have_the_same_gradients():
    vision = {**VIT, "layers": 1}
    made, data = student(train_text=False, vision=vision), pairs("contrastive", frozen=True)
    terms, found = taken(made, data, "contrastive", compiled=True)
    wanted_terms, wanted = taken(made, data, "contrastive")
    assert terms == pytest.approx(wanted_terms, abs=1e-4)
    assert_close(found, wanted, atol=1e-4)
