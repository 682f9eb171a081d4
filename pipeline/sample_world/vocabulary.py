"""The words of the sample world, and which of them the corpora never show."""

from __future__ import annotations

RGB = tuple[int, int, int]

COLOURS: dict[str, RGB] = {
    "red": (214, 39, 40),
    "orange": (255, 140, 20),
    "yellow": (245, 220, 40),
    "green": (44, 150, 60),
    "blue": (40, 90, 210),
    "purple": (130, 60, 180),
    "black": (25, 25, 28),
    "white": (245, 245, 245),
    "pink": (250, 140, 190),
    "brown": (120, 72, 35),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "ring", "arrow", "bar", "cross", "crescent")
TEXTURES = ("plain", "striped", "dotted", "checked")
SIZES: dict[str, tuple[int, int]] = {"small": (17, 23), "large": (30, 38)}
"""Radius in pixels of a 192-pixel image, lowest and highest."""
BACKGROUNDS: dict[str, RGB] = {
    "sand": (214, 190, 140),
    "grass": (110, 160, 80),
    "water": (90, 150, 190),
    "stone": (140, 140, 145),
    "brick": (165, 90, 75),
    "snow": (222, 230, 238),
    "wood": (160, 120, 80),
    "night": (45, 45, 75),
}

UNSEEN_COLOURS = ("pink", "brown")
UNSEEN_SHAPES = ("cross", "crescent")
"""Known to the base, absent from the corpora: what fine-tuning may forget."""

SEEN_COLOURS = tuple(c for c in COLOURS if c not in UNSEEN_COLOURS)
SEEN_SHAPES = tuple(s for s in SHAPES if s not in UNSEEN_SHAPES)


def is_seen(colour: str, shape: str) -> bool:
    """Whether the corpora show this colour and this shape."""
    return colour in SEEN_COLOURS and shape in SEEN_SHAPES
