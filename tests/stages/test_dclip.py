import json
from pathlib import Path

import pytest
from tiny_manifest import write_manifest
from tiny_models import COMPUTE, tiny_clip

from pipeline.clip import encode
from pipeline.retrieval.index import RetrievalIndex, exact
from pipeline.schema import Split
from stages import dclip

ROOT = Path(__file__).parents[2]
SAMPLES = {"mscoco-1": ["a red star", "a star"], "cc-2": ["a blue moon"], "flickr30k-3": ["two [tabby] cats"]}


@pytest.fixture
def program(monkeypatch, capsys):
    """Runs `dclip` and gives its exit code, output and errors."""

    def execute(*arguments):
        monkeypatch.setattr("sys.argv", ["dclip", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            dclip.main()
        return ended.value.code or 0, *capsys.readouterr()

    return execute


def assert_one_error(result, *parts):
    code, _, err = result
    assert code == 1
    assert err.startswith("dclip: ") and err.endswith("\n")
    assert "Traceback" not in err and "\n\n" not in err
    for part in parts:
        assert part in err


# profile


def test_an_unknown_profile_lists_the_known_ones(program, tmp_path):
    for name in ("small", "large"):
        (tmp_path / f"{name}.yaml").write_text("")
    result = program("profile", "huge", "--folder", tmp_path, "--params", tmp_path / "params.yaml")
    assert_one_error(result, "no profile", "huge.yaml; there are: large, small")
    assert not (tmp_path / "params.yaml").exists()


def test_a_folder_without_profiles_says_so(program, tmp_path):
    assert_one_error(program("profile", "huge", "--folder", tmp_path / "nowhere"), "there are: none")


@pytest.mark.parametrize("name", ["sample", "paper"])
def test_a_profile_is_copied_over_the_parameters(program, tmp_path, name):
    params = tmp_path / "params.yaml"
    params.write_text("seed: 1")
    code, out, _ = program("profile", name, "--folder", ROOT / "profiles", "--params", params)
    assert code == 0
    assert params.read_bytes() == (ROOT / f"profiles/{name}.yaml").read_bytes()
    assert "dvc repro" in out


def test_a_profile_that_cannot_be_used_is_not_copied(program, tmp_path):
    (tmp_path / "bad.yaml").write_text((ROOT / "profiles/sample.yaml").read_text() + "colour: red\n")
    params = tmp_path / "params.yaml"
    params.write_text("seed: 1")
    result = program("profile", "bad", "--folder", tmp_path, "--params", params)
    assert_one_error(result, "bad.yaml cannot be used", "colour: there is no such parameter")
    assert params.read_text() == "seed: 1"


# show


def results(folder, **student):
    figures = {"recall@1": 0.25, "recall@5": 0.5, "recall@10": 0.75, "mrr": 0.3, "map": 0.3, "map@r": 0.2}
    ways = ("text_to_image", "image_to_text")
    change = {"value": 0.125, "low": -0.0625, "high": 0.3125}
    metrics = {
        "base": {way: {**figures, "median_rank": 7.0} for way in ways} | {"zeroshot": {"top1": 0.5}},
        "student": {way: {**figures, "recall@1": 0.375, "median_rank": 4.0} for way in ways} | student,
        "difference": {way: dict.fromkeys(figures, change) for way in ways},
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
        assert f"{way} median rank 7 4 -3" in lines
    assert "zero-shot top-1 0.500 0.450 -0.050 0.900 retained" in lines
    assert "unseen" not in out


def test_show_of_half_a_file_is_an_error_of_the_input(program, tmp_path):
    results(tmp_path)
    (tmp_path / "evaluate/metrics.json").write_text('{"base": {')
    assert_one_error(program("show", "--data", tmp_path), "metrics.json is not valid JSON")


# search


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A student, three test pictures, and an index in which each picture's vector is its first caption's."""
    data = tmp_path_factory.mktemp("data")
    manifest = write_manifest(data / "curate", {Split.TEST: SAMPLES})
    student = tiny_clip()
    student.save(data / "student")
    first = encode.texts(student, [texts[0] for texts in SAMPLES.values()], COMPUTE).numpy()
    every = encode.texts(student, [text for texts in SAMPLES.values() for text in texts], COMPUTE).numpy()
    index = RetrievalIndex(
        exact(first), exact(every), manifest.keys, manifest.captions, student.weights, manifest.fingerprint
    )
    index.save(data / "index")
    return data


@pytest.mark.parametrize("query", ["", "   ", "\n"])
def test_an_empty_query_is_refused(program, world, query):
    assert_one_error(program("search", query, "--data", world), "the query is empty")


def test_an_empty_query_is_refused_before_anything_is_loaded(program, tmp_path):
    assert_one_error(program("search", "", "--data", tmp_path), "the query is empty")


def test_search_finds_the_picture_of_a_text(program, world):
    code, out, _ = program("search", "a blue moon", "--top", 2, "--data", world)
    assert code == 0
    rows = [line for line in out.splitlines() if "│ 1 " in line or "│ 2 " in line]
    assert len(rows) == 2
    assert "cc-2" in rows[0] and "1.000" in rows[0] and "a blue moon" in rows[0]


def test_brackets_in_a_caption_are_shown_as_written(program, world):
    _, out, _ = program("search", "cats", "--data", world)
    assert "two [tabby] cats" in out


@pytest.mark.parametrize("query", ["a [bold] star", "[/red] a star", "[link=x]star"])
def test_brackets_in_a_query_are_shown_as_written(program, world, query):
    code, out, _ = program("search", query, "--data", world)
    assert code == 0
    assert f'"{query}"' in out


def test_search_writes_a_page_of_what_it_found(program, world, tmp_path):
    code, out, _ = program("search", "two [tabby] cats", "--html", tmp_path / "found.html", "--data", world)
    assert code == 0
    assert str(tmp_path / "found.html") in out.replace("\n", "")
    html = (tmp_path / "found.html").read_text(encoding="utf-8")
    assert html.index("1. 1.000 two [tabby] cats") < html.index("a blue moon")
    assert html.count("data:image/jpeg;base64,") == 3


def test_search_of_another_students_index_is_refused(program, world, tmp_path):
    tiny_clip(seed=1).save(tmp_path / "student")
    (tmp_path / "index").symlink_to(world / "index")
    assert_one_error(program("search", "a cat", "--data", tmp_path), "was made with weights", "dvc repro index")


def test_search_without_a_student_says_what_is_missing(program, tmp_path):
    assert_one_error(program("search", "a cat", "--data", tmp_path), "student has no open_clip_config.json")


def test_search_without_an_index_says_what_to_run(program, tmp_path):
    tiny_clip().save(tmp_path / "student")
    assert_one_error(program("search", "a cat", "--data", tmp_path), "no index in", "dvc repro index")


def test_search_asks_for_at_least_one_picture(program, world):
    code, _, err = program("search", "a cat", "--top", 0, "--data", world)
    assert code == 2
    assert "--top" in err
