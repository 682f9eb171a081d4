"""The site: pages with their blocks filled in, as Zensical builds them.

README.md is its first page, CONTRIBUTING.md and CHANGELOG.md belong to it. A link to a file of the repository that is
no page becomes the file's path, since the site knows of no place where the repository can be read.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath

from docs.generator import PAGES, ROOT, blocks, help_texts, links, markdown
from docs.generator.sections import SECTIONS

CONFIGURATION = "zensical.toml"


def places() -> dict[PurePosixPath, PurePosixPath]:
    """Where every page, image and style sheet of the repository stands in the site; both relative."""
    found = {PurePosixPath(page.relative_to(ROOT).as_posix()) for page in links.pages()}
    others = (*PAGES.glob("images/*"), *PAGES.glob("*.css"))
    found |= {PurePosixPath(file.relative_to(ROOT).as_posix()) for file in others}
    return {path: _place(path) for path in found if path.parts[0] == "docs" or len(path.parts) == 1}


def _place(path: PurePosixPath) -> PurePosixPath:
    inner = path.relative_to("docs") if path.parts[0] == "docs" else PurePosixPath(path.name.lower())
    return inner.with_name("index.md") if inner.name.lower() == "readme.md" else inner


def refresh() -> list[Path]:
    """Write the help texts that stand in pages anew; returns the pages that changed."""
    changed = []
    for page in links.pages():
        old = page.read_text()
        new = blocks.filled(old, "help", help_texts.command, keep_marks=True)
        if new != old:
            page.write_text(new)
            changed.append(page)
    return changed


def assemble(folder: Path) -> None:
    """Write what Zensical builds from into `folder`: its configuration, and `docs/` with all pages and images."""
    shutil.rmtree(folder / "docs", ignore_errors=True)
    where = places()
    for path, place in where.items():
        target = folder / "docs" / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            target.write_text(_page(path, where))
        else:
            shutil.copyfile(ROOT / path, target)
    shutil.copyfile(PAGES / CONFIGURATION, folder / CONFIGURATION)


def _page(path: PurePosixPath, where: dict[PurePosixPath, PurePosixPath]) -> str:
    """A page of the site."""

    def relinked(image: str, words: str, link: str, anchor: str) -> str:
        if not link:
            return f"{image}[{words}]({anchor})"
        target = PurePosixPath(os.path.normpath(path.parent / link))
        if target not in where:
            return f"`{target}`" if words.strip("`") == str(target) else f"{words} (`{target}`)"
        return f"{image}[{words}]({os.path.relpath(where[target], where[path].parent)}{anchor})"

    text = markdown.relinked((ROOT / path).read_text(), relinked)
    text = blocks.filled(text, "generated", lambda name: SECTIONS[name](), keep_marks=False)
    return blocks.filled(text, "help", help_texts.command, keep_marks=False)
