"""A CLIP that was trained elsewhere."""

from pathlib import Path

from pipeline.clip import towers
from pipeline.clip.towers import Clip
from pipeline.params.models import ClipFromDirectory, ClipFromOpenClip


def given(source: ClipFromOpenClip | ClipFromDirectory) -> Clip:
    """Fetch or load it.

    Raises:
        WrongWeights: it cannot be read.
    """
    if isinstance(source, ClipFromOpenClip):
        return towers.fetch(source.name, source.pretrained)
    return towers.load(Path(source.path))
