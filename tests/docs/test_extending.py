"""What docs/extending.md walks through, done as it says."""

import json

import pytest
from scratch import changed, copy


@pytest.fixture
def scratch(tmp_path):
    return copy(tmp_path / "project")


def test_a_corpus_is_one_file_and_its_line(scratch):
    assert scratch.apply("extending.md", "A corpus") == ["pipeline/sources/pets.py", "pipeline/sources/__init__.py"]
    pets = scratch.root / "data/raw/pets"
    pets.mkdir(parents=True)
    (pets / "a.jpg").write_bytes(b"an image")
    (pets / "captions.tsv").write_text("a.jpg\ta dog asleep\nb.jpg\ta cat awake\nno tab\n")
    program = """
from pathlib import Path
from pipeline.params.data import Sources
from pipeline.sources import read
Sources(sample=[], path="data/raw", quota={"pets": 10})
for row in read("pets", Path("data/raw/pets")):
    print(type(row).__name__, row.id, getattr(row, "text", None) or getattr(row, "file", None) or "none")
"""
    assert scratch.run("-c", program).splitlines() == [
        "Image a.jpg File(path='data/raw/pets/a.jpg', offset=0, length=None)",
        "Caption a.jpg b'a dog asleep'",
        "Image b.jpg none",
        "Caption b.jpg b'a cat awake'",
        "Rejected  none",
    ]


def test_a_figure_is_measured_compared_and_shown(scratch):
    scratch.apply("extending.md", "An evaluation")
    program = """
import json
import numpy as np
from console.figures import in_order
from pipeline.evaluation.comparison import Embedded, compare
base = np.eye(12, dtype=np.float32)
other = np.roll(base, 1, axis=0)
found = compare(Embedded(other, base), Embedded(base, base), np.arange(12), samples=5, seed=0).metrics
shown = [name for name, _ in in_order(found["difference"]["text_to_image"])]
print(json.dumps([found["base"]["text_to_image"]["mrr@10"], found["student"]["text_to_image"]["mrr@10"], shown]))
"""
    before, after, shown = json.loads(scratch.run("-c", program))
    assert before == 0  # every right image stands last of twelve
    assert after == 1
    assert "mrr@10" in shown


def test_a_block_of_differences_stands_once_in_its_file():
    assert changed("a\nb\nc\n", " a\n-b\n+d\n") == "a\nd\nc\n"
    with pytest.raises(AssertionError, match="stand 2 times"):
        changed("a\na\n", " a\n+b\n")
