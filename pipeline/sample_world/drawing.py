"""From a scene to an image, with Pillow: antialiased shapes with texture on a noisy background."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from pipeline.sample_world.scenes import SIDE, Scene, Thing
from pipeline.sample_world.vocabulary import BACKGROUNDS, COLOURS, RGB

OVERSAMPLE = 2
_TILE = 2 * SIDE


def _regular(n: int, start: float, inner: float = 1.0) -> list[tuple[float, float]]:
    """A regular polygon or, with `inner` < 1, a star of n points; unit circle."""
    corners = n if inner == 1.0 else 2 * n
    angles = np.radians(start + 360.0 / corners * np.arange(corners))
    radii = np.where(np.arange(corners) % 2 == 0, 1.0, inner)
    return [(float(r * np.cos(a)), float(r * np.sin(a))) for r, a in zip(radii, angles, strict=True)]


def _heart() -> list[tuple[float, float]]:
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return [(float(a / 17), float(-b / 17)) for a, b in zip(x, y, strict=True)]


_POLYGONS: dict[str, list[tuple[float, float]]] = {
    "square": _regular(4, 45),
    "triangle": _regular(3, -90),
    "star": _regular(5, -90, inner=0.42),
    "bar": [(-1.0, -0.32), (1.0, -0.32), (1.0, 0.32), (-1.0, 0.32)],
    "heart": _heart(),
    "cross": [
        *((-0.3, -0.95), (0.3, -0.95), (0.3, -0.3), (0.95, -0.3), (0.95, 0.3), (0.3, 0.3)),
        *((0.3, 0.95), (-0.3, 0.95), (-0.3, 0.3), (-0.95, 0.3), (-0.95, -0.3), (-0.3, -0.3)),
    ],
    "arrow": [(-0.95, -0.28), (0.1, -0.28), (0.1, -0.8), (0.98, 0.0), (0.1, 0.8), (0.1, 0.28), (-0.95, 0.28)],
}


def _mask(thing: Thing, side: int) -> Image.Image:
    """The thing's silhouette, `L`, `side` pixels square."""
    big = side * OVERSAMPLE
    r = big / 2 - OVERSAMPLE
    mask = Image.new("L", (big, big), 0)
    draw = ImageDraw.Draw(mask)

    def disc(cx: float, cy: float, radius: float, fill: int) -> None:
        draw.ellipse([cx - radius, cy - radius, cx + radius, cy + radius], fill=fill)

    c = big / 2
    if thing.shape in _POLYGONS:
        a = np.radians(thing.angle)
        turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        points = np.asarray(_POLYGONS[thing.shape]) @ turn.T * r + c
        draw.polygon([(float(x), float(y)) for x, y in points], fill=255)
    else:
        disc(c, c, r, 255)
        if thing.shape == "ring":
            disc(c, c, 0.55 * r, 0)
        elif thing.shape == "crescent":
            a = np.radians(thing.angle)
            disc(c + 0.5 * r * float(np.cos(a)), c + 0.5 * r * float(np.sin(a)), 0.8 * r, 0)
    return mask.resize((side, side), Image.Resampling.BOX)


def _second_colour(colour: RGB) -> RGB:
    """A lighter or darker tone of the same colour, for textures."""
    if sum(colour) > 330:
        return tuple(int(v * 0.7) for v in colour)  # type: ignore[return-value]
    return tuple(int(v + (255 - v) * 0.4) for v in colour)  # type: ignore[return-value]


def _fill(thing: Thing, side: int) -> Image.Image:
    colour = COLOURS[thing.colour]
    fill = Image.new("RGB", (side, side), colour)
    if thing.texture == "plain":
        return fill
    second = _second_colour(colour)
    step = max(5.0, thing.radius / 3.2)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    match thing.texture:
        case "striped":
            marks = ((x + y) / step / 1.4).astype(int) % 2 == 0
        case "dotted":
            marks = np.hypot(x % step - step / 2, y % step - step / 2) < step * 0.33
        case _:
            marks = ((x // step) + (y // step)) % 2 == 0
    fill.paste(second, mask=Image.fromarray(np.where(marks, 255, 0).astype(np.uint8)))
    return fill


@cache
def _background_tile(name: str) -> Image.Image:
    """Coarse and fine noise around the background's colour; images are cut from it."""
    rng = np.random.default_rng(list(name.encode()))
    coarse = rng.normal(0, 14, (_TILE // 16, _TILE // 16)).astype(np.float32)
    coarse = np.asarray(Image.fromarray(coarse).resize((_TILE, _TILE), Image.Resampling.BICUBIC))
    noise = coarse + rng.normal(0, 7, (_TILE, _TILE)).astype(np.float32)
    y, x = np.mgrid[0:_TILE, 0:_TILE]
    match name:
        case "water":
            noise = noise + 12 * np.sin(y / 5 + 2 * np.sin(x / 30))
        case "brick":
            row = y // 12
            noise = noise - 35 * ((y % 12 < 2) | ((x + 12 * (row % 2)) % 24 < 2))
        case "wood":
            noise = noise + 14 * np.sin(x / 4 + 3 * np.sin(y / 60))
    pixels = np.asarray(BACKGROUNDS[name], dtype=np.float32) + noise[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def draw(scene: Scene) -> Image.Image:
    """The image of a scene: RGB, `SIDE` pixels square; the same scene gives the same pixels."""
    rng = np.random.default_rng(scene.seed)
    left, top = (int(v) for v in rng.integers(0, _TILE - SIDE, 2))
    image = _background_tile(scene.background).crop((left, top, left + SIDE, top + SIDE))
    for thing in scene.things:
        side = max(4, round(2 * thing.radius))
        mask = _mask(thing, side)
        corner = (round(thing.x - thing.radius), round(thing.y - thing.radius))
        rim = ImageChops.subtract(mask.filter(ImageFilter.MaxFilter(3)), mask)
        fill = _fill(thing, side)
        fill.paste((30, 30, 30) if sum(COLOURS[thing.colour]) > 200 else (225, 225, 225), mask=rim)
        image.paste(fill, corner, ImageChops.lighter(mask, rim))
    light = int(rng.integers(-14, 15))
    return image.point(lambda v: v + light)
