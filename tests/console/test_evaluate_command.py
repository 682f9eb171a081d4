import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tiny_manifest import write_manifest
from tiny_models import COMPUTE, tiny_clip
from tiny_zeroshot import put

from console import main as dclip
from pipeline.artifacts.schema import Split
from pipeline.artifacts.workspace import Workspace
from pipeline.clip.encode import Compute
from pipeline.evaluation import measurement

SAMPLES = {"cc-1": ["a red star", "a star"], "cc-2": ["a blue moon"], "cc-3": ["a cat", "cats", "two cats"]}
SAMPLES |= {f"cc-{i}": [f"number {i}"] for i in range(4, 12)}
VAL = {"cc-20": ["a sea"], "cc-21": ["a sun", "suns"]}
FIGURES = ("recall@1", "recall@5", "recall@10", "mrr", "map", "map@r", "median_rank", "mean_rank")
WAYS = ("text_to_image", "image_to_text")
CLASSES = {"cat": 4, "red_star": 5, "moon": 3}


@pytest.fixture
def program(monkeypatch, capsys):
    """Runs `dclip evaluate` and gives its exit code, output and errors."""

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def execute(*arguments):
        monkeypatch.setattr("sys.argv", ["dclip", "evaluate", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            dclip.main()
        return ended.value.code or 0, *capsys.readouterr()

    return execute


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """data/ with a student, a base and curated images, and images by class in classes/."""
    folder = tmp_path_factory.mktemp("world")
    data = folder / "data"
    write_manifest(data / "curate", {Split.VAL: VAL, Split.TEST: SAMPLES})
    tiny_clip(seed=0).save(data / "student")
    tiny_clip(seed=4).save(data / "models/clip")
    put(folder / "classes", CLASSES)
    return folder


def models(world, *names):
    """As `measurement` takes them."""
    ws = Workspace(world / "data")
    return {role: measurement.load(name, ws, "cpu") for role, name in zip(("model", "against"), names, strict=False)}


class Hub(BaseHTTPRequestHandler):
    """Has nothing, and keeps what it was asked for."""

    def do_HEAD(self):
        self.server.asked.append(self.path)
        self.send_error(404)

    do_GET = do_HEAD  # noqa: N815

    def log_message(self, *_):
        pass


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def rows(out):
    """Lines of the table as words."""
    return [" ".join(line.replace("│", " ").replace("┃", " ").split()) for line in out.splitlines()]


def shown(value, name=""):
    if name in ("median_rank", "mean_rank"):
        return f"{value:.0f}" if round(value, 1) == round(value) else f"{value:.1f}"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def assert_one_error(result, *parts):
    code, out, err = result
    assert (code, out) == (1, "")
    assert err.startswith("dclip: ") and err.count("\n") == 1 and err.endswith("\n")
    assert "Traceback" not in err
    for part in parts:
        assert part in err


# What is measured


def test_by_default_the_student_is_measured_on_the_curated_test_split(program, world):
    code, out, err = program("--stages", world / "data")
    expected = measurement.retrieval(models(world, "student"), world / "data/curate", Split.TEST, COMPUTE, samples=1)
    assert code == 0
    assert "embed images: 11 images" in err
    lines = rows(out)
    for way in WAYS:
        for name in FIGURES:
            title = f"{way} {name}".replace("_", " ")
            assert f"{title} {shown(expected['model'][way][name], name)}" in lines
    assert f"rsum {expected['model']['rsum']:.3f}" in lines
    assert lines[0] == "11 images, 14 captions"
    assert lines[2] == "student"
    assert "zero-shot" not in out and "difference" not in out


def test_stages_are_in_data_unless_told(program, world, monkeypatch):
    monkeypatch.chdir(world)
    assert program()[1] == program("--stages", world / "data")[1]


def test_the_other_split(program, world):
    code, out, err = program("--split", "val", "--stages", world / "data")
    expected = measurement.retrieval(models(world, "student"), world / "data/curate", Split.VAL, COMPUTE, samples=1)
    assert code == 0
    assert "embed images: 2 images" in err
    assert f"text to image mrr {expected['model']['text_to_image']['mrr']:.3f}" in rows(out)


def test_another_model_on_other_data(program, world, tmp_path):
    tiny_clip(seed=2).save(tmp_path / "mine")
    write_manifest(tmp_path / "other", {Split.TEST: VAL})
    out_file = tmp_path / "figures.json"
    code, _, _ = program(
        "--model", tmp_path / "mine", "--data", tmp_path / "other", "--stages", tmp_path / "nowhere", "--out", out_file
    )
    found = json.loads(out_file.read_text())
    expected = measurement.retrieval(
        models(world, str(tmp_path / "mine")), tmp_path / "other", Split.TEST, COMPUTE, samples=1
    )
    assert code == 0
    assert found["models"] == {"model": str(tmp_path / "mine")}
    assert found["retrieval"] == expected
    assert found["retrieval"]["pictures"] == 2


def test_zeroshot_alone_measures_no_retrieval(program, world, tmp_path):
    code, out, _ = program(
        "--zeroshot", world / "classes", "--stages", world / "data", "--out", tmp_path / "figures.json"
    )
    found = json.loads((tmp_path / "figures.json").read_text())
    expected = measurement.classification(models(world, "student"), world / "classes", Split.TEST, COMPUTE, samples=1)
    assert code == 0
    assert set(found) == {"models", "zeroshot"}
    assert found["zeroshot"] == expected
    lines = rows(out)
    for name, value in expected["model"].items():
        assert f"zero-shot {name} {shown(value)}".replace("_", " ") in lines
    assert "recall" not in out and "rsum" not in out


def test_zeroshot_alone_needs_no_curated_data(program, world, tmp_path):
    (tmp_path / "student").symlink_to(world / "data/student")
    assert program("--zeroshot", world / "classes", "--stages", tmp_path)[0] == 0


def test_dtype_batch_and_workers_are_those_of_the_forwards(program, world, monkeypatch):
    used = []
    retrieval = measurement.retrieval

    def spied(models, path, split, compute, **options):
        used.append(compute)
        return retrieval(models, path, split, compute, **options)

    monkeypatch.setattr(measurement, "retrieval", spied)
    assert program("--stages", world / "data")[0] == 0
    assert (
        program("--dtype", "bfloat16", "--batch", 7, "--workers", 1, "--device", "cpu", "--stages", world / "data")[0]
        == 0
    )
    assert used == [Compute("cpu", "float32", 64, workers=2), Compute("cpu", "bfloat16", 7, workers=1)]


# Two models


def test_against_another_model_every_figure_has_its_difference_and_interval(program, world, tmp_path):
    code, out, _ = program(
        "--against", "base", "--samples", 100, "--stages", world / "data", "--out", tmp_path / "figures.json"
    )  # fmt: skip
    found = json.loads((tmp_path / "figures.json").read_text())
    both = models(world, "student", "base")
    expected = measurement.retrieval(both, world / "data/curate", Split.TEST, COMPUTE, samples=100)
    assert code == 0
    assert found == {"models": {"model": "student", "against": "base"}, "retrieval": expected}
    lines = rows(out)
    for way in WAYS:
        for name in FIGURES:
            own, other = (expected[role][way][name] for role in ("model", "against"))
            line = f"{way} {name}".replace("_", " ") + f" {shown(own, name)} {shown(other, name)}"
            if change := expected["difference"][way].get(name):
                line += f" {change['value']:+.3f} {change['low']:+.3f} to {change['high']:+.3f}"
            assert line in lines
    (own, other), change = (expected[role]["rsum"] for role in ("model", "against")), expected["difference"]["rsum"]
    line = f"rsum {own:.3f} {other:.3f} {change['value']:+.3f} {change['low']:+.3f} to {change['high']:+.3f}"
    assert line in lines
    assert "student base difference 95 % interval" in lines


def test_against_another_model_zeroshot_has_what_is_retained(program, world):
    options = ("--zeroshot", world / "classes", "--against", "base", "--samples", 5)
    code, out, _ = program(*options, "--stages", world / "data")
    found = measurement.classification(
        models(world, "student", "base"), world / "classes", Split.TEST, COMPUTE, samples=5
    )
    assert code == 0
    lines = rows(out)
    for name in ("top1", "top5", "mean_per_class", "classes"):
        own, other = (shown(found[role][name]) for role in ("model", "against"))
        line = f"zero-shot {name} {own} {other}".replace("_", " ")
        if change := found["difference"].get(name):
            line += f" {change['value']:+.3f} {change['low']:+.3f} to {change['high']:+.3f}"
        assert line in lines
    share = found["difference"]["retained"]
    assert f"zero-shot retained {found['model']['retained']:.3f} {share['low']:.3f} to {share['high']:.3f}" in lines


def test_a_model_against_itself_differs_by_nothing(program, world):
    _, out, _ = program("--against", "student", "--samples", 10, "--stages", world / "data")
    assert len(re.findall(r"\+0\.000 │ \+0\.000 to \+0\.000", out)) == 13


def test_folds_stand_in_the_table(program, world, monkeypatch):
    monkeypatch.setattr(measurement, "COCO", 11)
    monkeypatch.setattr(measurement, "FOLD", 3)
    code, out, _ = program("--against", "base", "--samples", 10, "--stages", world / "data")
    expected = measurement.retrieval(
        models(world, "student", "base"), world / "data/curate", Split.TEST, COMPUTE, samples=1
    )
    assert code == 0
    for way in WAYS:
        own, other = (expected[role][f"{way}_1k"]["recall@1"] for role in ("model", "against"))
        assert f"{way} 1k recall@1".replace("_", " ") + f" {own:.3f} {other:.3f}" in rows(out)


# The file


def test_the_file_is_whole_json_with_all_that_was_measured(program, world, tmp_path):
    path = tmp_path / "new/folder/figures.json"
    options = ("--data", world / "data/curate", "--zeroshot", world / "classes", "--against", "base", "--samples", 20)
    code, out, _ = program(*options, "--stages", world / "data", "--out", path)
    both = models(world, "student", "base")

    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    assert code == 0
    assert json.loads(path.read_text(), parse_constant=refuse) == {
        "models": {"model": "student", "against": "base"},
        "retrieval": measurement.retrieval(both, world / "data/curate", Split.TEST, COMPUTE, samples=20),
        "zeroshot": measurement.classification(both, world / "classes", Split.TEST, COMPUTE, samples=20),
    }
    assert [p.name for p in path.parent.iterdir()] == ["figures.json"]
    assert "text to image" in out and "zero-shot" in out


def test_without_out_nothing_is_written(program, world, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert program("--stages", world / "data")[0] == 0
    assert list(tmp_path.iterdir()) == []


def test_the_same_figures_are_the_same_file(program, world, tmp_path):
    for name, batch in (("a", 3), ("b", 3)):
        program("--against", "base", "--batch", batch, "--stages", world / "data", "--out", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


# What cannot be used


@pytest.mark.parametrize("option", ["--model", "--against"])
def test_an_unknown_model_says_what_one_may_be(program, world, option):
    result = program(option, "nobody", "--stages", world / "data")
    assert_one_error(result, "no folder nobody; expected student, base, a folder, or NAME:PRETRAINED")


def test_an_unknown_tag_lists_the_known_ones(program, world):
    result = program("--model", "ViT-B-32:nobody", "--stages", world / "data")
    assert_one_error(result, "'nobody' is neither a file nor a pretrained tag of ViT-B-32; tags: openai, ")


def test_without_a_student_it_says_what_is_missing(program, tmp_path):
    assert_one_error(program("--stages", tmp_path), f"{tmp_path}/student has no open_clip_config.json")


def test_unknown_data_says_what_was_expected(program, world, tmp_path):
    result = program("--data", tmp_path, "--stages", world / "data")
    assert_one_error(result, f"{tmp_path} holds no manifest.parquet, dataset_coco.json or dataset_flickr30k.json")


def test_unknown_pictures_by_class_say_what_was_expected(program, world, tmp_path):
    result = program("--zeroshot", tmp_path / "nowhere", "--stages", world / "data")
    assert_one_error(result, f"there is no folder {tmp_path}/nowhere; expected images as")


@pytest.mark.parametrize("split", ["train", "TEST", "", "restval"])
def test_a_split_that_is_not_for_evaluation_is_refused(program, world, split):
    assert_one_error(
        program("--split", split, "--stages", world / "data"), f"--split is {split!r}; expected val or test"
    )


def test_a_split_that_the_data_lacks_is_named(program, world, tmp_path):
    write_manifest(tmp_path, {Split.VAL: VAL})
    assert_one_error(program("--data", tmp_path, "--stages", world / "data"), f"{tmp_path} has no test images")


def test_an_unknown_dtype_lists_the_known_ones(program, world):
    result = program("--dtype", "int8", "--stages", world / "data")
    assert_one_error(result, "--dtype is 'int8'; expected float32, bfloat16, float16")


@pytest.mark.parametrize("options", [("--split", "train"), ("--dtype", "int8")])
def test_options_are_checked_before_anything_is_loaded(program, tmp_path, options):
    assert_one_error(program(*options, "--stages", tmp_path), f"{options[0]} is")


def test_nothing_is_written_of_what_could_not_be_measured(program, world, tmp_path):
    path = tmp_path / "figures.json"
    options = ("--data", world / "data/curate", "--zeroshot", tmp_path / "nowhere")
    code, out, err = program(*options, "--stages", world / "data", "--out", path)
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith("dclip: there is no folder")
    assert not path.exists()


@pytest.mark.parametrize("option", ["--batch", "--samples", "--workers"])
def test_a_number_below_one_is_refused(program, world, option):
    code, _, err = program(option, 0, "--stages", world / "data")
    assert code == 2
    assert option in err


def test_an_unknown_device_is_no_fault_of_the_weights(program, world):
    result = program("--device", "nonsense", "--stages", world / "data")
    assert_one_error(result, "nonsense")
    assert "does not fit" not in result[2]


@pytest.mark.parametrize("name", ["run[bold]", "[/x]"])
def test_brackets_in_a_models_name_are_shown_as_written(program, world, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    tiny_clip().save(tmp_path / name)
    code, out, _ = program("--model", name, "--stages", world / "data")
    assert code == 0
    assert out.count(name) == 1


# Where it is written


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(program, world, tmp_path, monkeypatch):
    monkeypatch.setattr(measurement, "load", lambda *_: pytest.fail("it has been loaded"))
    (tmp_path / "file").write_text("")
    for out, what in ((tmp_path, "is a folder"), (tmp_path / "file/figures.json", "is no folder")):
        assert_one_error(program("--stages", world / "data", "--out", out), "--out: ", what)


# Pretrained weights


def run_with(hub, *arguments, home):
    hosts = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_address[1]}", "HF_HOME": str(home)}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")} | hosts
    command = [sys.executable, "-m", "console.main", "evaluate", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_weights_of_a_tag_are_asked_of_the_hub(hub, world, tmp_path):
    done = run_with(hub, "--model", "ViT-B-32-quickgelu:openai", "--stages", world / "data", home=tmp_path)
    assert done.returncode == 1
    assert "dclip: ViT-B-32-quickgelu with openai" in done.stderr and "Traceback" not in done.stderr
    assert any("/resolve/" in path and "openai" in path for path in hub.asked), (hub.asked, done.stderr)


def test_a_model_that_is_here_asks_no_hub(hub, world, tmp_path):
    done = run_with(hub, "--stages", world / "data", home=tmp_path)
    assert done.returncode == 0
    assert hub.asked == []
