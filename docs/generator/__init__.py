"""What of the pages follows from the code: made here, put where the pages ask for it, and checked."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The repository."""

PAGES = ROOT / "docs"
"""Where the pages are kept."""
