"""spaCy models from anywhere: nothing of them is run or imported, and what is broken ends in a sentence."""

import os
import shutil
import sys

import pytest
import spacy

from pipeline.errors import InputError
from pipeline.spans.phrases import load_parser


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A model with a parser of random weights."""
    nlp = spacy.blank("en")
    nlp.add_pipe("parser").add_label("nsubj")
    nlp.initialize()
    folder = tmp_path_factory.mktemp("whole") / "model"
    nlp.to_disk(folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "model")


def configure(folder, old, new):
    path = folder / "config.cfg"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))


def marking(mark):
    return f"open({str(mark)!r}, 'w')\n"


def test_a_folder_is_opened_and_its_own_code_is_not_run(folder, tmp_path):
    for name in ("__init__.py", "functions.py", "parser/__init__.py"):
        (folder / name).write_text(marking(tmp_path / "mark"))
    parser = load_parser(str(folder))
    assert parser.name.startswith("en_")
    assert len(list(parser(["a dog", ""]))) == 2
    assert not (tmp_path / "mark").exists()


def install(site, name, folder=None):
    """An installed package, which leaves a mark when it is imported; with a model if there is a folder."""
    package = site / name
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(marking(site / "mark"))
    (site / f"{name}-1.0.dist-info").mkdir()
    (site / f"{name}-1.0.dist-info/METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    if folder:
        shutil.copytree(folder, package / "en_pipeline-0.0.0")
        shutil.copy(folder / "meta.json", package / "meta.json")


def test_the_model_of_a_package_is_opened_without_importing_it(folder, tmp_path, monkeypatch):
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(str(site))
    install(site, "model_of_a_package", folder)
    assert load_parser("model_of_a_package").name == load_parser(str(folder)).name
    install(site, "no_model_at_all")
    with pytest.raises(InputError, match="no spaCy model 'no_model_at_all'"):
        load_parser("no_model_at_all")
    assert not (site / "mark").exists()
    assert "model_of_a_package" not in sys.modules


CALLBACK = '{"@callbacks": "spacy.copy_from_base_model.v1", "tokenizer": "en_other", "vocab": "en_other"}'
FOREIGN = {
    "a callback": lambda f: configure(f, "before_creation = null", f"before_creation = {CALLBACK}"),
    "another tokenizer": lambda f: configure(f, '"spacy.Tokenizer.v1"', '"own.Tokenizer.v1"'),
    "another architecture": lambda f: configure(f, '"spacy.TransitionBasedParser.v2"', '"own.Parser.v1"'),
    "an unknown one of spaCy": lambda f: configure(f, '"spacy.TransitionBasedParser.v2"', '"spacy.Parser.v99"'),
    "a reader": lambda f: configure(f, "moves = null", 'moves = {"@readers": "srsly.read_json.v1", "path": "/etc/x"}'),
    "another factory": lambda f: configure(f, 'factory = "parser"', 'factory = "own"'),
    "another model": lambda f: configure(f, 'factory = "parser"', 'source = "en_other"'),
    "another language": lambda f: configure(f, 'lang = "en"', 'lang = "..os"'),
    "by a variable": lambda f: configure(
        f, '@architectures = "spacy.TransitionBasedParser.v2"', "@architectures = ${paths.train}"
    ),
}
BROKEN = {
    "half a description": lambda f: (f / "meta.json").write_text("{"),
    "a deep one": lambda f: (f / "meta.json").write_text("[" * 100_000),
    "half a configuration": lambda f: (f / "config.cfg").write_text("[nlp"),
    "an empty one": lambda f: (f / "config.cfg").write_text(""),
    "no components": lambda f: configure(f, "[components]", "[others]"),
    "half a parser": lambda f: os.truncate(f / "parser/model", 100),
    "no parser": lambda f: shutil.rmtree(f / "parser"),
    "a tokenizer of something else": lambda f: (f / "tokenizer").write_bytes(b"\x80\x04garbage"),
    "words of something else": lambda f: (f / "vocab/strings.json").write_bytes(b"{"),
    "a link to nowhere": lambda f: ((f / "config.cfg").unlink(), (f / "config.cfg").symlink_to("nowhere")),
}


@pytest.mark.parametrize("damage", (FOREIGN | BROKEN).values(), ids=FOREIGN | BROKEN)
def test_what_is_foreign_or_broken_is_refused_with_its_folder(folder, damage):
    damage(folder)
    with pytest.raises(InputError, match=str(folder)):
        load_parser(str(folder))


def laughs(folder, brackets):
    begin, end = brackets
    steps = "".join(f"x{i} = {begin}{','.join([f'${{nlp.x{i - 1}}}'] * 10)}{end}\n" for i in range(1, 9))
    configure(folder, "[nlp]", f"[nlp]\nx0 = 1\n{steps}")


ENDLESS = {
    "depth": (lambda f: configure(f, "depth = 4", "depth = 100000000"), "expected a number up to 500"),
    "width": (lambda f: configure(f, "hidden_width = 64", "hidden_width = 100000000"), "expected a number up to"),
    "a text of texts": (lambda f: laughs(f, '""'), "refers to"),
    "a list of lists": (lambda f: laughs(f, "[]"), "refers to"),
    "itself": (lambda f: configure(f, "[nlp]", "[nlp]\nx = ${nlp}"), "refers to"),
    "many references": (
        lambda f: configure(f, "[nlp]", f"[nlp]\nx = [{','.join(['${nlp.lang}'] * 300)}]"), "expected up to 200"
    ),
    "many bytes": (lambda f: configure(f, "[nlp]", f"# {'x' * 200_000}\n[nlp]"), "expected up to 131,072"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "said"), ENDLESS.values(), ids=ENDLESS)
def test_a_configuration_that_would_take_all_time_is_refused_before_the_model_is_built(
    folder, change, said, monkeypatch
):
    monkeypatch.setattr(spacy, "load", lambda *_, **__: pytest.fail("it has been opened"))
    change(folder)
    with pytest.raises(InputError, match=f"{folder}.*{said}"):
        load_parser(str(folder))


@pytest.mark.parametrize("name", ["x" * 300, "numpy", "blank:en", "", "link", "file"])
def test_what_is_no_model_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"spans\.parser"):
        load_parser(name)
