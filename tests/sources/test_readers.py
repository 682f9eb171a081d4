import pytest

from pipeline.sources import READERS, SourceError, read


@pytest.mark.parametrize("source", READERS)
def test_an_absent_corpus_is_an_error_that_names_its_folder_and_the_parameter(tmp_path, source):
    with pytest.raises(SourceError, match=r"sources\.quota") as caught:
        read(source, tmp_path / "nowhere")
    assert source in str(caught.value)
    assert str(tmp_path / "nowhere") in str(caught.value)


def test_an_unknown_corpus_is_an_error_that_lists_the_known_ones(tmp_path):
    with pytest.raises(SourceError, match="'laion'; there are mscoco, flickr30k, conceptual_captions"):
        read("laion", tmp_path)
