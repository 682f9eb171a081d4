import json
import socket
from http.server import HTTPServer

import pytest
from tiny_manifest import png, write_manifest
from tiny_models import COMPUTE, picture, tiny_clip
from tiny_program import assert_one_error

from pipeline.artifacts.schema import Split
from pipeline.clip import encode
from pipeline.search.index import RetrievalIndex

SAMPLES = {"mscoco-1": ["a red star", "a star"], "cc-2": ["a blue moon"], "flickr30k-3": ["two [tabby] cats"]}


def write_world(data, embeddings_of):
    manifest = write_manifest(data / "curate", {Split.TEST: SAMPLES})
    student = tiny_clip()
    student.save(data / "student")
    every = encode.texts(student, [text for texts in SAMPLES.values() for text in texts], COMPUTE).numpy()
    index = RetrievalIndex.build(
        embeddings_of(student), every, manifest.keys, manifest.captions, weights=student.weights,
        manifest=manifest.fingerprint,
    )  # fmt: skip
    index.save(data / "index/faiss")
    return data


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A student, three test images, and an index in which each image's vector is its first caption's."""
    first = [texts[0] for texts in SAMPLES.values()]
    return write_world(tmp_path_factory.mktemp("data"), lambda clip: encode.texts(clip, first, COMPUTE).numpy())


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """The same with the images' own vectors."""

    def embeddings_of(clip):
        to_pixels = clip.pixels()
        return encode.images(clip, [to_pixels(picture(i)) for i in range(3)], COMPUTE).numpy()

    return write_world(tmp_path_factory.mktemp("data"), embeddings_of)


@pytest.fixture
def moon(tmp_path):
    path = tmp_path / "[moon] é.png"
    path.write_bytes(png(picture(1)))
    return path


def rows(out):
    """Rank, similarity, key and caption of every row of a printed table."""
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in out.splitlines() if line[:1] == "│"]
    return [row for row in cells if row[0].isdigit()]


# by text


@pytest.mark.parametrize("query", ["", "   ", "\n"])
def test_an_empty_query_is_refused(program, world, query):
    assert_one_error(program("search", query, "--data", world), "the query is empty")


def test_an_empty_query_is_refused_before_anything_is_loaded(program, tmp_path):
    assert_one_error(program("search", "", "--data", tmp_path), "the query is empty")


def test_search_finds_the_picture_of_a_text(program, world):
    code, out, _ = program("search", "a blue moon", "--top", 2, "--data", world)
    assert code == 0
    found = rows(out)
    assert [row[0] for row in found] == ["1", "2"]
    assert found[0] == ["1", "1.000", "cc-2", "a blue moon"]


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


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_what_of_a_query_is_not_read_is_said(program, world, options):
    code, _, err = program("search", "a " * 15, *options, "--data", world)
    assert code == 0
    assert err.startswith("dclip: only the first 16 tokens were read")
    assert program("search", "a " * 14, *options, "--data", world)[2] == ""


@pytest.mark.parametrize("query", ["x" * 60_000, "a " * 6000, "a dog \udcff"])
def test_a_query_without_end_is_refused(program, world, query):
    assert_one_error(program("search", query, "--data", world), "expected UTF-8" if "\udcff" in query else "too long")


# by image


def test_search_finds_the_picture_that_it_is_asked_with(program, seen, moon):
    code, out, err = program("search", "--image", moon, "--data", seen)
    assert (code, err) == (0, "")
    assert "[moon] é.png" in out
    assert rows(out)[0] == ["1", "1.000", "cc-2", "a blue moon"]
    assert len(rows(out)) == 3


def test_search_by_picture_writes_a_page_too(program, seen, moon, tmp_path):
    page = tmp_path / "new/found.html"
    code, out, _ = program("search", "--image", moon, "--top", 2, "--html", page, "--data", seen)
    assert code == 0
    assert str(page) in out.replace("\n", "")
    html = page.read_text(encoding="utf-8")
    assert "<h1>[moon] é.png</h1>" in html
    assert "1. 1.000 a blue moon" in html
    assert html.count("data:image/jpeg;base64,") == 2


