"""What docs/extending.md walks through, done as it says."""

import json

import pytest
import yaml
from scratch import changed, copy
from tiny_manifest import write_manifest

from pipeline.artifacts.schema import Split


@pytest.fixture
def scratch(tmp_path):
    return copy(tmp_path / "project")


def test_a_kind_of_source_is_one_file_and_its_line(scratch):
    assert scratch.apply("extending.md", "A kind of source") == [
        "pipeline/sources/pets.py",
        "pipeline/sources/registry.py",
    ]
    pets = scratch.root / "data/raw/pets"
    pets.mkdir(parents=True)
    (pets / "a.jpg").write_bytes(b"an image")
    (pets / "captions.tsv").write_text("a.jpg\ta dog asleep\nb.jpg\ta cat awake\nno tab\n")
    program = """
from pathlib import Path
from pipeline.params.sources import Sources
from pipeline.sources import Source, read
Sources(sample=[], path="data/raw", of={"cats": {"kind": "pets", "quota": 10}})
for row in read(Source("pets", Path("data/raw/pets"))):
    print(type(row).__name__, row.id, getattr(row, "text", None) or getattr(row, "file", None) or "none")
"""
    assert scratch.run("-c", program).splitlines() == [
        "Image a.jpg File(path='data/raw/pets/a.jpg', offset=0, length=None)",
        "Caption a.jpg b'a dog asleep'",
        "Image b.jpg none",
        "Caption b.jpg b'a cat awake'",
        "Rejected  none",
    ]


def test_a_recipe_is_one_file(scratch):
    assert scratch.apply("extending.md", "A recipe") == ["pipeline/recipes/equations.py"]
    program = """
import json, sys
sys.path += ["tests", "tests/recipes"]
import yaml
from tiny_recipes import batch
from pipeline.params import Params
from pipeline.recipes import RECIPES
content = yaml.safe_load(open("params.yaml"))
content["student"]["recipe"] = "preserving_both"
recipe = RECIPES[Params.model_validate(content).student.recipe]
terms = recipe.terms(batch("preserving_both"))
sum(terms.values()).backward()
print(json.dumps([sorted(terms), recipe.about, recipe.formula[:8], recipe.regions]))
"""
    terms, about, formula, regions = json.loads(scratch.run("-c", program))
    assert terms == ["contrastive", "preserve", "regions"]
    assert (about, formula, regions) == ("`preserving` + `preserving_regions`", "L = (1 -", True)
    assert "preserving_both" in scratch.run("-c", "from docs.generator.sections import recipes; print(recipes())")


def test_a_stage_is_its_file_a_line_in_the_catalog_and_what_is_written_into_dvc_yaml(scratch):
    assert scratch.apply("extending.md", "A stage") == ["stages/lengths.py", "pipeline/artifacts/catalog.py"]
    scratch.run("-m", "console.main", "graph", "--write")
    stage = yaml.safe_load((scratch.root / "dvc.yaml").read_text())["stages"]["lengths"]
    assert stage["desc"] == "Count the words of every kept caption"
    assert {"stages/lengths.py", "data/curate/manifest.parquet"} <= set(stage["deps"])
    assert "data/lengths/lengths.json" in stage["outs"]
    write_manifest(scratch.root / "data/curate", {Split.TRAIN: {"a": ["a dog", "a dog asleep"], "b": ["a cat"]}})
    scratch.run("-m", "stages.lengths")
    assert json.loads((scratch.root / "data/lengths/lengths.json").read_text()) == {"2": 2, "3": 1}
    assert json.loads((scratch.root / "data/lengths/metrics.json").read_text()) == {"captions": 3, "longest": 3}


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
