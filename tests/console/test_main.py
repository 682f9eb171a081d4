import errno
import json
from pathlib import Path

import pytest
from tiny_program import assert_one_error

from pipeline.disk import files

ROOT = Path(__file__).parents[2]


# profile


def test_an_unknown_profile_lists_the_known_ones(program, tmp_path):
    for name in ("small", "large"):
        (tmp_path / f"{name}.yaml").write_text("")
    result = program("profile", "huge", "--folder", tmp_path, "--params", tmp_path / "params.yaml")
    assert_one_error(result, "no profile", "huge.yaml; there are: large, small")
    assert not (tmp_path / "params.yaml").exists()


def test_a_folder_without_profiles_says_so(program, tmp_path):
    assert_one_error(program("profile", "huge", "--folder", tmp_path / "nowhere"), "there are: none")


def test_a_profile_changes_its_values_and_leaves_the_rest_of_the_file_alone(program, tmp_path):
    params = tmp_path / "params.yaml"
    before = (ROOT / "params.yaml").read_text()
    params.write_text(before)
    code, out, _ = program("profile", "knowledge", "--folder", ROOT / "profiles", "--params", params)
    assert code == 0
    assert "student.recipe: affinity_regions -> knowledge_clip\n" in out
    assert "3 parameters changed; run: dvc repro" in out
    lines = zip(before.splitlines(), params.read_text().splitlines(), strict=True)
    assert [new for old, new in lines if old != new] == [
        "  enabled: true", "  recipe: knowledge_clip", "  text: trainable",
    ]  # fmt: skip


def test_a_profile_that_cannot_be_used_changes_nothing(program, tmp_path):
    (tmp_path / "bad.yaml").write_text("student: {batch: 0}\ncolour: red\n")
    params = tmp_path / "params.yaml"
    params.write_text((ROOT / "params.yaml").read_text())
    result = program("profile", "bad", "--folder", tmp_path, "--params", params)
    assert_one_error(result, "bad.yaml cannot be used", "student.batch", "colour: there is no such parameter")
    assert params.read_text() == (ROOT / "params.yaml").read_text()


# show


def results(folder, teachers=None, **student):
    figures = {"recall@1": 0.25, "recall@5": 0.5, "recall@10": 0.75, "mrr": 0.3, "map": 0.3, "map@r": 0.2}
    ways = ("text_to_image", "image_to_text")
    change = {"value": 0.125, "low": -0.0625, "high": 0.3125}
    metrics = {
        "base": {way: {**figures, "median_rank": 7.0, "mean_rank": 9.25} for way in ways}
        | {"rsum": 3.0, "zeroshot": {"top1": 0.5}},
        "student": {way: {**figures, "recall@1": 0.375, "median_rank": 4.0, "mean_rank": 7.0} for way in ways}
        | {"rsum": 3.25, **student},
        "difference": {way: dict.fromkeys(figures, change) for way in ways}
        | {"rsum": {"value": 0.25, "low": 0.125, "high": 0.5}}
        | {
            "zeroshot": {
                "top1": {"value": -0.05, "low": -0.125, "high": 0.03125},
                "retained": {"value": 0.9, "low": 0.75, "high": 1.0625},
            }
        },
        "teachers": teachers or {},
    }
    for stage, content in (("evaluate", metrics), ("student", {"recipe": "dclip_clean"})):
        (folder / stage).mkdir(parents=True)
        (folder / stage / "metrics.json").write_text(json.dumps(content))


def test_show_without_results_says_what_to_run(program, tmp_path):
    assert_one_error(program("show", "--data", tmp_path), "no results at", "run: dvc repro")


