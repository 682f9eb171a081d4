"""The tiny world, run once a session through every real stage, without a network."""

import socket

import pytest
from tiny_world import STAGES, execute, tiny


@pytest.fixture(scope="session")
def no_network():
    """Any attempt to look up or reach a host fails the test that makes it."""

    def refuse(*args, **kwargs):
        raise AssertionError(f"a network connection was tried: {args[-1] if args else kwargs}")

    def connect(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            refuse(address)
        return original(self, address)

    original = socket.socket.connect
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        patch.setattr(socket, "getaddrinfo", refuse)
        patch.setattr(socket, "create_connection", refuse)
        yield


@pytest.fixture(scope="session")
def world(tmp_path_factory, no_network):
    """The data folder after every stage has run on the tiny world, and the parameters it ran with."""
    data = tmp_path_factory.mktemp("world") / "data"
    params = tiny(data)
    execute(STAGES, params, data)
    return data, params
