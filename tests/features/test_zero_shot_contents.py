import json

import pytest
from tiny_manifest import png
from tiny_models import picture
from tiny_zeroshot import put

from pipeline.features.classes import Contents

CLASSES = [{"folder": "cat", "name": "cat"}, {"folder": "dog", "name": "dog"}]


@pytest.fixture
def folder(tmp_path):
    for split in ("val", "test"):
        put(tmp_path, {"cat": 1, "dog": 1}, split=split)
    return tmp_path


def described(folder, classes, templates=("a {}",)):
    (folder / "classes.json").write_text(json.dumps({"templates": list(templates), "classes": classes}))
    return Contents(folder).fingerprint


def test_whatever_changes_a_figure_changes_the_fingerprint(folder):
    unseen = [CLASSES[0], {**CLASSES[1], "seen": False}]
    swapped = [{"folder": "cat", "name": "dog"}, {"folder": "dog", "name": "cat"}]
    found = [
        described(folder, CLASSES), described(folder, unseen), described(folder, swapped),
        described(folder, CLASSES[:1]),
        described(folder, CLASSES, ["one {}"]),
    ]  # fmt: skip
    (folder / "val/cat/0.png").write_bytes(png(picture(1)))
    found.append(described(folder, CLASSES))
    assert len(set(found)) == 6
    assert described(folder, CLASSES) == found[-1]