def test_a_text_and_a_picture_are_refused(program, seen, moon):
    assert_one_error(program("search", "a star", "--image", moon, "--data", seen), "a text and --image were given")


def test_an_index_of_other_pictures_is_refused(program, world, tmp_path):
    (tmp_path / "student").symlink_to(world / "student")
    (tmp_path / "index").symlink_to(world / "index")
    write_manifest(tmp_path / "curate", {Split.TEST: {"cc-1": ["of another curation"]}})
    for command in (("search", "a star"), ("serve", "--port", 0)):
        assert_one_error(program(*command, "--data", tmp_path), "was made with manifest", "run: dvc repro index")


def test_a_page_that_would_be_a_folder_is_refused(program, world, tmp_path):
    assert_one_error(program("search", "a star", "--html", tmp_path, "--data", world), "is a folder; expected a file")


def test_a_page_below_a_file_is_refused(program, world, moon):
    result = program("search", "a star", "--html", moon / "found.html", "--data", world)
    assert_one_error(result, f"--html: {moon} is no folder")


def test_neither_is_refused(program, tmp_path):
    assert_one_error(program("search", "--data", tmp_path), "a text, or --image")


@pytest.mark.parametrize("name", ["nowhere.png", "."])
def test_a_picture_that_is_not_there_is_named(program, seen, tmp_path, name):
    what = "is a folder" if (tmp_path / name).is_dir() else "is not there"
    assert_one_error(program("search", "--image", tmp_path / name, "--data", seen), f"{tmp_path / name} {what}")


@pytest.mark.parametrize("content", [b"", b"no image", png(picture(0))[:300]])
def test_a_picture_that_cannot_be_read_is_refused(program, seen, tmp_path, content):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    assert_one_error(program("search", "--image", path, "--data", seen), "the query is no image")


# as JSON


def test_json_has_what_the_table_has(program, seen):
    _, out, _ = program("search", "a red star", "--data", seen)
    code, text, err = program("search", "a red star", "--json", "--data", seen)
    assert (code, err) == (0, "")
    found = json.loads(text)
    assert [set(one) for one in found] == [{"rank", "key", "similarity", "captions"}] * 3
    told = [[str(one["rank"]), f"{one['similarity']:.3f}", one["key"], one["captions"][0]] for one in found]
    assert told == rows(out)
    assert {one["key"]: one["captions"] for one in found} == SAMPLES
    similarities = [one["similarity"] for one in found]
    assert similarities == sorted(similarities, reverse=True)


def test_json_of_a_picture_with_a_page_is_json_alone(program, seen, moon, tmp_path):
    page = tmp_path / "found.html"
    _, text, _ = program("search", "--image", moon, "--json", "--top", 1, "--html", page, "--data", seen)
    assert [one["key"] for one in json.loads(text)] == ["cc-2"]
    assert page.is_file()


def test_an_error_is_no_json(program, seen):
    result = program("search", " ", "--json", "--data", seen)
    assert_one_error(result, "the query is empty")
    assert result[1] == ""


# serve


def test_serve_says_where_it_is_until_it_is_interrupted(program, seen, monkeypatch):
    asked = []

    def interrupted(server):
        asked.append(server.server_address)
        raise KeyboardInterrupt

    monkeypatch.setattr(HTTPServer, "serve_forever", interrupted)
    code, out, err = program("serve", "--port", 0, "--data", seen)
    assert (code, err) == (0, "")
    host, port = asked[0]
    assert host == "127.0.0.1" and port > 0
    assert f"http://127.0.0.1:{port} " in out


def test_serve_without_an_index_says_what_to_run(program, tmp_path):
    tiny_clip().save(tmp_path / "student")
    write_manifest(tmp_path / "curate", {Split.TEST: {"cc-1": ["a"]}})
    assert_one_error(program("serve", "--port", 0, "--data", tmp_path), "no index in", "dvc repro index")


def test_serve_on_a_port_in_use_says_so(program, seen):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_one_error(program("serve", "--port", port, "--data", seen), str(port), "--port")


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_is_none_is_refused(program, port):
    code, _, err = program("serve", "--port", port)
    assert code == 2
    assert "--port" in err
