"""A small language model in a folder."""

import shutil

import pytest
from tiny_language import save_encoder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def folder(whole, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(whole, tmp_path / "encoder")
