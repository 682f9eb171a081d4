"""The programme that measures every stage: what it does with the figures; stages are small programs of the tests."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml

from benchmarks import full_size
from pipeline.errors import InputError

ROOT = Path(__file__).parents[2]
MB = 1_000_000
WRITES = """
import os, pathlib, sys
folder, name, size = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
held = bytearray(os.urandom(64)) * (size // 64)
for place in (folder / "data" / name, pathlib.Path(os.environ["DCLIP_HOME"])):
    place.mkdir(parents=True, exist_ok=True)
(folder / "data" / name / "file").write_bytes(held)
with (pathlib.Path(os.environ["DCLIP_HOME"]) / "store").open("ab") as store:
    store.write(b"ten bytes.")
with (folder / "ran").open("a") as ran:
    print(name, file=ran)
if (folder / "broken").exists():
    sys.exit(3)
"""


def run(folder, size=30 * MB, images=100, params=None, program=WRITES):
    folder.mkdir(exist_ok=True)
    return full_size.Run(
        folder, images, params or {}, lambda name: [sys.executable, "-c", program, str(folder), name, str(size)]
    )


def ran(folder):
    return (folder / "ran").read_text().split()


UNTIL_SEEN = """
import json
figures = folder / "figures.json"
while not figures.exists() or json.loads(figures.read_text())["stages"][name]["own"] < size:
    os.sched_yield()
"""
"""What a stage does until it was seen to hold so many bytes; figures are written whole, so they can always be read."""


def test_a_stages_figures_are_those_of_its_process_and_files(tmp_path, monkeypatch):
    monkeypatch.setattr(full_size, "KEPT", 0)
    found = run(tmp_path, program=WRITES + UNTIL_SEEN).stage("curate")
    assert found["seconds"] > 0 and found["processors"] > 0 and found["attempts"] == 1
    assert (found["bytes"], found["home"]) == (30 * MB, 10)
    assert 30 * MB <= found["own"] < found["largest"] < 300 * MB
    assert json.loads((tmp_path / full_size.FIGURES).read_text())["stages"]["curate"] == found


def test_what_is_done_is_not_run_again(tmp_path):
    first = run(tmp_path)
    found = [first.stage(name) for name in ("curate", "models")]
    second = run(tmp_path)
    assert [second.stage(name) for name in ("curate", "models")] == found
    second.stage("regions")
    assert ran(tmp_path) == ["curate", "models", "regions"]


def test_a_stage_that_fails_is_named_with_its_log_and_run_again(tmp_path):
    (tmp_path / "broken").touch()
    with pytest.raises(InputError, match=r"curate ended with 3; see .*curate\.log, then run it again"):
        run(tmp_path).stage("curate")
    (tmp_path / "broken").unlink()
    found = run(tmp_path).stage("curate")
    assert found["attempts"] == 2
    assert found["home"] == 20, "what the first attempt has left counts, too"


def test_after_a_kill_the_stage_that_was_under_way_is_ended_and_keeps_its_seconds(tmp_path):
    paths = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    code = "import sys, test_full_size; test_full_size.run_for_ever(sys.argv[1])"
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": paths}) as program:
        assert [program.stdout.readline() for _ in range(3)] == [b"noted\n"] * 3
        program.kill()
    known = json.loads((tmp_path / full_size.FIGURES).read_text())["stages"]["curate"]
    assert known["seconds"] > 0
    left = known["process"][0]
    found = run(tmp_path).stage("curate")
    assert found["seconds"] > known["seconds"]
    assert found["attempts"] == 2
    assert not is_running(left)


def run_for_ever(folder):
    """A stage that does not end; a line is printed whenever its figures have been noted."""
    write = full_size.files.write_json
    full_size.files.write_json = lambda path, value: (write(path, value), print("noted", flush=True))
    full_size.KEPT = 0
    run(Path(folder), program="import signal; signal.pause()").stage("curate")


def is_running(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_other_parameters_need_another_folder(tmp_path):
    run(tmp_path).stage("curate")
    for changed in ({"images": 200}, {"params": {"seed": 1}}):
        with pytest.raises(InputError, match=r"is of 100 images, or of other parameters.* Give another folder"):
            run(tmp_path, **changed)


@pytest.mark.parametrize(
    ("large", "small", "wanted"), [(10.0, 1.0, 1.0), (100.0, 1.0, 2.0), (5.0, 5.0, 0.0), (0, 1.0, None)]
)
def test_the_exponent_says_how_a_figure_grows(large, small, wanted):
    assert full_size.exponent(large, small, 75_000, 7_500) == (wanted and pytest.approx(wanted))


def test_the_table_says_what_was_not_met_and_leaves_out_what_is_not_known():
    def known(images, curate):
        memory = {"own": 2 * MB, "largest": 3 * MB}
        figures = memory | {"processors": 2 * curate, "bytes": 4 * MB, "home": 0, "attempts": 1}
        return {"images": images, "stages": {"curate": {"seconds": curate, **figures}, "models": {"seconds": 1.0}}}

    lines = list(full_size.table(known(1000, 50.0), known(100, 4.0)))
    assert lines[0] == "1,000 images"
    assert lines[2].split()[:9] == ["curate", "50.0", "100.0", "2.0", "3.0", "4.0", "0.0", "1.10", "0.00"]
    assert lines[2].endswith("  NOT met: at most 1.05")
    assert lines[3].split() == ["all", "50.0"]
    assert "NOT met" not in "\n".join(full_size.table(known(1000, 40.0), known(100, 4.0)))


def test_the_corpora_grow_with_the_images_and_all_lies_in_the_folder(tmp_path):
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    quota = sum(source["quota"] for source in content["sources"]["of"].values())
    found = full_size.scaled(
        yaml.safe_load((ROOT / "params.yaml").read_text()), 10 * quota, tmp_path, ["student.epochs=2"]
    )
    assert all(found["sample"][name] == 10 * content["sample"][name] for name in full_size.GROWING)
    for name, source in content["sources"]["of"].items():
        assert found["sources"]["of"][name]["quota"] == 10 * source["quota"]
    assert found["sample"]["base_pairs"] == content["sample"]["base_pairs"]
    assert found["student"]["epochs"] == 2
    assert found["zeroshot"]["path"] == str(tmp_path / "sample/zeroshot")
    with pytest.raises(InputError, match=r"--set student\.epoch=2: there is no such parameter"):
        full_size.scaled(content, quota, tmp_path, ["student.epoch=2"])
