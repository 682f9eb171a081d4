import re
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.probes.attributes import NoAttributes, read

IMAGES, SPLIT = "images.txt", "train_test_split.txt"
ATTRIBUTES, LABELS = "attributes/attributes.txt", "attributes/image_attribute_labels.txt"
CLASSES, PREDICATES, MATRIX = "classes.txt", "predicates.txt", "predicate-matrix-binary.txt"
TRAIN, TEST = "trainclasses.txt", "testclasses.txt"

CUB = {
    IMAGES: "1 001.Albatross/a.jpg\n2 001.Albatross/b.jpg\n3 002.Crow/c.jpg\n",
    SPLIT: "1 0\n2 1\n3 1\n",
    ATTRIBUTES: "1 has_bill_shape::curved_(up_or_down)\n2 has_wing_color::blue\n",
    LABELS: "1 1 0 3 27.7080\n1 2 1 3 27.7080\n2 1 1 1 5.1\n2 2 1 4 0\n3 1 0 2 9\n3 2 0 4 1.5\n",
}
"""Three birds, the first for the test: it has blue wings alone, the second both attributes, the third none."""
BIRDS = ["001.Albatross/a.jpg", "001.Albatross/b.jpg", "002.Crow/c.jpg"]
BIRDS_HAVE = [[False, True], [True, True], [False, False]]

AWA2 = {
    CLASSES: "         1\tantelope\n         2\tgrizzly+bear\n         3\tkiller+whale\n",
    PREDICATES: "         1\tblack\n         2\twhite\n",
    MATRIX: "0 0 \n 1 0\n1 1\n",
    TRAIN: "killer+whale\nantelope\n",
    TEST: "grizzly+bear\n",
}
ANIMALS = {
    "antelope/antelope_10001.jpg": (False, False, True),
    "antelope/antelope_10002.jpg": (False, False, True),
    "grizzly+bear/grizzly+bear_10001.jpg": (True, False, False),
    "killer+whale/killer+whale_10001.jpg": (True, True, True),
}
"""Black, white, for training."""


def put(folder, texts, pictures):
    """Write text files, and images, which the reader need not open."""
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    for name in pictures:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def cub(folder, changed=None):
    return put(folder, CUB | (changed or {}), [f"images/{bird}" for bird in BIRDS])


def awa2(folder, changed=None):
    return put(folder, AWA2 | (changed or {}), [f"JPEGImages/{animal}" for animal in ANIMALS])


def refusal(folder):
    """What a user is told of a folder that cannot be read."""
    with pytest.raises(NoAttributes) as caught:
        read(folder)
    return str(caught.value)


def below(folder, paths):
    return [path.relative_to(folder).as_posix() for path in paths]


def by_picture(folder, found):
    """Labels and whether it is for training of each image, none of them twice."""
    names = below(folder, found.paths)
    assert len(set(names)) == len(names)
    return {name: (*own, t) for name, own, t in zip(names, found.labels.tolist(), found.training.tolist(), strict=True)}


# CUB-200-2011


def test_birds_have_their_attributes_and_their_part(tmp_path):
    found = read(cub(tmp_path))
    assert found.names == ["has_bill_shape::curved_(up_or_down)", "has_wing_color::blue"]
    assert found.groups == ["has_bill_shape", "has_wing_color"]
    assert below(tmp_path / "images", found.paths) == BIRDS
    assert (found.labels.dtype, found.labels.tolist()) == (np.dtype(bool), BIRDS_HAVE)
    assert (found.training.dtype, found.training.tolist()) == (np.dtype(bool), [False, True, True])


def test_the_names_may_lie_beside_as_they_are_unpacked(tmp_path):
    cub(tmp_path)
    (tmp_path / ATTRIBUTES).rename(tmp_path / "attributes.txt")
    assert read(tmp_path).names == ["has_bill_shape::curved_(up_or_down)", "has_wing_color::blue"]


def test_the_names_inside_count_before_those_beside(tmp_path):
    cub(tmp_path, {"attributes.txt": "1 other::a\n2 other::b\n"})
    assert read(tmp_path).groups == ["has_bill_shape", "has_wing_color"]


