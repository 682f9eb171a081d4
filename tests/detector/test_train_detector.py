"""Training a detector, in a process that does not know that it is tested: ultralytics behaves otherwise in tests."""

import os
import subprocess
import sys

import pytest
import torch
from tiny_manifest import png
from tiny_models import picture
from ultralytics.utils.loss import v8DetectionLoss

from pipeline.detector.train import train

PROGRAM = """
import sys
from pathlib import Path
from pipeline.detector.train import train
images = [(path.stem, path.read_bytes(), [[0.1, 0.1, 0.6, 0.6]]) for path in sorted(Path("images").iterdir())]
trained = train(images, width=0.0625, image_size=32, epochs=1, batch=2, lr=1e-3, seed=0, device="cpu")
print(trained.names)
"""


def test_a_training_reports_to_no_tracker_and_leaves_its_folder_as_it_was(tmp_path):
    (tmp_path / "images").mkdir()
    for seed in range(4):
        (tmp_path / f"images/{seed}.png").write_bytes(png(picture(seed)))
    (tmp_path / "dvc.yaml").write_text("stages: {}  # mine\n")
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for command in (
        ["git", "init", "-q"],
        [sys.executable, "-m", "dvc", "init", "-q"],
        ["git", "add", "."],
        ["git", *who, "commit", "-q", "-m", "first"],
    ):  # fmt: skip  DVCLive reports only in a repository with a commit
        subprocess.run(command, cwd=tmp_path, check=True)
    before = set(tmp_path.iterdir())
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "{0: 'object'}" in done.stdout
    assert set(tmp_path.iterdir()) == before
    assert (tmp_path / "dvc.yaml").read_text() == "stages: {}  # mine\n"


def test_a_full_gpu_ends_the_training_instead_of_halving_the_batch(monkeypatch):
    def full(self, *args, **how):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(v8DetectionLoss, "__call__", full)
    pictures = [(str(seed), png(picture(seed)), [[0.1, 0.1, 0.6, 0.6]]) for seed in range(4)]
    with pytest.raises(torch.OutOfMemoryError):
        train(pictures, width=0.0625, image_size=32, epochs=1, batch=2, lr=1e-3, seed=0, device="cpu")
