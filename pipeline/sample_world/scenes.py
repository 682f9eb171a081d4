"""Scenes: what stands where. Drawing and captions are functions of a scene alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.sample_world.vocabulary import BACKGROUNDS, SIZES, TEXTURES

SIDE = 192
"""Width and height of an image in pixels."""


@dataclass(frozen=True)
class Thing:
    """One coloured shape; `x`, `y` (centre) and `radius` in pixels, `angle` in degrees."""

    shape: str
    colour: str
    texture: str
    size: str
    x: float
    y: float
    radius: float
    angle: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 in pixels."""
        return (self.x - self.radius, self.y - self.radius, self.x + self.radius, self.y + self.radius)


@dataclass(frozen=True)
class Scene:
    """Things on a background; `seed` fixes the noise of the drawing."""

    things: tuple[Thing, ...]
    background: str
    seed: int


def relation(a: Thing, b: Thing) -> str:
    """How `a` stands to `b`, by the longer of the two distances."""
    dx, dy = a.x - b.x, a.y - b.y
    if abs(dx) >= abs(dy):
        return "left of" if dx < 0 else "right of"
    return "above" if dy < 0 else "below"


def _choice(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def random_thing(
    rng: np.random.Generator, shapes: Sequence[str], colours: Sequence[str], size: str | None = None
) -> Thing:
    """A thing somewhere in the image."""
    size = size or _choice(rng, tuple(SIZES))
    radius = float(rng.uniform(*SIZES[size]))
    x, y = (float(v) for v in rng.uniform(radius + 2, SIDE - radius - 2, 2))
    shape, colour, texture = _choice(rng, shapes), _choice(rng, colours), _choice(rng, TEXTURES)
    return Thing(shape, colour, texture, size, x, y, radius, angle=float(rng.uniform(-15, 15)))


def _fits(thing: Thing, others: Sequence[Thing]) -> bool:
    return all(np.hypot(thing.x - o.x, thing.y - o.y) > thing.radius + o.radius + 2 for o in others)


def random_scene(
    rng: np.random.Generator, shapes: Sequence[str], colours: Sequence[str], counts: Sequence[int] = (2, 3, 3)
) -> Scene:
    """A scene of as many things as one of `counts`, none overlapping."""
    wanted = int(rng.choice(np.asarray(counts)))
    things: list[Thing] = []
    while len(things) < wanted:
        thing = random_thing(rng, shapes, colours)
        for _ in range(20):
            if _fits(thing, things):
                break
            thing = random_thing(rng, shapes, colours, size="small")
        else:
            continue
        things.append(thing)
    return Scene(tuple(things), _choice(rng, tuple(BACKGROUNDS)), int(rng.integers(2**31)))


def portrait(rng: np.random.Generator, shape: str, colour: str) -> Scene:
    """One thing alone, larger than in a scene: the zero-shot images, and half of the base's diet."""
    radius = float(rng.uniform(42, 76))
    x, y = (float(v) for v in rng.uniform(radius + 2, SIDE - radius - 2, 2))
    texture = "plain" if rng.random() < 0.4 else _choice(rng, TEXTURES)
    size = "large" if radius > 59 else "small"
    thing = Thing(shape, colour, texture, size, x, y, radius, angle=float(rng.uniform(-15, 15)))
    return Scene((thing,), _choice(rng, tuple(BACKGROUNDS)), int(rng.integers(2**31)))


def sibling(rng: np.random.Generator, scene: Scene, shapes: Sequence[str], colours: Sequence[str]) -> Scene:
    """The same scene with one attribute or one relation changed: what makes retrieval here a matter of detail."""
    things = list(scene.things)
    i, j = (int(v) for v in rng.permutation(len(things))[:2])
    match int(rng.integers(4)):
        case 0:
            things[i] = replace(things[i], colour=_choice(rng, [c for c in colours if c != things[i].colour]))
        case 1:
            things[i] = replace(things[i], texture=_choice(rng, [t for t in TEXTURES if t != things[i].texture]))
        case 2:
            things[i] = replace(things[i], shape=_choice(rng, [s for s in shapes if s != things[i].shape]))
        case _:  # the two change places: every word stays, the relation turns round
            a, b = things[i], things[j]
            things[i] = replace(a, x=b.x, y=b.y, radius=b.radius, size=b.size)
            things[j] = replace(b, x=a.x, y=a.y, radius=a.radius, size=a.size)
    return Scene(tuple(things), scene.background, int(rng.integers(2**31)))


def twin(rng: np.random.Generator, scene: Scene, colours: Sequence[str]) -> Scene:
    """The same image, noise and all, but for the colour of one thing, or its place by 12 to 40 pixels."""
    things = list(scene.things)
    i = int(rng.integers(len(things)))
    moved = _moved(rng, things[i], things[:i] + things[i + 1 :]) if rng.random() < 0.5 else None
    things[i] = moved or replace(things[i], colour=_choice(rng, [c for c in colours if c != things[i].colour]))
    return replace(scene, things=tuple(things))


def _moved(rng: np.random.Generator, thing: Thing, others: Sequence[Thing]) -> Thing | None:
    """The thing elsewhere, or None if no room is found."""
    for _ in range(50):
        distance, angle = float(rng.uniform(12, 40)), float(rng.uniform(0, 2 * np.pi))
        x, y = thing.x + distance * float(np.cos(angle)), thing.y + distance * float(np.sin(angle))
        moved = replace(thing, x=x, y=y)
        if min(moved.box) >= 2 and max(moved.box) <= SIDE - 2 and _fits(moved, others):
            return moved
    return None
