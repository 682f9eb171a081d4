"""dvc.yaml follows from what the stages declare."""

from pathlib import Path

import pytest
import yaml

from pipeline.artifacts import catalog
from pipeline.artifacts.code_dependencies import ROOT, closure
from pipeline.params import load
from stages import graph
from stages.declaration import declared

STAGES = declared()


def test_dvc_yaml_is_the_one_that_the_declarations_give():
    assert (ROOT / "dvc.yaml").read_text() == graph.text(), "run: dclip graph --write"


def test_every_stage_comes_after_those_that_it_reads_from():
    names = list(STAGES)
    for stage in STAGES.values():
        assert all(names.index(above) < names.index(stage.name) for above in stage.upstream)


def test_every_artifact_is_written_by_the_stage_that_its_path_names_and_by_no_other():
    written = [artifact for stage in STAGES.values() for artifact in stage.writes]
    assert len(set(written)) == len(written)
    assert set(written) == {artifact for artifact in catalog.ARTIFACTS if artifact.role != "part"}


def test_a_stage_has_the_parameters_that_it_declares_and_no_others():
    params = load(ROOT / "params.yaml")
    given = STAGES["regions"].parameters(params)
    assert given.regions == params.regions
    assert given.compute.workers == params.compute.workers, "changes no result, but is used"
    for undeclared in (lambda: given.seed, lambda: given.compute.dtype, lambda: given.student):
        with pytest.raises(AttributeError):
            undeclared()


def test_whoever_reads_a_small_file_depends_on_the_hashes_that_its_stage_states():
    deps = yaml.safe_load(graph.text())["stages"]["evaluate"]["deps"]
    assert {"data/probe/attributes.csv", "data/probe/SHA256SUMS", "data/curate/card", "data/curate/SHA256SUMS"} <= {
        *deps
    }


@pytest.mark.parametrize("name", list(STAGES))
def test_all_code_that_a_stage_depends_on_is_there_its_own_first(name):
    found = closure(STAGES[name].program)
    assert found[0] == Path(f"stages/{name}.py")
    assert len(found) > 1
    assert all((ROOT / path).exists() for path in found)
