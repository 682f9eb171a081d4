"""Students, batches and a plain forward and backward that a step must equal."""

import functools

import numpy as np
import torch
import torch.nn.functional as F
from tiny_knowledge import heads, knowledge
from tiny_models import config, random_pixels, unit_rows
from tiny_taught import taught

from pipeline.clip.encode import Compute
from pipeline.clip.towers import create
from pipeline.distillation.loader import Loader
from pipeline.distillation.pairs import Negatives, Pairs, Regions
from pipeline.distillation.step import Step
from pipeline.distillation.student import Student
from pipeline.recipes import RECIPES
from pipeline.recipes.embedded import Embedded, EmbeddedKnowledge, EmbeddedNegatives, EmbeddedRegions, EmbeddedTeacher
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
        **taught(RECIPES[recipe], captions, count),
    )  # fmt: skip


@functools.cache
def shared(**given):
    """A student that no test changes but for its gradients."""
    return student(**given)


def student(*, train_text=True, width=16, temperature="learnable", vision=None, recipe="contrastive", **more):
    torch.manual_seed(0)
    cfg = config(width)
    cfg["model_cfg"]["vision_cfg"] = vision or cfg["model_cfg"]["vision_cfg"]
    clip = create(cfg)
    with torch.no_grad():  # some gains start at zero, and what is before them would get no gradient
        for parameter in clip.model.parameters():
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn(parameter.shape)
    made_with = {"train_text": train_text, "temperature": temperature, **heads(recipe), **more}
    return Student(clip, base_dimension=16, **made_with)


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
    space = data.target_space
    targets = {None: None, "image": rows, "pair": places}[RECIPES[recipe].target]
    embedded = Embedded(
        image=image, text=text, scale=made.log_scale.exp(), owner=torch.tensor([at[data.owner[c]] for c in places]),
        positives=torch.tensor([[t in data.captions[i] for t in texts] for i in rows]),
        image_in_base=F.normalize(made.image_to_base(image), dim=-1),
        image_in_target=F.normalize(made.image_to_target(image), dim=-1),
        text_in_base=F.normalize(made.text_to_base(text), dim=-1),
        target=None if targets is None else torch.from_numpy(data.targets[targets]),
        base_image=torch.from_numpy(data.image_embeddings[rows]),
        base_text=torch.from_numpy(data.caption_embeddings[places]),
        target_text=torch.from_numpy((space.captions if space else data.caption_embeddings)[places]),
        target_scale=space.scale if space else BASE_SCALE,
        base_scale=BASE_SCALE, text_is_frozen=not made.train_text, noise=batch.noise,
        negatives=None if negatives is None else EmbeddedNegatives(negatives, allowed), bias=made.bias,
    )  # fmt: skip
    if data.regions is not None:
        drawn = [int((data.regions.embeddings == row.numpy()).all(1).argmax()) for row in batch.regions.base]
        assert all(data.regions.start[i] < k < data.regions.start[i + 1] for i, k in zip(rows, drawn, strict=True))
        crops = torch.from_numpy(data.regions.crops[np.array([k // 2 for k in drawn])])  # each second one is a crop
        region = F.normalize(model.encode_image(clip.normalise(crops)), dim=-1)
        in_base = F.normalize(made.image_to_base(region), dim=-1)
        embedded.regions = EmbeddedRegions(region, in_base, batch.regions.base)
    if data.phrases is not None:
        ids = sorted({i for c in places for i in data.phrases.ids[data.phrases.start[c] : data.phrases.start[c + 1]]})
        begin = data.phrases.start
        held = [(k, ids.index(i)) for k, c in enumerate(places) for i in data.phrases.ids[begin[c] : begin[c + 1]]]
        embedded.phrase_pairs = torch.tensor(held, dtype=torch.long).reshape(-1, 2).T
        embedded.phrase = torch.from_numpy(data.phrases.embeddings[ids])
        if made.train_text:
            phrases = clip.tokenize([data.phrases.texts[i] for i in ids])
            embedded.phrase = F.normalize(model.encode_text(phrases), dim=-1)
    if data.teachers:
        crops = [] if data.regions is None else [k // 2 for k in drawn]
        embedded.teachers = [
            EmbeddedTeacher(
                known.scale, torch.from_numpy(known.images[rows]), torch.from_numpy(known.captions[places]),
                None if known.crops is None else torch.from_numpy(known.crops[crops]),
                None if known.phrases is None else torch.from_numpy(known.phrases[ids]),
            )
            for known in data.teachers
        ]  # fmt: skip
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
    "affinity",
    "affinity_regions",
    "clip_refine",
    "knowledge_clip",
    "dclip+knowledge",
]


def of(recipe, **given):
    """The shared student that has what a recipe trains."""
    return shared(**given, **({"recipe": "knowledge_clip"} if heads(recipe) else {}))