def test_show_prints_both_models_the_difference_and_its_interval(program, tmp_path):
    results(tmp_path, zeroshot={"top1": 0.45, "retained": 0.9})
    code, out, err = program("show", "--data", tmp_path)
    assert (code, err) == (0, "")
    assert "dclip_clean" in out
    lines = [" ".join(line.replace("│", " ").split()) for line in out.splitlines()]
    for way in ("text to image", "image to text"):
        assert f"{way} recall@1 0.250 0.375 +0.125 -0.062 to +0.312" in lines
        assert f"{way} median rank 7 4 -3.0" in lines
        assert f"{way} mean rank 9.2 7 -2.2" in lines
    assert "rsum 3.000 3.250 +0.250 +0.125 to +0.500" in lines
    assert "zero-shot top-1 0.500 0.450 -0.050 -0.125 to +0.031" in lines
    assert "zero-shot retained 0.900 0.750 to 1.062" in lines
    assert "unseen" not in out


def test_show_without_a_share_says_nothing_of_it(program, tmp_path):
    results(tmp_path, zeroshot={"top1": 0.45})  # the base has nothing right
    code, out, _ = program("show", "--data", tmp_path)
    assert code == 0
    assert "zero-shot top-1" in out and "retained" not in out


def test_show_of_a_share_without_an_interval_says_why(program, tmp_path):
    results(tmp_path, zeroshot={"top1": 0.45, "retained": 0.9})
    path = tmp_path / "evaluate/metrics.json"
    metrics = json.loads(path.read_text())
    del metrics["difference"]["zeroshot"]["retained"]
    path.write_text(json.dumps(metrics))
    _, out, _ = program("show", "--data", tmp_path)
    assert "zero-shot retained 0.900 base too seldom right" in " ".join(out.replace("│", " ").split())


def test_show_of_teachers_puts_each_as_it_is_beside_base_and_student(program, tmp_path):
    ways = {way: {"recall@1": 0.625} for way in ("text_to_image", "image_to_text")}
    leads = {way: {"recall@1": {"value": -0.25, "low": -0.375, "high": -0.125}} for way in ways}
    large = {**ways, "dimension": 768, "image_size": 224, "rsum": 4.5, "zeroshot": {"top1": 0.75}, "difference": leads}
    results(tmp_path, {"large": large}, zeroshot={"top1": 0.45, "retained": 0.9})
    _, out, _ = program("show", "--data", tmp_path)
    lines = [" ".join(line.replace("│", " ").split()) for line in out.splitlines()]
    assert "teacher large 768 224 0.625 0.625 0.750 -0.250 (-0.375 to -0.125)" in lines
    assert "base 0.250 0.250 0.500 +0.125 (-0.062 to +0.312)" in lines
    assert "student 0.375 0.375 0.450" in lines


def test_show_without_teachers_says_nothing_of_them(program, tmp_path):
    results(tmp_path, zeroshot={"top1": 0.45, "retained": 0.9})
    out = program("show", "--data", tmp_path)[1].replace(str(tmp_path), "")
    assert "teacher" not in out


@pytest.mark.parametrize("lacking", ["rsum", "zeroshot", "teachers"])
def test_show_of_results_of_another_version_says_what_to_run(program, tmp_path, lacking):
    results(tmp_path, zeroshot={"top1": 0.45, "retained": 0.9})
    path = tmp_path / "evaluate/metrics.json"
    metrics = json.loads(path.read_text())
    del (metrics if lacking == "teachers" else metrics["difference"])[lacking]
    path.write_text(json.dumps(metrics))
    assert_one_error(program("show", "--data", tmp_path), f"has no '{lacking}'", "run: dvc repro evaluate")


def test_a_full_disk_is_a_sentence_that_says_what_to_do(program, tmp_path, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "read_json", full)
    results(tmp_path)
    assert_one_error(program("show", "--data", tmp_path), "the disk is full")


def test_show_of_half_a_file_is_an_error_of_the_input(program, tmp_path):
    results(tmp_path)
    (tmp_path / "evaluate/metrics.json").write_text('{"base": {')
    assert_one_error(program("show", "--data", tmp_path), "metrics.json is not valid JSON")
