from pathlib import Path

import pytest
import yaml

from pipeline.artifacts.schema import SpanKind
from pipeline.params import RENAMED, ParamsError, load
from pipeline.params.student import Weights
from pipeline.recipes import RECIPES

ROOT = Path(__file__).parents[2]

TABLE = {"kind": "table", "quota": 1}
VALID = """
seed: 1
compute:
  {device: cpu, dtype: float32, batch: 8, compile: false, threads: 1, workers: 1, processes: 1, engine: local,
    actors: 1, address: local, store: own, shards: own}
sources:
  {sample: [world], path: corpora, of: {mscoco: {kind: mscoco, quota: 10}, flickr30k: {kind: flickr30k, quota: 10}}}
sample:
  {mscoco: 60, flickr30k: 60, conceptual_captions: 60, test: 5, base_pairs: 64, zeroshot_val: 1, zeroshot_test: 1,
   attributes_train: 1, attributes_test: 1}
curate:
  test: {flickr30k: karpathy}
  validation: 0.1
  samples_per_shard: 100
  images: {min_side: 32, max_pixels: 80000000, max_aspect: 4}
  captions: {min_words: 2, max_words: 100}
  duplicates: {radius: 12, prefer: [mscoco, flickr30k], captions: merge}
models:
  path: base
  clip: {kind: sample, epochs: 1, batch: 8, lr: 0.001, weight_decay: 0}
  detector: {kind: sample, images: 8, width: 0.1, epochs: 1, batch: 8, lr: 0.01}
teachers:
  large: {kind: sample, scale: own, image_size: 96, epochs: 1, batch: 8, lr: 0.001, weight_decay: 0}
views: {count: 0, area: 0.5, flip: 0, colour: 0}
regions:
  {confidence: 0.2, iou: 0.5, image_size: 64, batch: 4, max_regions: 0, min_side: 0, margin: 0, crop_side: 64,
   crop_quality: 90}
spans: {parser: rules, max_phrases: 4}
features: {spans: [phrases]}
teacher:
  {of: base, spans: phrases, inputs: regions, heads: 2, depth: 1, feed_forward: 0, pool_temperature: 1,
   temperature: 0.1, caption_dropout: 0.5, epochs: 1, batch: 2, lr: 0.001}
concepts:
  enabled: true
  model:
    {kind: transformers, name: some-model, sha256: "", layer: -1, pooling: mean, dtype: float32}
  batch: 8
  count: auto
  temperature: 0.07
  top: 16
  iterations: 25
student:
  {recipe: dclip, init: base, text: frozen, layers: all, unfreeze: 0, contrastive: softmax, temperature: learnable,
   captions: 1, pixels: cached, epochs: 1, patience: 0, batch: 2, micro_batch: 0, lr: 0.001, warmup: 0.05,
   weight_decay: 0, max_grad_norm: 0, ema_decay: 0, precision: float32, compile: false, checkpoint_seconds: 600,
   keep: 0.9, weights: {contrastive: 1, teacher: 1, text: 1, preserve: 1}}
zeroshot: {path: zeroshot}
index: {name: exact}
probe: {enabled: false, attributes: attributes, captions: 10, words: 10, near_misses: 2}
evaluate: {bootstrap: 10, examples: 1}
"""
GONE = object()


@pytest.fixture
def changed(tmp_path):
    """Loads the valid parameters with some of them changed: `name="a.b"`, `GONE` to take one out."""

    def load_changed(**changes):
        content = yaml.safe_load(VALID)
        for name, value in changes.items():
            *sections, last = name.split("__")
            section = content
            for part in sections:
                section = section[part]
            if value is GONE:
                del section[last]
            else:
                section[last] = value
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(content))
        return load(path)

    return load_changed


def refusal(changed, **changes):
    with pytest.raises(ParamsError) as caught:
        changed(**changes)
    return str(caught.value)


def test_the_shipped_parameters_load():
    assert load(ROOT / "params.yaml").seed >= 0