def test_numbers_are_names_and_their_order_is_none(tmp_path):
    changed = {
        IMAGES: "70 002.Crow/c.jpg\n5 001.Albatross/b.jpg\n6 001.Albatross/a.jpg\n",
        SPLIT: "5 1\n6 0\n70 1\n",
        ATTRIBUTES: "9 blue\n4 curved\n",
        LABELS: "5 4 1 1 1\n6 9 1 1 1\n70 9 0 1 1\n70 4 0 1 1\n6 4 0 1 1\n5 9 1 1 1\n",
    }
    found = read(cub(tmp_path, changed))
    assert found.names == ["blue", "curved"]
    assert by_picture(tmp_path / "images", found) == {
        "001.Albatross/a.jpg": (True, False, False),
        "001.Albatross/b.jpg": (True, True, True),
        "002.Crow/c.jpg": (False, False, True),
    }


def test_an_attribute_without_a_group_is_of_all(tmp_path):
    found = read(cub(tmp_path, {ATTRIBUTES: "1 has_bill: long\n2 a::b::c\n"}))
    assert found.names == ["has_bill: long", "a::b::c"]
    assert found.groups == ["", "a"]


@pytest.mark.parametrize("rest", ["1 0", "4 0 0 12.5", "? not sure", "0"])
def test_certainty_seconds_and_further_columns_do_not_matter(tmp_path, rest):
    lines = [" ".join([*line.split()[:3], rest]) for line in CUB[LABELS].splitlines()]
    assert read(cub(tmp_path, {LABELS: "\n".join(lines)})).labels.tolist() == BIRDS_HAVE


@pytest.mark.parametrize("end", ["\r\n", "\n\n", " \n"])
def test_birds_may_be_listed_with_other_line_ends_and_empty_lines(tmp_path, end):
    found = read(cub(tmp_path, {name: text.replace("\n", end) for name, text in CUB.items()}))
    assert below(tmp_path / "images", found.paths) == BIRDS
    assert found.labels.tolist() == BIRDS_HAVE


VISIBLE = st.characters(categories=("L", "N", "P", "S", "Zs"), exclude_characters=":")
WORDS = st.text(VISIBLE, min_size=1, max_size=8).filter(lambda word: word == word.strip())
FILES = st.text("abéж _-+%#", max_size=8).map(lambda name: f"a folder/{name}.jpg")


@st.composite
def birds(draw):
    """Names with their groups, images, labels and parts, and the same in files whose lines have any order."""
    groups = draw(st.lists(st.none() | WORDS, min_size=1, max_size=4))
    called = [f"{group}::{draw(WORDS)}" if group else draw(WORDS) for group in groups]
    pictures = draw(st.lists(FILES, min_size=2, max_size=4, unique=True))
    training = draw(st.permutations([True, False] + [draw(st.booleans()) for _ in pictures[2:]]))
    has = st.lists(st.booleans(), min_size=len(called), max_size=len(called))
    labels = [draw(has) for _ in pictures]
    numbers = st.integers(0, 10**6)
    ids = draw(st.lists(numbers, min_size=len(pictures), max_size=len(pictures), unique=True))
    columns = draw(st.lists(numbers, min_size=len(called), max_size=len(called), unique=True))
    rest = st.sampled_from(["1 0", "4 27.708", "3 0 5.1", "2 0 0 0 1"])
    cells = [
        f"{i} {j} {int(cell)} {draw(rest)}\n"
        for i, row in zip(ids, labels, strict=True)
        for j, cell in zip(columns, row, strict=True)
    ]
    texts = {
        IMAGES: "".join(f"{i} {name}\n" for i, name in zip(ids, pictures, strict=True)),
        SPLIT: "".join(draw(st.permutations([f"{i} {int(t)}\n" for i, t in zip(ids, training, strict=True)]))),
        ATTRIBUTES: "".join(f"{j} {name}\n" for j, name in zip(columns, called, strict=True)),
        LABELS: "".join(draw(st.permutations(cells))),
    }
    return [group or "" for group in groups], called, pictures, labels, training, texts


