import json

import numpy as np
import pytest
from tiny_probes import ATTRIBUTES, OWNER, language, model, task

from pipeline.errors import InputError
from pipeline.probes.captions import NearMisses
from pipeline.probes.measure import Embedded, Found, compare, probe

FIGURES = {
    "attributes": ["all", "shape", "colour"],
    "captions": ["words", "exact", "near_misses"],
    "concepts": ["image", "text", "both"],
}


@pytest.fixture(scope="module")
def asked():
    return task()


@pytest.fixture(scope="module")
def found(asked):
    models = {"base": model(1.5), "student": model(0.8), "end_point": model(0.9, seed=1), "language": language(0.3)}
    return {name: probe(embedded, asked) for name, embedded in models.items()}


@pytest.fixture(scope="module")
def metrics(found, asked):
    return compare(found, asked, samples=200, seed=1)


def figures_of(metrics):
    return {kind: list(of) for kind, of in metrics.items()}


def hits(**kinds):
    """Parts as a probe would leave them."""
    return Found({kind: {name: np.array(rows, np.float64) for name, rows in of.items()} for kind, of in kinds.items()})


# One model


def test_a_clip_model_has_all_figures_row_by_row(found, asked):
    parts = found["base"].parts
    assert figures_of(parts) == FIGURES
    rows = {name: len(values) for of in parts.values() for name, values in of.items()}
    captions, pictures = len(OWNER), int((~ATTRIBUTES.training).sum())
    assert rows == {
        "all": pictures, "shape": pictures, "colour": pictures, "words": captions, "exact": captions,
        "near_misses": len(asked.near_misses.queries), "image": captions, "text": captions, "both": captions,
    }  # fmt: skip
    assert len(found["base"].attributes) == len(found["base"].words) == 3


def test_a_model_that_knows_everything_has_every_word_and_attribute(asked):
    known = probe(model(0.0), asked)
    assert known.attributes.tolist() == known.words.tolist() == [1, 1, 1]
    for kind, name in (("attributes", "all"), ("attributes", "shape"), ("captions", "words"), ("captions", "exact")):
        assert known.parts[kind][name].tolist() == [1] * len(known.parts[kind][name]), name


def test_a_language_model_has_figures_of_captions_alone(found):
    told = found["language"]
    assert figures_of(told.parts) == {"captions": FIGURES["captions"]}
    assert told.attributes is None
    assert len(told.words) == 3


def test_without_concepts_all_other_figures_are_the_same(found):
    other = probe(model(1.5), task(concepts=False))
    assert figures_of(other.parts) == {kind: FIGURES[kind] for kind in ("attributes", "captions")}
    for kind, of in other.parts.items():
        for name, rows in of.items():
            assert np.array_equal(rows, found["base"].parts[kind][name])


def test_concepts_of_pictures_and_captions_by_hand(asked):
    """Every training caption's embedding is its concept's axis: so are prototypes."""
    axes, labels = np.eye(3, dtype=np.float32), asked.labels
    whole = model(0.0)
    of_pictures = np.array([0, 1, 2, 0, 1, 2])
    training = axes[labels.training[:, 0]]
    told = probe(Embedded(training, axes[labels.captions], axes[of_pictures], whole.attributes), asked)
    assert told.parts["concepts"]["text"].tolist() == [1] * len(OWNER)
    agree = (of_pictures[OWNER] == labels.captions).tolist()
    assert told.parts["concepts"]["image"].tolist() == told.parts["concepts"]["both"].tolist() == agree


# Side by side


def test_figures_are_the_means_of_parts(found, metrics):
    assert list(metrics) == ["base", "student", "end_point", "language", "difference"]
    for name, of_model in found.items():
        wanted = {kind: {n: rows.mean() for n, rows in of.items()} for kind, of in of_model.parts.items()}
        assert metrics[name] == wanted
    assert metrics["student"]["captions"]["words"] == pytest.approx(found["student"].words.mean())
    assert metrics["student"]["attributes"]["all"] == pytest.approx(found["student"].attributes.mean())
    assert metrics["student"]["captions"]["words"] > metrics["base"]["captions"]["words"]