def test_values_come_back_typed(changed):
    params = changed()
    assert params.sources.quota == {"mscoco": 10, "flickr30k": 10}
    assert params.features.spans == [SpanKind.PHRASES]
    assert params.student.temperature == "learnable"
    assert changed(student__temperature=0.07).student.temperature == 0.07
    assert changed(curate__test={"mscoco": 0.2}).curate.test == {"mscoco": 0.2}


@pytest.mark.parametrize(
    ("mistyped", "meant"),
    [
        ("studnet", "student"),
        ("student__epoch", "epochs"),
        ("student__weights__contrastve", "contrastive"),
        ("sources__off", "of"),
        ("sources__of__mscoco__qouta", "quota"),
        ("sample__base_pair", "base_pairs"),
        ("models__clip__epocs", "epochs"),
        ("models__detector__imgaes", "images"),
        ("teachers__large__epocs", "epochs"),
    ],
)
def test_a_mistyped_name_suggests_the_closest(changed, mistyped, meant):
    message = refusal(changed, **{mistyped: 1})
    assert mistyped.split("__")[-1] in message
    assert f"did you mean {meant}?" in message


@pytest.mark.parametrize("old", [name for name in RENAMED if ":" not in name])
def test_a_parameter_under_its_old_name_says_what_to_write_and_nothing_else(changed, old):
    new = RENAMED[old]
    gone = {} if new.startswith("index.") else {new.replace(".", "__"): GONE}
    assert refusal(changed, **{old.replace(".", "__"): 1}, **gone).splitlines()[1:] == [
        f"  {old} was renamed; write {new}"
    ]


def test_a_value_under_its_old_name_says_what_to_write(changed):
    assert "teacher.inputs was renamed; write teacher.inputs: image" in refusal(changed, teacher__inputs="picture")


def test_a_name_like_no_other_is_refused_without_a_suggestion(changed):
    message = refusal(changed, student__xyzzy=1)
    assert "student.xyzzy: there is no such parameter" in message
    assert "did you mean" not in message