@settings(deadline=None, max_examples=40)
@given(birds())
def test_any_set_in_this_layout_is_read_back(tmp_path_factory, given_set):
    groups, called, pictures, labels, training, texts = given_set
    folder = put(tmp_path_factory.mktemp("birds"), texts, [f"images/{name}" for name in pictures])
    found = read(folder)
    assert (found.names, found.groups) == (called, groups)
    assert found.paths == [folder / "images" / name for name in pictures]
    assert (found.labels.tolist(), found.training.tolist()) == (labels, training)


@pytest.mark.parametrize(
    ("file", "text", "line", "said"),
    [
        (IMAGES, "1 a.jpg\n\n2\n", 3, "'2'; expected 2 columns"),
        (IMAGES, "1 a.jpg\none b.jpg\n", 2, "'one'.* no number"),
        (SPLIT, "1 0\n2\n", 2, "'2'; expected 2 columns"),
        (SPLIT, "1 0\n2 1\n4 1\n", 3, "no image 4"),
        (SPLIT, "1 0\n2 2\n3 1\n", 2, "'2'; expected 0 or 1"),
        (SPLIT, "1 0\n2 1 1\n3 1\n", 2, "'1 1'; expected 0 or 1"),
        (SPLIT, "1.5 0\n", 1, r"'1\.5'.* no number"),
        (ATTRIBUTES, "1 has_wing_color::blue\n2\n", 2, "'2'; expected 2 columns"),
        (ATTRIBUTES, "has_wing_color::blue 1\n", 1, "'has_wing_color::blue'.* no number"),
        (LABELS, "1 1 0 3 2\n1 2 1\n", 2, "'1 2 1'; expected 4 columns"),
        (LABELS, "1 1 0 3 2\n1 2 -1 3 2\n", 2, "'-1'; expected 0 or 1"),
        (LABELS, "9 1 0 3 2\n", 1, "no image 9"),
        (LABELS, "\n1 3 0 3 2\n", 2, "no attribute 3"),
        (LABELS, "1 x 0 3 2\n", 1, "'x'.* no number"),
    ],
)
def test_a_line_about_birds_that_cannot_be_used_is_named(tmp_path, file, text, line, said):
    told = refusal(cub(tmp_path, {file: text}))
    assert re.match(rf"{re.escape(str(tmp_path / file))}, line {line}\b.*{said}", told), told


@pytest.mark.parametrize(
    ("file", "line"), [(file, line) for file, text in CUB.items() for line in range(text.count("\n"))]
)
def test_no_line_about_birds_can_be_left_out(tmp_path, file, line):
    lines = CUB[file].splitlines(keepends=True)
    told = refusal(cub(tmp_path, {file: "".join(lines[:line] + lines[line + 1 :])}))
    number = lines[line].split()[0]
    about = {
        IMAGES: f"{tmp_path / SPLIT}, line {number}: there is no image {number}",
        SPLIT: f"{tmp_path / SPLIT} says nothing of image {number}",
        ATTRIBUTES: f"{tmp_path / LABELS}, line {number}: there is no attribute {number}",
        LABELS: f"{tmp_path / LABELS} says nothing of attribute {lines[line].split()[1]} of image {number}",
    }
    assert told == about[file]


@pytest.mark.parametrize("file", [SPLIT, ATTRIBUTES, LABELS])
def test_a_missing_file_about_birds_is_named(tmp_path, file):
    cub(tmp_path)
    (tmp_path / file).unlink()
    told = refusal(tmp_path)
    assert file.removeprefix("attributes/") in told
    assert str(tmp_path) in told


@pytest.mark.parametrize("file", CUB)
def test_a_file_about_birds_that_is_not_utf8_is_named(tmp_path, file):
    told = refusal(cub(tmp_path, {file: b"1 caf\xe9\n"}))
    assert str(tmp_path / file) in told
    assert "utf-8" in told


