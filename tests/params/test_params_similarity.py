from pathlib import Path

import pytest
import yaml

from pipeline.params import ParamsError, checked

PARAMS = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())


def with_similarity(**changes):
    curate = PARAMS["curate"]
    return checked(PARAMS | {"curate": curate | {"similarity": curate["similarity"] | changes}}, "params")


@pytest.mark.parametrize("changes", [{"by": "large"}, {"drop": 0.3, "below": 0.2}, {"below": -0.5}])
def test_a_share_and_a_threshold_under_the_base_or_a_teacher(changes):
    assert changes.items() <= with_similarity(**changes).curate.similarity.model_dump().items()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"by": "nobody"}, "curate.similarity.by is nobody; expected one of base, large"),
        ({"drop": 1.0}, "curate.similarity.drop"),
        ({"below": 1.5}, "curate.similarity.below"),
    ],
)
def test_others_are_refused_by_name(changes, told):
    with pytest.raises(ParamsError, match=told):
        with_similarity(**changes)


def test_params_without_the_section_drop_nothing():
    curate = {name: value for name, value in PARAMS["curate"].items() if name != "similarity"}
    similarity = checked(PARAMS | {"curate": curate}, "params").curate.similarity
    assert (similarity.drop, similarity.below) == (0.0, -1.0)
