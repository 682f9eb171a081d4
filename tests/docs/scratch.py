"""A copy of the project to which the code blocks of a page are applied."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from docs.generator import PAGES, ROOT

_BLOCK = re.compile(r'^```(\w+) title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
COPIED = ("pipeline", "stages", "console", "docs", "tests", "params.yaml", "dvc.yaml", "pyproject.toml")


@dataclass
class Scratch:
    """A copy in a folder of its own."""

    root: Path

    def apply(self, page: str, section: str) -> list[str]:
        """Apply the titled blocks of a section, in their order; returns the files that were written."""
        text = (PAGES / page).read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
        written = []
        for kind, name, content in _BLOCK.findall(text):
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(changed(path.read_text(), content) if kind == "diff" else content)
            written.append(name)
        assert written, f"{page} has no titled block in {section}"
        return list(dict.fromkeys(written))

    def run(self, *command: str) -> str:
        """What a command of this Python prints in the copy; it must succeed."""
        environment = os.environ | {"PYTHONPATH": str(self.root)}
        done = subprocess.run(
            (sys.executable, *command), cwd=self.root, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout


def changed(text: str, difference: str) -> str:
    """A text in which the lines of a block of differences, found once in one piece, are replaced."""
    lines = difference.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] != "+")
    after = "".join(line[1:] for line in lines if line[0] != "-")
    assert text.count(before) == 1, f"these lines stand {text.count(before)} times in the file:\n{before}"
    return text.replace(before, after)


def copy(folder: Path) -> Scratch:
    """Copy what git tracks, or would, of what the pages extend."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *COPIED]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in listed.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return Scratch(folder)