def test_a_listed_bird_without_a_picture_is_named(tmp_path):
    cub(tmp_path)
    (tmp_path / "images" / BIRDS[1]).unlink()
    assert refusal(tmp_path).startswith(f"{tmp_path / 'images' / BIRDS[1]} is not there")


@pytest.mark.parametrize(("value", "part"), [(0, "training"), (1, "test")])
def test_birds_of_one_part_alone_are_refused(tmp_path, value, part):
    told = refusal(cub(tmp_path, {SPLIT: "".join(f"{i} {value}\n" for i in (1, 2, 3))}))
    assert told == f"{tmp_path} has no {part} images"


@pytest.mark.parametrize(
    ("file", "text", "line"),
    [(IMAGES, CUB[IMAGES] + "3 001.Albatross/a.jpg\n", 4), (ATTRIBUTES, "1 has_bill::long\n" + CUB[ATTRIBUTES], 2)],
    ids=["picture", "attribute"],
)
def test_a_number_given_to_two_things_is_refused(tmp_path, file, text, line):
    assert f"{tmp_path / file}, line {line}" in refusal(cub(tmp_path, {file: text}))


@pytest.mark.parametrize(
    ("file", "added", "line"), [(SPLIT, "1 1", 4), (LABELS, "1 1 1 3 2", 7)], ids=["part", "label"]
)
def test_lines_that_contradict_one_another_are_refused(tmp_path, file, added, line):
    assert f"{tmp_path / file}, line {line}" in refusal(cub(tmp_path, {file: CUB[file] + added + "\n"}))


def test_a_list_of_no_attributes_is_refused(tmp_path):
    assert ATTRIBUTES in refusal(cub(tmp_path, {ATTRIBUTES: "", LABELS: ""}))


@pytest.mark.parametrize("as_file", [True, False], ids=["attributes is a file", "the labels are a folder"])
def test_what_is_no_file_of_labels_is_named(tmp_path, as_file):
    cub(tmp_path)
    if as_file:
        (tmp_path / ATTRIBUTES).rename(tmp_path / "attributes.txt")
        shutil.rmtree(tmp_path / "attributes")
        (tmp_path / "attributes").touch()
    else:
        (tmp_path / LABELS).unlink()
        (tmp_path / LABELS).mkdir()
    assert LABELS in refusal(tmp_path)


# AWA2


def test_animals_have_the_attributes_and_the_part_of_their_class(tmp_path):
    found = read(awa2(tmp_path))
    assert (found.names, found.groups) == (["black", "white"], ["", ""])
    assert (found.labels.dtype, found.training.dtype) == (np.dtype(bool), np.dtype(bool))
    assert by_picture(tmp_path / "JPEGImages", found) == ANIMALS


def test_rows_and_columns_are_in_the_order_of_the_lists(tmp_path):
    changed = {
        CLASSES: "3 killer+whale\n1 antelope\n2 grizzly+bear\n",
        PREDICATES: "2 white\n1 black\n",
        MATRIX: "1 1\n0 0\n0 1\n",
    }
    found = read(awa2(tmp_path, changed))
    assert found.names == ["white", "black"]
    assert found.labels[:, ::-1].tolist() == [[True, True], [False, False], [False, False], [True, False]]
    assert [path.parent.name for path in found.paths] == ["killer+whale", "antelope", "antelope", "grizzly+bear"]


@pytest.mark.parametrize("end", ["\r\n", "\n\n", " \n"])
def test_animals_may_be_listed_with_other_line_ends_and_empty_lines(tmp_path, end):
    found = read(awa2(tmp_path, {name: text.replace("\n", end) for name, text in AWA2.items()}))
    assert by_picture(tmp_path / "JPEGImages", found) == ANIMALS


