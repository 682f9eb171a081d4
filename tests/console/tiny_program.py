"""What the program `dclip` prints."""


def assert_one_error(result, *parts):
    code, _, err = result
    assert code == 1
    assert err.startswith("dclip: ") and err.endswith("\n")
    assert "Traceback" not in err and "\n\n" not in err
    for part in parts:
        assert part in err
