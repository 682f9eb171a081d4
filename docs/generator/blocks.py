"""Blocks of a page that are made from the code: between `<!-- KIND: NAME -->` and `<!-- end -->`.

A `generated` block holds a sentence in git, which the built site replaces by the table. A `help` block holds a help
text in git, too, and a test fails where it is not the program's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

Kind = Literal["generated", "help"]

_BLOCK = re.compile(r"<!-- (generated|help): (\S+) -->\n(.*?)<!-- end -->", re.DOTALL)


def filled(page: str, kind: Kind, make: Callable[[str], str], *, keep_marks: bool) -> str:
    """A page whose blocks of one kind hold what `make` returns for their names.

    Args:
        page: Markdown.
        kind: which blocks; those of the other kind stay as they are.
        make: takes a block's name and returns its Markdown, without an empty line at either end.
        keep_marks: whether the comments around a block stay, so that it can be filled again.
    """

    def replaced(block: re.Match[str]) -> str:
        if block[1] != kind:
            return block[0]
        content = make(block[2])
        return f"<!-- {kind}: {block[2]} -->\n{content}\n<!-- end -->" if keep_marks else content

    return _BLOCK.sub(replaced, page)


def names(page: str) -> list[tuple[str, str]]:
    """Kind and name of every block of a page."""
    return [(block[1], block[2]) for block in _BLOCK.finditer(page)]
