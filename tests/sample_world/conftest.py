import pytest
from small_world import build


@pytest.fixture(scope="session")
def small_world(tmp_path_factory):
    """Folder of the corpora, and what was planted."""
    out = tmp_path_factory.mktemp("world")
    return out, build(out)
