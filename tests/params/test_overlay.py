"""A profile holds what differs from params.yaml; laid over it, it is the setting that its name promises."""

from pathlib import Path

import open_clip
import pytest
import yaml

from pipeline.params import ParamsError, load
from pipeline.params.overlay import overlaid

ROOT = Path(__file__).parents[2]
PAPER = {
    "seed": 17,
    "compute.device": "cuda",
    "compute.dtype": "bfloat16",
    "compute.batch": 256,
    "sources.sample": [],
    "sources.of.mscoco.quota": 50_000,
    "sources.of.flickr30k.quota": 15_000,
    "sources.of.conceptual_captions.quota": 10_000,
    "sample": None,
    "curate.validation": 0.1,
    "models.clip": {"kind": "open_clip", "name": "ViT-B-32-quickgelu", "pretrained": "openai"},
    "models.detector": {"kind": "weights", "path": "data/weights/yolov8x.pt", "sha256": "0" * 64},
    "regions.iou": 0.7,
    "regions.image_size": 640,
    "regions.max_regions": 8,
    "spans.max_phrases": 16,
    "features.spans": ["tokens"],
    "teacher.inputs": "regions",
    "teacher.heads": 8,
    "teacher.lr": 1e-5,
    "teacher.caption_dropout": 0.0,
    "concepts.enabled": False,
    "student.recipe": "dclip",
    "student.text": "frozen",
    "student.temperature": 0.05,
    "student.epochs": 2,
    "student.batch": 64,
    "student.lr": 1e-6,
    "student.max_grad_norm": 0.0,
    "student.keep": 0.94,
    "student.weights.preserve": 1.0,
    "student.weights.regions": 1.0,
    "student.weights.concepts": 0.01,
    "probe.enabled": False,
}
"""The published setting; what else there is stands as in params.yaml."""

RECOMMENDED = {
    "compute.dtype": "bfloat16",
    "sources.sample": [],
    "models.clip": {"kind": "open_clip", "name": "ViT-B-32", "pretrained": "datacomp_xl_s13b_b90k"},
    "teachers.dfn2b.pretrained": "dfn2b_s39b",
    "teachers.datacomp.pretrained": "datacomp_xl_s13b_b90k",
    "views.count": 4,
    "views.flip": 0.0,
    "spans.parser": "rules",
    "features.spans": ["phrases"],
    "student.recipe": "affinity_regions",
    "student.temperature": "learnable",
    "student.precision": "bfloat16",
    "student.keep": 0.98,
}
"""What its comments speak of, whatever params.yaml says of it."""


def laid(folder: Path, profile: str | Path, params: str | None = None) -> Path:
    """The file that comes of laying a profile, a path or its text, over parameters, those that ship by default."""
    given, path = folder / "params.yaml", profile
    given.write_text(params or (ROOT / "params.yaml").read_text())
    if isinstance(profile, str):
        path = folder / "profile.yaml"
        path.write_text(profile)
    given.write_text(overlaid(given, path)[0])
    return given


def flat(content, within=""):
    for name, value in content.items():
        yield f"{within}{name}", value
        if isinstance(value, dict):
            yield from flat(value, f"{within}{name}.")


@pytest.mark.parametrize(("profile", "wanted"), [("paper", PAPER), ("recommended", RECOMMENDED)])
def test_a_profile_is_the_setting_that_its_name_promises(tmp_path, profile, wanted):
    found = dict(flat(load(laid(tmp_path, ROOT / f"profiles/{profile}.yaml")).model_dump()))
    assert {name: found[name] for name in wanted} == wanted


def test_what_the_recommended_profile_fetches_is_published():
    profile = yaml.safe_load((ROOT / "profiles/recommended.yaml").read_text())
    for clip in (profile["models"]["clip"], *profile["teachers"].values()):
        assert clip["pretrained"] in open_clip.list_pretrained_tags_by_model(clip["name"])


@pytest.mark.parametrize("path", sorted((ROOT / "profiles").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_profile_holds_nothing_that_params_yaml_says_already(tmp_path, path):
    shipped = dict(flat(yaml.safe_load((ROOT / "params.yaml").read_text())))
    for name, value in flat(yaml.safe_load(path.read_text())):
        is_replaced_whole = name.startswith("sources.of.")
        assert isinstance(value, dict) or is_replaced_whole or value != shipped.get(name, "nothing"), name


@pytest.mark.parametrize("path", sorted((ROOT / "profiles").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_profile_can_be_laid_over_what_is_shipped(tmp_path, path):
    assert laid(tmp_path, path).is_file()


def test_a_section_that_may_be_left_out_is_gone_into(tmp_path):
    shipped = yaml.safe_load((ROOT / "params.yaml").read_text())
    found = yaml.safe_load(laid(tmp_path, "sample: {uncaptioned: 40}").read_text())
    assert found["sample"] == shipped["sample"] | {"uncaptioned": 40}


def test_a_profile_laid_over_twice_changes_nothing_the_second_time(tmp_path):
    once = laid(tmp_path, ROOT / "profiles/paper.yaml").read_text()
    assert overlaid(tmp_path / "params.yaml", ROOT / "profiles/paper.yaml") == (once, [])


def test_what_is_no_section_is_replaced_as_a_whole(tmp_path):
    profile = "sources: {of: {flickr30k: {kind: flickr30k, quota: 5}}}\nmodels: {clip: {kind: directory, path: w}}\n"
    changed = load(laid(tmp_path, profile))
    assert changed.sources.quota == {"flickr30k": 5}
    assert changed.models.clip.model_dump() == {"kind": "directory", "path": "w"}
    assert changed.models.path == load(ROOT / "params.yaml").models.path, "a section is gone into"


def test_comments_stay(tmp_path):
    commented = (ROOT / "params.yaml").read_text().replace("  patience: 0\n", "  patience: 0  # as ever\n")
    text = laid(tmp_path, "student: {patience: 9}", commented).read_text()
    assert text == commented.replace("  patience: 0  # as ever", "  patience: 9  # as ever")


@pytest.mark.parametrize("profile", ["seed: [1", "[1]", "seed: -1", "student: 3", "student: null", "a: {b: 1}", "!x y"])
def test_what_cannot_be_laid_over_is_refused(tmp_path, profile):
    with pytest.raises(ParamsError, match=r"profile\.yaml cannot be"):
        laid(tmp_path, profile)
