"""The student stage in two processes, as a user starts it."""

import copy
import os
import subprocess
import sys

import torch
import yaml
from safetensors.torch import load_file
from tiny_world import ROOT


def test_two_processes_train_the_same_student_as_one(world, tmp_path):
    given, params = world
    trained = {}
    for processes in (1, 2):
        root = tmp_path / str(processes)
        (root / "data").mkdir(parents=True)
        for stage in ("sample", "curate", "models", "regions", "spans", "features", "targets"):
            (root / "data" / stage).symlink_to(given / stage)
        changed = copy.deepcopy(params)
        changed["compute"]["processes"] = processes
        changed["student"] |= {
            "epochs": 1,
            "batch": 16,
            "lr": 1e-4,
        }  # Adam makes whole steps of rounding where there is no gradient
        (root / "params.yaml").write_text(yaml.safe_dump(changed))
        arguments = ["--params", str(root / "params.yaml"), "--data", str(root / "data")]
        subprocess.run(
            [sys.executable, "-m", "stages.student", *arguments],
            cwd=ROOT, env=os.environ | {"DCLIP_HOME": str(root / "home")}, check=True,
        )  # fmt: skip
        assert (root / "data/student/metrics.json").is_file()
        trained[processes] = load_file(root / "data/student/end_point/open_clip_model.safetensors")
    base = load_file(given / "models/clip/open_clip_model.safetensors")
    assert any(not torch.equal(base[name], trained[1][name]) for name in base)
    for name, tensor in trained[1].items():
        torch.testing.assert_close(trained[2][name], tensor, atol=1e-5, rtol=0)
