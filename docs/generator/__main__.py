"""`make docs`: refresh the help texts in the pages, check what they name, and build the site in build/site."""

from __future__ import annotations

import subprocess
import sys

from docs.generator import ROOT, links, site

BUILD = ROOT / "build"


def main() -> int:
    """0, or 1 where a page names what is not there; else the exit status of Zensical, which stops at any warning."""
    for page in site.refresh():
        print(f"{page.relative_to(ROOT)}: help texts written anew")
    faults = [f"{page.relative_to(ROOT)}: {fault}" for page in links.pages() for fault in links.broken(page)]
    print(*faults, sep="\n", end="\n" if faults else "", file=sys.stderr)
    if faults:
        return 1
    site.assemble(BUILD)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    return subprocess.run(command, cwd=BUILD, check=False).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
