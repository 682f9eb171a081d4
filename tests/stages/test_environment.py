"""What is computed does not depend on the environment of whoever starts it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PARAMS = Path(__file__).parents[2] / "params.yaml"
PROGRAM = f"""
import json, os, sys
from pathlib import Path
import stages
from stages.program import threads
from pipeline.params import load
threads(load(Path({str(PARAMS)!r})))
import faiss, numpy, torch, threadpoolctl
from ultralytics.utils import SETTINGS_FILE, USER_CONFIG_DIR
print(json.dumps({{
    "torch": torch.get_num_threads(), "faiss": faiss.omp_get_max_threads(),
    "blas": sorted({{pool["num_threads"] for pool in threadpoolctl.threadpool_info()}}),
    "settings": [str(USER_CONFIG_DIR), str(SETTINGS_FILE)],
    "tf32": [torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark,
             torch.get_float32_matmul_precision()],
    "deterministic": torch.are_deterministic_algorithms_enabled(),
    "environment": {{k: v for k, v in os.environ.items() if k in (*stages.LESS_EXACT, "CUBLAS_WORKSPACE_CONFIG")}},
}}))
"""


@pytest.mark.parametrize("count", ["7"])
def test_threads_and_precision_are_those_of_the_parameters_whatever_the_environment_says(tmp_path, count):
    asked = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), count) | {
        "YOLO_CONFIG_DIR": str(tmp_path / "mine"), "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1", "NVIDIA_TF32_OVERRIDE": "1",
        "ONEDNN_DEFAULT_FPMATH_MODE": "BF16", "CUBLAS_WORKSPACE_CONFIG": ":0:0", "DCLIP_HOME": str(tmp_path / "home"),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | asked,
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["torch"], found["faiss"], found["blas"]) == (2, 2, [2]), "compute.threads of params.yaml"
    assert all(path.startswith(str(tmp_path / "home")) for path in found["settings"])
    assert found["tf32"] == [False, False, False, "highest"]
    assert found["deterministic"]
    assert found["environment"] == {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
