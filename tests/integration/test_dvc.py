"""`dvc repro` on a tiny world in a fresh checkout, with the network blocked in every process."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tiny_world import ROOT, STAGES, tiny

BLOCKER = """
import socket
def _refuse(*args, **kwargs):
    raise RuntimeError(f"a network connection was tried: {args}")
def _connect(self, address, original=socket.socket.connect):
    if self.family in (socket.AF_INET, socket.AF_INET6):
        _refuse(address)
    return original(self, address)
socket.socket.connect = _connect
socket.getaddrinfo = socket.create_connection = _refuse
"""


class Checkout:
    def __init__(self, root: Path, blocker: Path) -> None:
        self.root = root
        kept = {k: v for k, v in os.environ.items() if k not in ("DCLIP_HOME", "YOLO_CONFIG_DIR")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
        self.environment = kept | {"PYTHONPATH": str(blocker), "PATH": path}

    def run(self, *command: str) -> str:
        done = subprocess.run(command, cwd=self.root, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr

    def repro(self) -> list[str]:
        return re.findall(r"Running stage '([\w@]+)'", self.run("dvc", "repro"))

    def change(self, section: str, **values) -> None:
        path = self.root / "params.yaml"
        content = yaml.safe_load(path.read_text())
        content[section] |= values
        path.write_text(yaml.safe_dump(content, sort_keys=False))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkout") / "project"
    blocker = tmp_path_factory.mktemp("blocker")
    (blocker / "sitecustomize.py").write_text(BLOCKER)
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    for name in listed.stdout.decode().splitlines():
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, root / name)
    (root / "params.yaml").write_text(yaml.safe_dump(tiny(Path("data")), sort_keys=False))
    found = Checkout(root, blocker)
    found.run("git", "init", "--quiet")
    return found


def test_the_blocker_blocks(checkout):
    probe = "import socket; socket.create_connection(('127.0.0.1', 9))"
    done = subprocess.run(
        [sys.executable, "-c", probe], env=checkout.environment, capture_output=True, text=True, check=False
    )
    assert "a network connection was tried" in done.stderr


def test_repro_runs_every_stage_once_and_only_what_a_change_reaches(checkout):
    ran = checkout.repro()
    assert sorted(ran) == sorted(["sample@world", *STAGES[1:]])
    assert (checkout.root / "data/evaluate/report/index.html").is_file()

    assert checkout.repro() == []

    checkout.change("student", epochs=1)
    assert checkout.repro() == ["student", "index", "evaluate"]

    assert "recall@1" in checkout.run("dvc", "metrics", "show")
    assert "text to image recall@1" in checkout.run(sys.executable, "-m", "stages.dclip", "show")
    found = checkout.run(sys.executable, "-m", "stages.dclip", "search", "a small red star on sand", "--top", "3")
    assert found.count("flickr30k-") == 3

    checkout.change("teacher", lr=0.002)
    changed = set(re.findall(r"^(\w+)(?:@\w+)?:$", checkout.run("dvc", "status"), flags=re.MULTILINE))
    assert changed == {"teacher", "targets"}, "the stages that read teacher.* and, of course, what follows them"


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_explains_itself(checkout, stage):
    text = checkout.run(sys.executable, "-m", f"stages.{stage}", "--help")
    assert f"data/{stage}" in text
    assert "--params" in text and "--data" in text
