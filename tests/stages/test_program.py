import errno
import json
import os
import re
from pathlib import Path

import pytest
import torch

from pipeline.disk import files, sums
from pipeline.errors import InputError
from pipeline.params import load
from stages.declaration import declared, stage
from stages.program import run

PARAMS = Path(__file__).parents[2] / "params.yaml"


def regions(params, ws):
    """Find regions.

    More about it.
    """
    return {"seed": params.seed, "data": ws.data.name}


declared_as = stage(writes=[], takes=["seed"], less_memory="regions.batch")


def execute(monkeypatch, work, *arguments):
    """The exit code of the program of a stage that does this work."""
    monkeypatch.setattr("sys.argv", [f"{work.__name__}.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        run(declared_as(work))
    return ended.value.code


def test_a_stages_summary_becomes_its_metrics(monkeypatch, tmp_path, capsys):
    code = execute(monkeypatch, regions, "--params", PARAMS, "--data", tmp_path / "data")
    assert code in (0, None)
    assert json.loads((tmp_path / "data/regions/metrics.json").read_text()) == {"seed": 0, "data": "data"}
    assert capsys.readouterr().err == ""


def test_without_options_params_yaml_and_data_are_read(monkeypatch, tmp_path):
    (tmp_path / "params.yaml").write_text(PARAMS.read_text())
    monkeypatch.chdir(tmp_path)
    assert execute(monkeypatch, regions) in (0, None)
    assert (tmp_path / "data/regions/metrics.json").is_file()


def test_an_error_of_the_input_is_one_paragraph_and_exit_code_1(monkeypatch, tmp_path, capsys):
    def regions(params, ws):
        raise InputError("the sky is green, expected blue; paint it")

    assert execute(monkeypatch, regions, "--params", PARAMS, "--data", tmp_path) == 1
    out, err = capsys.readouterr()
    assert err == "regions: the sky is green, expected blue; paint it\n"
    assert out == ""
    assert not (tmp_path / "regions/metrics.json").exists()


def test_a_failed_run_leaves_the_metrics_of_the_last_one(monkeypatch, tmp_path):
    execute(monkeypatch, regions, "--params", PARAMS, "--data", tmp_path)
    before = (tmp_path / "regions/metrics.json").read_bytes()
    execute(monkeypatch, regions, "--params", tmp_path / "none.yaml", "--data", tmp_path)
    assert (tmp_path / "regions/metrics.json").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"params.yaml does not exist"),
        ("seed: [", r"params.yaml is not valid YAML"),
        (PARAMS.read_text().replace("recipe: affinity_regions", "recipe: dclip2"), "student.recipe"),
    ],
    ids=["missing", "not YAML", "unknown recipe"],
)
def test_parameters_that_cannot_be_used_are_an_error_of_the_input(monkeypatch, tmp_path, capsys, content, message):
    path = tmp_path / "params.yaml"
    if content is not None:
        path.write_text(content)
    assert execute(monkeypatch, regions, "--params", path, "--data", tmp_path) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"regions: {path}")
    assert message.split()[0] in err
    assert "Traceback" not in err and "\n\n" not in err


def test_a_mistake_of_the_program_is_not_hidden(monkeypatch, tmp_path):
    def regions(params, ws):
        raise RuntimeError("a mistake")

    monkeypatch.setattr("sys.argv", ["regions.py", "--params", str(PARAMS), "--data", str(tmp_path)])
    with pytest.raises(RuntimeError, match="a mistake"):
        run(declared_as(regions))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_disk_that_cannot_be_written_is_a_sentence_that_says_what_to_do(monkeypatch, tmp_path, capsys, number):
    def regions(params, ws):
        raise OSError(number, os.strerror(number), str(tmp_path / "regions.arrow"))

    assert execute(monkeypatch, regions, "--params", PARAMS, "--data", tmp_path) == 1
    err = capsys.readouterr().err
    assert err.startswith("regions: ") and "run it again" in err and str(tmp_path / "regions.arrow") in err
    assert "Traceback" not in err