@pytest.mark.parametrize(
    ("change", "named", "reason"),
    [
        ({"student__epochs": "many"}, "student.epochs", "'many'"),
        ({"student__epochs": 2.5}, "student.epochs", "2.5"),
        ({"student__epochs": 0}, "student.epochs", "greater than or equal to 1, found 0"),
        ({"student__lr": -1}, "student.lr", "greater than 0, found -1"),
        ({"student__keep": 1.1}, "student.keep", "less than or equal to 1, found 1.1"),
        ({"student__recipe": "dklip"}, "student.recipe", "'dclip'"),
        ({"student__temperature": "warm"}, "student.temperature", "'warm'"),
        ({"student__temperature": 0.009}, "student.temperature", "greater than or equal to 0.01, found 0.009"),
        ({"student__layers": 0}, "student.layers", "greater than or equal to 1, found 0"),
        ({"student__layers": "some"}, "student.layers", "found 'some'"),
        ({"student__unfreeze": -1}, "student.unfreeze", "greater than or equal to 0, found -1"),
        ({"student__captions": 0}, "student.captions", "greater than or equal to 1, found 0"),
        ({"student__captions": "every"}, "student.captions", "found 'every'"),
        ({"student__pixels": "mapped"}, "student.pixels", "'cached' or 'decoded'"),
        ({"student__patience": -1}, "student.patience", "greater than or equal to 0, found -1"),
        ({"student__batch": 1}, "student.batch", "greater than or equal to 2, found 1"),
        ({"student__micro_batch": -1}, "student.micro_batch", "greater than or equal to 0, found -1"),
        ({"student__micro_batch": 0.5}, "student.micro_batch", "0.5"),
        ({"student__warmup": 1.1}, "student.warmup", "less than or equal to 1, found 1.1"),
        ({"student__weight_decay": -0.1}, "student.weight_decay", "greater than or equal to 0, found -0.1"),
        ({"student__max_grad_norm": -1}, "student.max_grad_norm", "greater than or equal to 0, found -1"),
        ({"student__ema_decay": 1}, "student.ema_decay", "less than 1, found 1"),
        ({"student__ema_decay": -0.1}, "student.ema_decay", "greater than or equal to 0, found -0.1"),
        ({"student__precision": "half"}, "student.precision", "'float32', 'bfloat16' or 'float16'"),
        ({"student__compile": "sometimes"}, "student.compile", "'sometimes'"),
        ({"student__checkpoint_seconds": 0}, "student.checkpoint_seconds", "greater than 0, found 0"),
        ({"student__weights__hybrid": -1}, "student.weights.hybrid", "greater than or equal to 0, found -1"),
        ({"student__weights__random": float("inf")}, "student.weights.random", "finite number"),
        ({"student__contrastive": "hinge"}, "student.contrastive", "'softmax' or 'sigmoid'"),
        ({"teachers__large__scale": 0}, "teachers.large.scale", "greater than 0, found 0"),
        ({"teachers__large__scale": "their"}, "teachers.large.scale", "found 'their'"),
        ({"teachers__large__image_size": 0}, "teachers.large.image_size", "found 0"),
        ({"teachers__large__kind": "smaple"}, "teachers.large", "'sample', 'open_clip', 'directory'"),
        ({"teachers__../up": {"kind": "directory", "path": "x", "scale": "own"}}, "teachers.../up", "should match"),
        ({"compute__processes": 0}, "compute.processes", "greater than or equal to 1, found 0"),
        ({"teacher__inputs": "boxes"}, "teacher.inputs", "'regions', 'image' or 'text'"),
        ({"curate__validation": 1.5}, "curate.validation", "less than 1, found 1.5"),
        ({"curate__test": {"flickr30k": "karpaty"}}, "curate.test.flickr30k", "'karpaty'"),
        ({"regions__image_size": 100}, "regions.image_size", "multiple of 32, found 100"),
        ({"regions__crop_quality": 101}, "regions.crop_quality", "100"),
        ({"compute__dtype": "float8"}, "compute.dtype", "'float32'"),
        ({"features__spans": ["words"]}, "features.spans.0", "'phrases'"),
        ({"features__spans": []}, "features.spans", "at least 1"),
        ({"curate__images__max_aspect": 1000}, "curate.images.max_aspect", "less than or equal to 200, found 1000"),
        ({"sources__of__mscoco__kind": "mscocoo"}, "sources.of.mscoco", "'mscoco'"),
        ({"sources__of__mscoco__quota": 0}, "sources.of.mscoco.quota", "greater than or equal to 1, found 0"),
        ({"sources__of__mine": {"kind": "tabel", "quota": 1}}, "sources.of.mine", "'table'"),
        (
            {"sources__of__mine": TABLE | {"columns": {"captoins": "a"}}},
            "sources.of.mine.columns.captoins",
            "captions?",
        ),
        ({"sources__of__mine": TABLE | {"columns": {"path": "a", "bytes": "b"}}}, "sources.of.mine.columns", "keep"),
        ({"sources__of__mine": {"kind": "folder", "quota": 1, "columns": {}}}, "sources.of.mine.columns", "no such"),
        ({"sources__of__../up": {"kind": "mscoco", "quota": 1}}, "sources.of.../up", "should match"),
        ({"teacher__batch": 1}, "teacher.batch", "2"),
        ({"teacher": GONE}, "teacher", "required"),
        ({"spans__max_phrases": GONE}, "spans.max_phrases", "required"),
        ({"student__layers": GONE}, "student.layers", "required"),
        ({"compute__processes": GONE}, "compute.processes", "required"),
        ({"spans": None}, "spans", "dictionary"),
    ],
)
def test_a_wrong_type_or_range_is_named_with_what_was_expected(changed, change, named, reason):
    message = refusal(changed, **change)
    line = next(line for line in message.splitlines() if line.strip().startswith(named))
    assert reason in line


