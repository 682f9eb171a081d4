"""The program `dclip` in this process."""

import pytest

from console import main as dclip


@pytest.fixture
def program(monkeypatch, capsys):
    """Runs `dclip` and gives its exit code, output and errors."""

    def execute(*arguments):
        monkeypatch.setattr("sys.argv", ["dclip", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            dclip.main()
        return ended.value.code or 0, *capsys.readouterr()

    return execute
