"""A sample world of a few hundred images, and how its stages are run."""

import importlib
from collections.abc import Iterable
from pathlib import Path

import yaml

from pipeline.artifacts.workspace import Workspace
from pipeline.params import Params
from stages.program import perform

ROOT = Path(__file__).parents[2]
STAGES = (
    "sample", "models", "teachers", "curate", "regions", "spans", "features", "teacher", "targets", "concepts",
    "student", "embed", "index", "probe", "evaluate",
)  # fmt: skip

BEFORE_CONCEPTS = STAGES[: STAGES.index("concepts")]


def linked(data: Path, given: Path, stages: Iterable[str]) -> Path:
    """A new data folder with links to what some stages have left in another."""
    data.mkdir(parents=True)
    for stage in stages:
        (data / stage).symlink_to(given / stage)
    return data


def quotas(**images: int) -> dict:
    """Sources that have the names of their kinds, with so many images each."""
    return {name: {"kind": name, "quota": number} for name, number in images.items()}


def tiny(data: Path) -> dict:
    """The shipped parameters, with everything made small."""
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["compute"] |= {"threads": 1, "workers": 1, "batch": 32}
    content["sources"] |= {
        "path": str(data / "sample/corpora"),
        "of": quotas(mscoco=70, flickr30k=50, conceptual_captions=40),
    }
    content["sample"] = {
        "mscoco": 90, "flickr30k": 70, "conceptual_captions": 70, "test": 24, "base_pairs": 160, "zeroshot_val": 1,
        "zeroshot_test": 1, "attributes_train": 80, "attributes_test": 60,
    }  # fmt: skip
    content["curate"] |= {"samples_per_shard": 50}
    content["models"]["path"] = str(data / "sample/base")
    content["models"]["clip"] |= {"epochs": 1, "batch": 32}
    content["teachers"]["large"] |= {"image_size": 96, "epochs": 1, "batch": 32}
    content["models"]["detector"] |= {"images": 16, "epochs": 1, "batch": 8}
    content["regions"] |= {"image_size": 64, "batch": 8, "confidence": 0.01, "max_regions": 3}
    content["teacher"] |= {"epochs": 2, "batch": 32}
    content["student"] |= {"epochs": 2, "batch": 32}
    content["zeroshot"]["path"] = str(data / "sample/zeroshot")
    content["probe"] |= {"attributes": str(data / "sample/attributes"), "words": 20, "near_misses": 3}
    content["evaluate"] = {"bootstrap": 50, "examples": 2}
    return content


def execute(names, params: dict, data: Path) -> None:
    """Run stages in this process, as `python -m stages.<name>` does."""
    checked = Params.model_validate(params)
    for name in names:
        perform(getattr(importlib.import_module(f"stages.{name}"), name), checked, Workspace(data))
