"""Nothing that a test imports may write into the checkout or ask a host on the network."""

import os
from tempfile import TemporaryDirectory

_HOME = TemporaryDirectory(prefix="dclip-tests-", ignore_cleanup_errors=True)
os.environ["DCLIP_HOME"] = _HOME.name
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers of pytest-xdist on two cores

from tiny_browser import browser, visit  # noqa: E402

import stages  # noqa: E402, F401  sets the environment of everything that is imported later

__all__ = ["browser", "visit"]
