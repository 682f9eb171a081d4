"""A stage that is run before another one that it needs says which, before any work."""

import shutil

import pytest
import yaml
from tiny_world import ROOT, execute

from pipeline.errors import InputError

LACKING = {
    "regions": ("models/metrics.json", "models/detector.pt"),
    "targets": ("teacher/teacher.safetensors", "features/captions.arrow"),
    "student": ("models/clip", "features/images.arrow"),
    "evaluate": (
        "probe/metrics.json", "probe/attributes.csv", "teacher/history.csv", "models/pretraining.csv",
        "student/interpolation.csv", "student/metrics.json", "embed/images/student.arrow", "regions/metrics.json",
        "curate/card", "models/metrics.json", "teachers/metrics.json", "features/teachers",
    ),
    "embed": ("student/open_clip_model.safetensors", "student/end_point", "models/clip", "features/captions.arrow"),
    "index": ("embed/images/student.arrow", "embed/captions/student.arrow"),
    "probe": ("embed/attribute_images/base.arrow", "embed/training_captions/end_point.arrow"),
}  # fmt: skip


def needed(stage):
    """Files below data/ that dvc.yaml says a stage reads."""
    deps = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][stage]["deps"]
    return [name.removeprefix("data/") for name in deps if name.startswith("data/") and not name.endswith("SUMS")]


@pytest.mark.parametrize(("stage", "name"), [(s, n) for s, names in LACKING.items() for n in names])
def test_a_stage_without_what_another_writes_says_so(world, tmp_path, monkeypatch, stage, name):
    given, params = world
    monkeypatch.setenv("DCLIP_HOME", str(given.parent / "home_of_all_orders"))
    for other in needed(stage):
        if other != name:
            (tmp_path / "data" / other).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "data" / other).symlink_to(given / other)
    with pytest.raises(InputError) as caught:
        execute([stage], params, tmp_path / "data")
    told = str(caught.value).replace(" has no ", "/")
    assert str(tmp_path / "data" / name) in told, told


def test_evaluate_notices_a_changed_figure_and_goes_on_when_its_stage_has_mended_it(world, tmp_path):
    given, params = world
    stages = ("models", "teachers", "curate", "regions", "features", "teacher", "student", "embed", "probe", "concepts")
    for stage in stages:
        (tmp_path / stage).symlink_to(given / stage)
    (tmp_path / "student").unlink()
    shutil.copytree(given / "student", tmp_path / "student")
    path = tmp_path / "student/history.csv"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"0", b"1", 1))
    with pytest.raises(InputError, match=r"student/history\.csv is not what its stage wrote.*-sf student"):
        execute(["evaluate"], params, tmp_path)
    assert not (tmp_path / "evaluate/report").exists(), "before any work"