@pytest.mark.parametrize(
    "name", ["epochs", "patience", "micro_batch", "unfreeze", "max_grad_norm", "ema_decay", "weights__text"]
)
def test_a_switch_is_not_a_number(changed, name):
    named = f"student.{name.replace('__', '.')}"
    assert f"{named}: Value error, expected a number" in refusal(changed, **{f"student__{name}": True})


def test_a_switch_is_neither_layers_nor_captions(changed):
    for name in ("layers", "captions", "temperature"):
        assert f"student.{name}" in refusal(changed, **{f"student__{name}": True})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("layers", 3), ("layers", "all"), ("captions", 5), ("captions", "all"), ("temperature", 0.01), ("warmup", 0),
        ("warmup", 1), ("ema_decay", 0.999), ("max_grad_norm", 1.5), ("micro_batch", 1), ("patience", 2),
        ("compile", True), ("checkpoint_seconds", 0.5), ("weights", {}), ("pixels", "decoded"),
    ],
)  # fmt: skip
def test_what_stands_at_the_edge_of_a_range_is_taken(changed, name, value):
    params = changed(**{f"student__{name}": value})
    expected = Weights() if name == "weights" else value
    assert getattr(params.student, name) == expected


def test_a_weight_that_is_not_given_is_one_and_that_of_the_concepts_as_published(changed):
    weights = changed(student__weights={"text": 2}).student.weights.model_dump()
    assert (weights.pop("text"), weights.pop("concepts")) == (2.0, 0.01)
    assert (weights.pop("pseudo_captions"), weights.pop("keywords")) == (0.5, 0.5)
    assert set(weights.values()) == {1.0}


def test_every_recipe_is_accepted_with_the_teacher_that_it_needs(changed):
    inputs = {"text_only_teacher": "text", "no_regions": "image"}
    for name, recipe in RECIPES.items():
        text = "trainable" if recipe.knowledge else "frozen"
        found = changed(student__recipe=name, student__text=text, teacher__inputs=inputs.get(name, "regions"))
        assert found.student.recipe == name


@pytest.mark.parametrize("name", ["layers", "captions", "temperature"])
def test_a_parameter_that_may_be_a_number_or_a_word_names_the_word(changed, name):
    word = "learnable" if name == "temperature" else "all"
    assert f"Input should be '{word}', found 'some'" in refusal(changed, **{f"student__{name}": "some"})


@pytest.mark.parametrize("name", ["layers", "captions", "temperature"])
def test_a_parameter_that_may_be_a_number_or_a_word_has_the_name_of_the_file(changed, name):
    message = refusal(changed, **{f"student__{name}": "some"})
    assert f"student.{name}: " in message
    assert "function-" not in message


