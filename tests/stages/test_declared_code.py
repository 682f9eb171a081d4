"""What a training's checkpoint depends on is what makes DVC run it again: neither returns an old result."""

from importlib import import_module
from pathlib import Path

import pytest
import yaml

from stages.program import LIBRARY

ROOT = LIBRARY.parent


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_a_checkpoint_depends_on_the_code_that_dvc_watches(name):
    deps = map(Path, yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][name]["deps"])
    watched = {path.relative_to("pipeline").as_posix() for path in deps if path.parts[0] == "pipeline"}
    assert set(import_module(f"stages.{name}").CODE) == watched
    assert all((LIBRARY / part).exists() for part in watched)
