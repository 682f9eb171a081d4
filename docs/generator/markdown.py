"""What the generator has to know of Markdown: links outside of code, code, and the anchors of headings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

_CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:)([^()#\s]*)(#[^()\s]*)?(?=\))")
_WHOLE_LINK = re.compile(r"(!?)\[((?:[^\[\]]|`[^`]*`)*)\]\((?![a-z]+:)([^()#\s]*)(#[^()\s]*)?\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def links(page: str) -> Iterator[tuple[str, str]]:
    """Path and anchor, each perhaps empty, of every link that is no url."""
    for link in _LINK.finditer(_without_code(page)):
        yield link[1], (link[2] or "").removeprefix("#")


def relinked(page: str, replace: Callable[[str, str, str, str], str]) -> str:
    """A page whose links that are no urls are what `replace` makes of them.

    Args:
        page: Markdown.
        replace: takes `!` of an image or nothing, the words, the path and the anchor with its `#`; returns Markdown.
    """
    parts, end = [], 0
    for code in re.finditer(r"^```.*?^```$", page, re.MULTILINE | re.DOTALL):
        parts += [_relinked(page[end : code.start()], replace), code[0]]
        end = code.end()
    return "".join([*parts, _relinked(page[end:], replace)])


def _relinked(text: str, replace: Callable[[str, str, str, str], str]) -> str:
    return _WHOLE_LINK.sub(lambda link: replace(link[1], link[2], link[3], link[4] or ""), text)


def code(page: str) -> list[str]:
    """Every piece of code, in a line or in a block of its own, without its quotes."""
    return [piece[0].strip("`") for piece in _CODE.finditer(page)]


def words_in_code(page: str) -> list[str]:
    """Every piece of code within a line."""
    return [piece[0].strip("`") for piece in _CODE.finditer(page) if not piece[0].startswith("```")]


def anchors(page: str) -> list[str]:
    """The anchors of a page's headings."""
    prose = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    return [_slug(heading[1]) for heading in _HEADING.finditer(prose)]


def _slug(heading: str) -> str:
    """As GitHub and Python-Markdown have it where a heading holds ASCII letters, and no two hyphens in a row."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


def _without_code(page: str) -> str:
    return _CODE.sub("", page)