def test_all_that_is_wrong_is_named_at_once(changed):
    message = refusal(changed, student__epochs=0, teacher__epochs=0, seed=-1)
    assert all(name in message for name in ("student.epochs", "teacher.epochs", "seed"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sample": GONE}, "there is no section sample"),
        ({"teacher__spans": "tokens"}, "teacher.spans is tokens, which features.spans does not embed"),
        ({"teachers__base": {"kind": "directory", "path": "x", "scale": "own"}}, "base is the base's own name"),
        ({"teacher__of": "larger"}, "teacher.of is larger; expected one of base, large"),
        ({"curate__test": {"laion": 0.1}}, "names laion, which sources.of does not read"),
        (
            {
                "curate__test": {"mscoco": 0.1, "flickr30k": "karpathy"},
                "sources__of__flickr30k__kind": "conceptual_captions",
            },
            "but conceptual_captions has no such file",
        ),
        ({"sources__of__mscoco-b": {"kind": "mscoco", "quota": 1}}, "could give two images one key"),
        ({"curate__duplicates__prefer": ["mscoco"]}, "expected flickr30k of sources.of in it once"),
        ({"curate__duplicates__prefer": ["mscoco", "flickr30k", "mscoco"]}, "expected mscoco of sources.of in it once"),
        (
            {"student__recipe": "dclip_clean", "teacher__caption_dropout": 0},
            "which is not trained where teacher.caption_dropout is 0",
        ),
        ({"curate__test": {}}, "there would be no test split"),
        ({"student__init": "ViT-S-32"}, "set student.text to trainable"),
        ({"student__unfreeze": 1}, "set it to how many train from the start"),
        (
            {"student__recipe": "procrustes", "student__text": "trainable"},
            "procrustes needs student.text to be frozen, because it maps the base's cached features",
        ),
        (
            {"student__recipe": "labclip", "student__init": "ViT-S-32", "student__text": "trainable"},
            "student.recipe labclip needs student.init to be base, because it maps the base's cached features, and "
            "needs student.text to be frozen, because it maps the base's cached features",
        ),
        ({"student__recipe": "text_only_teacher"}, "text_only_teacher needs teacher.inputs to be text"),
        ({"student__recipe": "no_regions"}, "no_regions needs teacher.inputs to be image"),
        (
            {"student__recipe": "no_regions", "teacher__inputs": "text"},
            "student.recipe no_regions needs teacher.inputs to be image",
        ),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(changed, change, reason):
    assert reason in refusal(changed, **change)


def test_layers_may_be_unfrozen_where_it_is_said_how_many_train_from_the_start(changed):
    params = changed(student__unfreeze=2, student__layers=1)
    assert (params.student.layers, params.student.unfreeze) == (1, 2)


@pytest.mark.parametrize("recipe", ["procrustes", "labclip"])
def test_a_linear_map_is_of_the_frozen_base(changed, recipe):
    assert changed(student__recipe=recipe).student.recipe == recipe


def test_the_sample_section_is_only_needed_for_the_sample_world(changed):
    assert changed(sample=GONE, sources__sample=[]).sample is None


def test_a_lightweight_student_trains_its_text(changed):
    assert changed(student__init="ViT-S-32", student__text="trainable").student.init == "ViT-S-32"


@pytest.mark.parametrize(
    ("section", "content"),
    [
        ("clip", {"kind": "open_clip", "name": "ViT-B-32", "pretrained": "openai"}),
        ("clip", {"kind": "directory", "path": "weights/clip"}),
        ("detector", {"kind": "weights", "path": "yolov8x.pt", "sha256": "0" * 64}),
    ],
)
def test_models_can_be_supplied(changed, section, content):
    assert getattr(changed(**{f"models__{section}": content}).models, section).model_dump() == content


def test_a_teachers_name_may_be_that_of_a_kind(changed):
    given = {"kind": "directory", "path": "x", "scale": "own", "epochs": 1}
    assert "teachers.directory.epochs: there is no such parameter" in refusal(changed, teachers__directory=given)


@pytest.mark.parametrize(
    "content",
    [
        {"kind": "open_clip", "name": "ViT-L-14", "pretrained": "dfn2b", "scale": 60.0},
        {"kind": "directory", "path": "weights/siglip", "scale": "own"},
    ],
)
def test_there_may_be_any_number_of_teachers(changed, content):
    found = changed(teachers__vit_l=content, teacher__of="vit_l").teachers
    assert list(found) == ["large", "vit_l"]
    assert found["vit_l"].model_dump() == content
    assert changed(teachers={}).teachers == {}


@pytest.mark.parametrize(
    ("section", "content", "reasons"),
    [
        ("clip", {"kind": "smaple"}, ["models.clip", "'smaple'", "'sample', 'open_clip', 'directory'"]),
        ("clip", {"path": "weights"}, ["models.clip", "kind"]),
        ("clip", {"kind": "directory", "path": "x", "epochs": 1}, ["models.clip", "epochs", "no such parameter"]),
        ("detector", {"kind": "weights", "path": "x", "sha256": "abc"}, ["models.detector", "sha256", "'abc'"]),
    ],
)
def test_a_model_of_another_kind_is_refused(changed, section, content, reasons):
    message = refusal(changed, **{f"models__{section}": content})
    assert all(reason in message for reason in reasons)
