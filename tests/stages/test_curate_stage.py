import os

import pytest
import yaml

from pipeline.artifacts.code_dependencies import ROOT
from pipeline.artifacts.workspace import Workspace
from pipeline.curation import curate as library
from pipeline.params import Params
from pipeline.report import data_card
from stages.curate import curate


def test_copies_stay_in_the_corpus_preferred_and_not_in_the_one_that_is_named_first(tmp_path, monkeypatch):
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    first, second = {"kind": "flickr30k", "quota": 1}, {"kind": "conceptual_captions", "quota": 2}
    content["sources"]["of"] = {"flickr30k": first, "conceptual_captions": second}
    content["curate"]["duplicates"]["prefer"] = ["mscoco", "conceptual_captions", "flickr30k"]
    given = []
    monkeypatch.setattr(library, "curate", lambda path, out, rules, *_, **__: given.append(rules) or {})
    monkeypatch.setattr(data_card, "write", lambda ws: None)
    curate.work(Params.model_validate(content), Workspace(tmp_path))
    assert list(given[0].quota.items()) == [("conceptual_captions", 2), ("flickr30k", 1)]


@pytest.mark.parametrize(("named", "offline"), [({}, "1"), ({"dataset": "pets/pets"}, "0")])
def test_the_hub_is_within_reach_where_a_dataset_is_named_and_only_there(tmp_path, monkeypatch, named, offline):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["sources"]["of"] = {"pets": {"kind": "huggingface", "quota": 1, **named}}
    content["curate"] |= {"test": {"pets": 0.5}, "duplicates": content["curate"]["duplicates"] | {"prefer": ["pets"]}}
    found = []
    monkeypatch.setattr(library, "curate", lambda *_, **__: found.append(os.environ["HF_HUB_OFFLINE"]) or {})
    monkeypatch.setattr(data_card, "write", lambda ws: None)
    curate.work(Params.model_validate(content), Workspace(tmp_path))
    assert found == [offline]