def test_a_file_that_is_missing_is_a_mistake_of_the_program(monkeypatch, tmp_path):
    def regions(params, ws):
        raise FileNotFoundError(errno.ENOENT, "No such file", "somewhere")

    monkeypatch.setattr("sys.argv", ["regions.py", "--params", str(PARAMS), "--data", str(tmp_path)])
    with pytest.raises(FileNotFoundError):
        run(declared_as(regions))


def test_the_docstring_is_the_programs_help(monkeypatch, capsys):
    assert execute(monkeypatch, regions, "--help") == 0
    out = capsys.readouterr().out
    assert "Find regions." in out and "More about it." in out
    assert "--params" in out and "--data" in out


def test_a_stage_that_is_run_again_reads_what_it_has_just_written(monkeypatch, tmp_path):
    def regions(params, ws):
        files.write_json(ws.data / "regions/facts.json", {"run": len(list(tmp_path.iterdir()))})
        return {"facts": sums.read_json(ws.data / "regions", "facts.json")}

    for run_of in ("first", "second"):
        (tmp_path / run_of).mkdir()
        assert execute(monkeypatch, regions, "--params", PARAMS, "--data", tmp_path / "data") in (0, None)
        sums.check_all(tmp_path / "data/regions")
    assert (tmp_path / "data/regions" / sums.NAME).is_file()


def test_what_another_stage_has_not_written_names_that_stage(monkeypatch, tmp_path, capsys):
    def regions(params, ws):
        return {"text": (ws.data / "models/detector.pt").read_text()}

    assert execute(monkeypatch, regions, "--params", PARAMS, "--data", tmp_path) == 1
    assert capsys.readouterr().err == f"regions: {tmp_path}/models/detector.pt does not exist; run: dvc repro models\n"


def test_what_killed_runs_left_is_removed_wherever_a_stage_writes(monkeypatch, tmp_path):
    monkeypatch.setenv("DCLIP_HOME", str(tmp_path / "home"))
    folders = [tmp_path / name for name in ("data/regions/deep", "home/store/x", "home/runs/x", "home/pixels")]
    for folder in folders:
        folder.mkdir(parents=True)
        left = folder / f".a.00000000-{'0' * 32}{files.PART}"
        left.write_text("half")
        os.utime(left, (0, 0))
    assert execute(monkeypatch, regions, "--params", PARAMS, "--data", tmp_path / "data") in (0, None)
    assert [list(folder.iterdir()) for folder in folders] == [[]] * 4


@pytest.mark.parametrize(
    ("error", "whose"),
    [
        (MemoryError("Unable to allocate 8 EiB"), "the machine's"),
        (RuntimeError("CUDA out of memory. Tried"), "the GPU's"),
    ],
)
def test_memory_that_is_full_names_the_parameters_to_lower(monkeypatch, tmp_path, capsys, error, whose):
    def regions(params, ws):
        raise error

    assert execute(monkeypatch, regions, "--params", PARAMS, "--data", tmp_path) == 1
    err = capsys.readouterr().err
    assert err == f"regions: {whose} memory is full ({error}): lower regions.batch, then run it again\n"


@pytest.mark.parametrize("name", list(declared()))
def test_every_stage_says_which_of_its_parameters_to_lower(name):
    found = re.findall(r"\b[a-z]+(?:\.\w+)+", declared()[name].less_memory)
    assert found
    for parameter in found:
        section = load(PARAMS).model_dump()
        for part in parameter.split("."):
            section = section[part]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:3", "mps"])
def test_a_device_that_is_not_here_ends_every_stage_before_any_work(monkeypatch, tmp_path, capsys, device):
    (tmp_path / "params.yaml").write_text(PARAMS.read_text().replace("device: cpu", f"device: {device}"))

    def curate(params, ws):
        pytest.fail("it was begun")

    assert execute(monkeypatch, curate, "--params", tmp_path / "params.yaml", "--data", tmp_path) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"curate: the device {device} is not on this machine") and err.count("\n") == 1
