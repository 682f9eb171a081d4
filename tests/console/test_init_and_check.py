import shutil
import subprocess
from pathlib import Path

import pytest
from tiny_corpora import coco, flickr, png, write
from tiny_program import assert_one_error

from pipeline.params import load

ROOT = Path(__file__).parents[2]
PROFILES = ("--profiles", ROOT / "profiles")


@pytest.fixture
def checkout(tmp_path):
    """A folder that git knows, with params.yaml as it is shipped and two corpora in raw/."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    coco(tmp_path / "raw/mscoco", {i: ["a small dog", f"number {i} here"] for i in range(1, 13)}, missing=[3])
    lines = [b"%d.jpg#0\ta small dog" % n for n in range(10)]
    karpathy = {"0.jpg": "test", "1.jpg": "val"}
    pictures = {f"{n}.jpg": png(100 + n) for n in range(10)}
    flickr(tmp_path / "raw/flickr30k", lines, pictures=pictures, karpathy=karpathy)
    git = ("git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b")
    for command in (("init", "-q"), ("add", "params.yaml"), ("commit", "-qm", "as shipped")):
        subprocess.run([*git, *command], check=True, capture_output=True)
    return tmp_path


def init(program, checkout, *options):
    params = checkout / "params.yaml"
    return program("init", "--path", checkout / "raw", "--device", "cpu", "--params", params, *PROFILES, *options)


def test_params_become_those_of_the_sources_found(program, checkout):
    code, out, _ = init(program, checkout)
    assert code == 0
    assert "mscoco, by annotations/captions_train2017.json: 12 images, 11 of them with a file, 24 captions" in out
    assert "10 images, 10 of them with a file, 10 captions, 1 published for test, 1 published for val" in out
    assert "lacking:" in out and "dataset_coco.json" in out and "yolov8x.pt" in out
    params = load(checkout / "params.yaml")
    assert params.sources.quota == {"flickr30k": 8, "mscoco": 11}
    assert params.curate.test == {"flickr30k": "karpathy"}
    assert (params.sources.sample, params.compute.device) == ([], "cpu")
    assert params.models.clip.kind == "open_clip"  # of the profile


def test_a_quota_and_another_profile_can_be_asked_for(program, checkout):
    assert init(program, checkout, "--quota", 9, "--profile", "none")[0] == 0
    params = load(checkout / "params.yaml")
    assert params.sources.quota == {"flickr30k": 8, "mscoco": 9}
    assert params.models.clip.kind == "sample"
    assert_one_error(init(program, checkout, "--yes", "--profile", "huge"), "no profile", "paper")


def test_on_a_terminal_it_asks_for_what_no_option_says(program, checkout, monkeypatch):
    answers = {"Folder": str(checkout / "raw"), "Setting": "none", "Device": "cpu"}
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("typer.prompt", lambda question, default: answers.pop(question.split()[0]))
    assert program("init", "--params", checkout / "params.yaml", *PROFILES)[0] == 0
    assert answers == {}
    assert load(checkout / "params.yaml").sources.quota == {"flickr30k": 8, "mscoco": 11}


def test_what_someone_has_changed_is_overwritten_only_when_asked(program, checkout):
    params = checkout / "params.yaml"
    params.write_text(params.read_text().replace("seed: 0", "seed: 9"))
    changed = params.read_text()
    assert_one_error(init(program, checkout), "was changed", "--yes")
    assert params.read_text() == changed
    assert init(program, checkout, "--yes", "--profile", "none")[0] == 0
    assert load(params).seed == 9
    assert load(params).sources.quota == {"flickr30k": 8, "mscoco": 11}


def test_a_file_that_git_does_not_have_is_not_overwritten(program, checkout):
    shutil.rmtree(checkout / ".git")
    assert_one_error(init(program, checkout), "was changed", "--yes")


def test_a_folder_that_cannot_be_read_as_what_it_looks_like_is_left_out(program, checkout):
    write(checkout / "raw/odd/notes.jsonl", b'{"x": 1}\n')
    code, out, _ = init(program, checkout)
    assert code == 0
    assert "odd: it looks like table, but cannot be read as one" in out
    assert "odd" not in load(checkout / "params.yaml").sources.of


def test_a_table_with_a_split_becomes_a_source_with_a_published_test_split(program, checkout):
    shutil.rmtree(checkout / "raw/flickr30k")
    rows = [
        f'{{"image": "{n}.png", "caption": "a small dog", "split": "{"test" if n < 3 else "train"}"}}' for n in range(9)
    ]
    write(checkout / "raw/mine/rows.jsonl", "\n".join(rows).encode())
    for n in range(9):
        write(checkout / f"raw/mine/{n}.png", png(n))
    assert init(program, checkout)[0] == 0
    params = load(checkout / "params.yaml")
    assert params.sources.of["mine"].kind == "table"
    assert (params.sources.quota["mine"], params.curate.test) == (6, {"mine": "published"})


def test_nothing_is_written_where_nothing_is_recognised(program, checkout):
    shutil.rmtree(checkout / "raw")
    (checkout / "raw/holiday").mkdir(parents=True)
    before = (checkout / "params.yaml").read_text()
    assert_one_error(init(program, checkout), "no folder in", "docs/your-data.md")
    assert (checkout / "params.yaml").read_text() == before


def check(program, checkout, *options):
    return program("check", "--params", checkout / "params.yaml", "--data", checkout / "data", *options)


def test_check_says_why_images_are_not_kept_and_what_the_whole_takes(program, checkout):
    init(program, checkout, "--profile", "none")
    before = sorted(checkout.rglob("*"))
    code, out, _ = check(program, checkout, "--no-models")
    assert code == 0
    assert "mscoco: 36 rows read" in out
    assert "missing_image" in out and "11 of 12 images looked at can be used" in out
    assert "data/curate" in out and "not in these figures: teacher" in out
    assert sorted(checkout.rglob("*")) == before  # nothing is written


def test_check_fails_where_a_source_yields_nothing_or_is_not_there(program, checkout):
    init(program, checkout, "--profile", "none")
    shutil.rmtree(checkout / "raw/mscoco")
    for image in (checkout / "raw/flickr30k/flickr30k_images").iterdir():
        image.write_bytes(b"")
    code, _, err = check(program, checkout, "--no-models")
    assert code == 1
    assert "mscoco: no folder" in err
    assert "flickr30k: none of 8 images can be used (8 empty_file)" in err


def test_check_measures_the_models_that_params_name(program, checkout, monkeypatch):
    from pipeline.trial import rates

    for name in ("CPU_BATCH", "STEP_BATCH"):
        monkeypatch.setattr(rates, name, 2)
    monkeypatch.setattr(rates, "ENOUGH", 0)
    init(program, checkout, "--profile", "none")
    code, out, _ = check(program, checkout)
    assert code == 0
    assert "not measured: detector: it is trained by the stage models, which has not run" in out
    for what in ("features, base", "features, large", "student", "phrases of a caption"):
        assert what in out
