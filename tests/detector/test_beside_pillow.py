import pytest
from PIL import Image

import pipeline.detector.detect  # noqa: F401  what is tested is that it stands in the same process
from pipeline.images.decoding import UnreadableImage, decode


@pytest.mark.parametrize("data", [b"", b"<html>404 Not Found</html>"], ids=["empty", "web page"])
def test_what_is_no_picture_stays_unreadable_once_the_detector_is_imported(data):
    with pytest.raises(UnreadableImage):
        decode(data)


def test_importing_the_detector_leaves_pillows_own_opener_in_place():
    assert Image.open.__module__ == "PIL.Image"
