"""The tiny world, run once a session through every real stage, without a network."""

import copy
import shutil
import socket

import pytest
from tiny_world import BEFORE_CONCEPTS, STAGES, execute, linked, tiny

LOOPBACK = ("127.0.0.1", b"127.0.0.1", "localhost", "::1")


@pytest.fixture(scope="session")
def no_network():
    """Any attempt to look up or reach a host other than this machine fails the test that makes it.

    It holds for the rest of the session, so this machine's own servers must be let through.
    """

    def refuse(*args, **kwargs):
        raise AssertionError(f"a network connection was tried: {args[-1] if args else kwargs}")

    def connect(self, address, original=socket.socket.connect):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOOPBACK:
            refuse(address)
        return original(self, address)

    def look_up(host, *args, original=socket.getaddrinfo, **kwargs):
        return original(host, *args, **kwargs) if host in LOOPBACK else refuse(host)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        patch.setattr(socket, "getaddrinfo", look_up)
        yield


@pytest.fixture(scope="session")
def world(tmp_path_factory, no_network):
    """The data folder after every stage has run on the tiny world, and the parameters it ran with."""
    data = tmp_path_factory.mktemp("world") / "data"
    params = tiny(data)
    execute(STAGES, params, data)
    return data, params


@pytest.fixture(scope="session")
def knowing(world, tmp_path_factory):
    """The tiny world with concepts of the real MiniLM, as far as they go, and parameters to train a student with them.

    Nothing may be written here: link what is needed into a folder of its own (`tiny_world.linked`).
    """
    given, params = world
    data = linked(tmp_path_factory.mktemp("knowing") / "data", given, BEFORE_CONCEPTS)
    changed = copy.deepcopy(params)
    changed["concepts"] |= {"enabled": True}
    changed["student"] |= {"recipe": "knowledge_clip", "text": "trainable", "epochs": 1}
    execute(["concepts"], changed, data)
    return data, changed


@pytest.fixture
def copied(world, tmp_path):
    """The tiny world's data, of which a test may change anything."""
    data, params = world
    shutil.copytree(data, tmp_path / "data")
    return tmp_path / "data", params
