"""What compute.engine asks for."""

import pytest
import yaml

from pipeline.artifacts.code_dependencies import ROOT
from pipeline.params import Params
from stages.curate import curate
from stages.engine import PARAMETERS, cluster, quiet
from stages.features import features


def params(stage, **compute):
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["compute"] |= compute
    return stage.parameters(Params.model_validate(content))


def test_the_shipped_parameters_ask_for_no_cluster():
    with cluster(params(features)) as actors:
        assert actors is None


@pytest.mark.parametrize(("device", "gpus"), [("cpu", 0), ("cuda:1", 1)])
def test_an_actor_that_runs_a_model_takes_the_threads_or_a_gpu(device, gpus):
    with cluster(params(features, engine="ray", actors=7, threads=3, device=device)) as found:
        actors = found.actors
    assert (actors.count, actors.cpus, actors.gpus) == (7, 3, gpus)
    assert actors.setup.args == (actors.device, 3)
    assert actors.device == device.partition(":")[0], "it sees no GPU but its own"


def test_an_actor_that_inspects_images_takes_a_cpu_and_no_model(tmp_path):
    with cluster(params(curate, engine="ray", store=str(tmp_path), device="cuda"), models=False) as found:
        assert (found.actors.cpus, found.actors.gpus, found.actors.setup) == (1, 0, quiet)
        assert found.url == str(tmp_path)


def test_engine_and_cluster_change_no_result():
    for stage in (curate, features):
        assert {*PARAMETERS} <= {*stage.unwatched}
        assert not {*PARAMETERS} & {*stage.takes}
