"""A checkout of the project as it is here, in which commands run as a user's, with all hosts but this one blocked."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from tiny_world import ROOT, tiny

BLOCKER = """
import socket
def _refuse(*args, **kwargs):
    raise RuntimeError(f"a network connection was tried: {args}")
def _connect(self, address, original=socket.socket.connect):
    if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] != "127.0.0.1":
        _refuse(address)
    return original(self, address)
def _look_up(host, *args, original=socket.getaddrinfo, **kwargs):
    return original(host, *args, **kwargs) if host in ("127.0.0.1", b"127.0.0.1") else _refuse(host)
socket.socket.connect = _connect
socket.getaddrinfo = _look_up
"""


class Checkout:
    """A checkout in a folder of its own."""

    def __init__(self, root: Path, environment: dict[str, str]) -> None:
        self.root, self.environment = root, environment

    def run(self, *command: str) -> str:
        """What a command prints; it must succeed."""
        done = subprocess.run(command, cwd=self.root, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr

    def dclip(self, *arguments: str) -> str:
        """What the console program prints."""
        return self.run(sys.executable, "-m", "console.main", *arguments)

    def repro(self, *arguments: str) -> list[str]:
        """The stages that `dvc repro` runs, in the order of dvc.yaml; its own varies."""
        self.printed = self.run("dvc", "repro", *arguments)
        known = list(yaml.safe_load((self.root / "dvc.yaml").read_text())["stages"])
        ran = re.findall(r"Running stage '([\w@]+)'", self.printed)
        return sorted(ran, key=lambda name: known.index(name.partition("@")[0]))

    def new(self) -> dict[str, tuple[int, int]]:
        """What the last `repro` said of everything frozen: how much of it was new, and how much there is."""
        found = re.findall(r"^([\w -]+): ([\d,]+) of ([\d,]+) are new", self.printed, flags=re.MULTILINE)
        return {what: (int(new.replace(",", "")), int(total.replace(",", ""))) for what, new, total in found}

    def change(self, section: str, **values) -> None:
        """Change parameters."""
        path = self.root / "params.yaml"
        content = yaml.safe_load(path.read_text())
        content[section] |= values
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    def commit(self, message: str) -> None:
        """Commit everything that git does not ignore."""
        self.run("git", "add", "--all")
        self.run("git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "--quiet", "-m", message)

    def clone(self, root: Path) -> "Checkout":
        """A fresh clone of the last commit."""
        subprocess.run(["git", "clone", "--quiet", str(self.root), str(root)], check=True)
        return Checkout(root, self.environment)


def fresh(folder: Path) -> Checkout:
    """A checkout of the working tree with the tiny world's parameters, committed."""
    root, blocker = folder / "project", folder / "blocker"
    blocker.mkdir()
    (blocker / "sitecustomize.py").write_text(BLOCKER)
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    for name in listed.stdout.decode().splitlines():
        if (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, root / name)
    (root / "params.yaml").write_text(yaml.safe_dump(tiny(Path("data")), sort_keys=False))
    kept = {k: v for k, v in os.environ.items() if k not in ("DCLIP_HOME", "YOLO_CONFIG_DIR")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    found = Checkout(root, kept | {"PYTHONPATH": str(blocker), "PATH": path})
    found.run("git", "init", "--quiet")
    found.commit("project")
    return found