@pytest.mark.parametrize(
    ("file", "text", "line", "said"),
    [
        (CLASSES, "1 antelope\n2\n", 2, "'2'; expected 2 columns"),
        (PREDICATES, "black 1\n", 1, "'black'.* no number"),
        (MATRIX, "0 0\n1 x\n1 1\n", 2, "'x'; expected 0 or 1"),
        (MATRIX, "0 0\n\n1 0\n1 -1\n", 4, "'-1'; expected 0 or 1"),
        (TRAIN, "antelope\nunicorn\n", 2, "no class 'unicorn'"),
        (TEST, "Grizzly+Bear\n", 1, r"no class 'Grizzly\+Bear'"),
    ],
)
def test_a_line_about_animals_that_cannot_be_used_is_named(tmp_path, file, text, line, said):
    told = refusal(awa2(tmp_path, {file: text}))
    assert re.match(rf"{re.escape(str(tmp_path / file))}, line {line}\b.*{said}", told), told


WRONG_SIZES = ["0 0\n1 0\n", "0 0\n1 0\n1 1\n0 1\n", "0 0\n1\n1 1\n", "0 0\n1 0 1\n1 1\n", "0\n1\n1\n", ""]


@pytest.mark.parametrize("matrix", WRONG_SIZES)
def test_a_matrix_of_another_size_says_what_was_expected(tmp_path, matrix):
    told = refusal(awa2(tmp_path, {MATRIX: matrix}))
    assert re.match(rf"{re.escape(str(tmp_path / MATRIX))}\b.*expected (3 .*classes|2 .*predicates)\.txt", told), told


@pytest.mark.parametrize(
    ("matrix", "found"), [("0 0\n1 0 1 1 1\n1 1\n", r"line 2\b.*\b5\b"), ("0 0\n" * 7, r"\b7\b")], ids=["row", "rows"]
)
def test_a_matrix_of_another_size_says_what_was_found(tmp_path, matrix, found):
    assert re.search(found, refusal(awa2(tmp_path, {MATRIX: matrix})).removeprefix(str(tmp_path)))


@pytest.mark.parametrize("file", [CLASSES, MATRIX, TRAIN, TEST])
def test_a_missing_file_about_animals_is_named(tmp_path, file):
    awa2(tmp_path)
    (tmp_path / file).unlink()
    assert str(tmp_path / file) in refusal(tmp_path)


@pytest.mark.parametrize("file", AWA2)
def test_a_file_about_animals_that_is_not_utf8_is_named(tmp_path, file):
    told = refusal(awa2(tmp_path, {file: b"1 caf\xe9\n"}))
    assert str(tmp_path / file) in told
    assert "utf-8" in told


@pytest.mark.parametrize("gone", ["folder", "pictures"])
def test_a_class_without_pictures_is_named(tmp_path, gone):
    folder = awa2(tmp_path) / "JPEGImages/grizzly+bear"
    shutil.rmtree(folder)
    if gone == "pictures":
        put(folder, {}, ["notes.txt"])
    assert refusal(tmp_path) == f"{folder} has no images"


@pytest.mark.parametrize(("file", "part"), [(TRAIN, "training"), (TEST, "test")])
def test_animals_of_one_part_alone_are_refused(tmp_path, file, part):
    assert refusal(awa2(tmp_path, {file: "\n"})) == f"{tmp_path} has no {part} images"


def test_animals_of_no_part_are_refused(tmp_path):
    assert refusal(awa2(tmp_path, {TRAIN: "", TEST: ""})) == f"{tmp_path} has no training images"


@pytest.mark.parametrize("file", [TRAIN, TEST], ids=["for both parts", "twice for one"])
def test_a_class_listed_twice_is_refused(tmp_path, file):
    assert "grizzly+bear" in refusal(awa2(tmp_path, {file: AWA2[file] + "grizzly+bear\n"}))


# Neither


def test_a_folder_in_neither_layout_says_what_was_expected(tmp_path):
    told = refusal(put(tmp_path, {CLASSES: "1 a\n"}, ["a.jpg"]))
    assert told.startswith(f"{tmp_path} has neither images.txt")
    assert "predicates.txt" in told
    assert "probe.attributes" in told


def test_a_folder_that_is_not_there_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match=r"nowhere has neither"):
        read(tmp_path / "nowhere")
