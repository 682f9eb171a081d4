"""Stages run with nothing but what dvc.yaml says they read: that is all a member of a team has fetched."""

from pathlib import Path

import pytest
import yaml
from tiny_world import ROOT, STAGES, execute


def declared(stage):
    """Dependencies of a stage below data/; those that parameters name are elsewhere in the tiny world."""
    deps = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][stage]["deps"]
    return [Path(name).relative_to("data") for name in deps if name.startswith("data/")]


@pytest.mark.parametrize("stage", [name for name in STAGES if name not in ("sample", "models", "curate")])
def test_a_stage_reads_nothing_that_it_does_not_declare(world, tmp_path, stage):
    given, params = world
    for name in declared(stage):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(given / name)
    execute([stage], params, tmp_path)
    found, wanted = (folder / stage / "metrics.json" for folder in (tmp_path, given))
    assert found.read_bytes() == wanted.read_bytes()