def test_differences_are_of_the_models_that_stem_from_the_base(metrics):
    assert list(metrics["difference"]) == ["student", "end_point"]
    for name, of in metrics["difference"].items():
        assert figures_of(of) == FIGURES
        for kind, figures in of.items():
            for figure, change in figures.items():
                gain = metrics[name][kind][figure] - metrics["base"][kind][figure]
                assert change["value"] == pytest.approx(gain), (name, figure)
                assert change["low"] <= change["value"] <= change["high"], (name, figure)
    spread = metrics["difference"]["student"]["captions"]["words"]
    assert spread["low"] < spread["high"]


def test_a_model_differs_from_itself_by_nothing(found, asked):
    same = compare({"base": found["base"], "student": found["base"]}, asked, samples=50, seed=1)
    assert same["student"] == same["base"]
    changes = [change for of in same["difference"]["student"].values() for change in of.values()]
    assert changes == [{"value": 0, "low": 0, "high": 0}] * 9


def test_a_task_without_concepts_is_compared_without_them():
    asked = task(concepts=False)
    found = {"base": probe(model(1.5), asked), "student": probe(model(0.8), asked)}
    metrics = compare(found, asked, samples=20, seed=1)
    assert list(metrics) == ["base", "student", "difference"]
    assert all("concepts" not in of for of in (metrics["base"], metrics["student"], metrics["difference"]["student"]))


def test_figures_are_numbers_that_json_has(metrics):
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_draws_are_seeded(found, asked, metrics):
    assert compare(found, asked, samples=200, seed=1) == metrics
    other = compare(found, asked, samples=200, seed=2)
    assert other["student"] == metrics["student"]
    assert other["difference"] != metrics["difference"]


def test_the_captions_of_a_picture_are_drawn_together(asked):
    """The third of six images gains, and has three of the eleven captions."""
    gain = (OWNER == 2).astype(float)
    models = {
        "base": hits(captions={"exact": 0 * gain}), "student": hits(captions={"exact": gain}),
    }  # fmt: skip
    change = compare(models, asked, samples=4000, seed=0)["difference"]["student"]["captions"]["exact"]
    # The number of times it is drawn is binomial(6, 1/6): 0 with .33, 3 or more with .062, 4 or more with .0087.
    # Three times it has 9 captions, and the three other draws have 3 to 6.
    assert change["value"] == pytest.approx(3 / 11)
    assert change["low"] == 0
    assert 9 / 15 <= change["high"] <= 9 / 12


def test_asked_captions_are_drawn_with_the_picture_that_they_are_of(asked):
    """Images 1 and 5 have one caption and ask for nothing; of the other four the last gains."""
    near = asked.near_misses
    of_last = (OWNER[near.queries] == 4).astype(float)
    assert of_last.tolist() == [0] * 7 + [1, 1]
    models = {
        "base": hits(captions={"near_misses": 0 * of_last}),
        "student": hits(captions={"near_misses": of_last}),
    }
    change = compare(models, asked, samples=4000, seed=0)["difference"]["student"]["captions"]["near_misses"]
    # The number of times it is drawn is binomial(4, 1/4): 0 with .32, 3 or more with .051, 4 with .0039.
    assert change["value"] == pytest.approx(2 / 9)
    assert change["low"] == 0
    assert change["high"] in [pytest.approx(6 / (6 + n)) for n in (2, 3)]


def test_every_picture_with_attributes_is_drawn_alone(asked):
    """One of 24 gains: drawn 3 times or more with probability .077, 4 or more with .017 (binomial(24, 1/24))."""
    gain = np.arange(24) == 7
    models = {"base": hits(attributes={"all": 0 * gain}), "student": hits(attributes={"all": gain})}
    change = compare(models, asked, samples=4000, seed=0)["difference"]["student"]["attributes"]["all"]
    assert change == {"value": pytest.approx(1 / 24), "low": 0, "high": pytest.approx(3 / 24)}


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
def test_test_captions_of_which_none_is_asked_for_have_no_figure_or_are_refused_with_a_reason(found, asked):
    """Every test image has one caption, as those of Conceptual Captions do."""
    none = NearMisses.of([f"w{i}" for i in OWNER], np.arange(len(OWNER)), 2)
    other = type(asked)(asked.attributes, asked.words, none, np.arange(len(OWNER)), None)
    models = {name: probe(model(noise), other) for name, noise in (("base", 1.5), ("student", 0.8))}
    try:
        metrics = compare(models, other, samples=20, seed=1)
    except InputError as error:
        assert "caption" in str(error)
    else:
        assert json.dumps(metrics, allow_nan=False)
