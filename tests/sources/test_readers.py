import subprocess
import sys

import pytest
from reading import read

from pipeline import sources
from pipeline.artifacts.schema import Reason
from pipeline.sources import CORPORA, Caption, File, Held, Rejected, Source, SourceError
from pipeline.sources.rows import accounted


@pytest.mark.parametrize("source", CORPORA)
def test_an_absent_corpus_is_an_error_that_names_its_folder_and_the_parameter(tmp_path, source):
    with pytest.raises(SourceError, match=r"sources\.of") as caught:
        read(source, tmp_path / "nowhere")
    assert source in str(caught.value)
    assert str(tmp_path / "nowhere") in str(caught.value)


def test_an_unknown_corpus_is_an_error_that_lists_the_known_ones(tmp_path):
    with pytest.raises(SourceError, match="'laion'; there are conceptual_captions, flickr30k, folder, huggingface"):
        read("laion", tmp_path)


@pytest.mark.parametrize("source", CORPORA)
def test_an_empty_folder_is_an_error_that_says_what_was_expected(tmp_path, source):
    with pytest.raises(SourceError, match=str(tmp_path)):
        list(read(source, tmp_path))


@pytest.mark.parametrize("corpus", CORPORA.values(), ids=CORPORA)
def test_every_kind_says_what_must_be_said_of_it(corpus):
    assert all((corpus.title, corpus.terms))


def test_the_corpora_are_known_without_loading_torch():
    command = "import sys, pipeline.sources; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", command], check=True, capture_output=True, text=True)
    assert not {"torch", "webdataset", "pyarrow.parquet", "PIL"} & set(done.stdout.split())


def test_a_file_is_all_of_its_bytes_or_a_part_of_them(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    assert File(str(path)).read() == b"0123456789"
    assert File(str(path), 3, 4).read() == b"3456"
    assert File(str(path), 8).read() == b"89"


LOST = Rejected("caption", "", "f:2", Reason.MALFORMED_ROW)


def test_captions_that_a_reader_drops_stop_the_run():
    rows = [Held(2, "f"), Caption("1", "a dog", "f:1"), LOST]
    assert list(accounted(rows)) == rows[1:]
    for wrong in (rows[:2], [*rows, LOST], [*rows, Held(1, "f")]):
        with pytest.raises(AssertionError, match=r"the files hold . captions, of which . were read"):
            list(accounted(wrong))


@pytest.mark.parametrize("kind", ["table", "folder", "conceptual_captions"])
def test_side_files_are_not_taken_for_captions(tmp_path, kind):
    (tmp_path / "1.jpg").write_bytes(b"")
    (tmp_path / "1.txt").write_bytes(b"a dog")
    key = b"http://a/1.jpg"
    (tmp_path / "a.tsv").write_bytes(b"caption\turl\na dog\t" + key)
    (tmp_path / "b.tsv").write_bytes(b"id\ttext\n" + key + b"\tthe dog")
    (tmp_path / "b.txt").write_bytes(b"1\tthe dog")
    beside = {"rewrites": ["b.txt" if kind == "folder" else "b.tsv"]}
    found = list(sources.read(Source(kind, tmp_path, beside=beside)))
    assert [row.text for row in found if isinstance(row, Caption)] == (["a dog"] if kind == "table" else [b"a dog"])
    assert [type(row).__name__ for row in found] == ["Image", "Caption", "Rewrite"]
    assert len({row.id for row in found}) == 1
