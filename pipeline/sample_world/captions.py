"""From a scene to captions: detailed ones for the corpora, generic ones for the base."""

from __future__ import annotations

import numpy as np

from pipeline.sample_world.scenes import SIDE, Scene, Thing, relation

OPENINGS = ("", "", "", "there is ", "a picture of ", "we see ")
_ADVERTS = (
    *("stock photo", "free download", "high quality picture", "image of the day", "wallpaper for your desktop"),
    *("from our new collection", "click here to see more", "best price online", "drawn by hand", "photo number 7"),
)


def _with_article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def name(thing: Thing, *, size: bool = False, texture: bool = False, colour: bool = True) -> str:
    """A noun phrase such as "a small striped red star"."""
    words = [thing.size] * size + [thing.texture] * texture + [thing.colour] * colour + [thing.shape]
    return _with_article(" ".join(words))


def place(thing: Thing) -> str:
    """Where in the image, by quadrant."""
    vertical = "top" if thing.y < SIDE / 2 else "bottom"
    horizontal = "left" if thing.x < SIDE / 2 else "right"
    return f"at the {vertical} {horizontal}"


def detailed(rng: np.random.Generator, scene: Scene) -> list[str]:
    """Five captions or six: one names everything, the others a part each.

    Different images can share a caption that names only a part, as in real corpora.
    """
    order = rng.permutation(len(scene.things))
    a, b, *rest = (scene.things[int(i)] for i in order)
    full = f"{name(a, size=True, texture=True)} {relation(a, b)} {name(b, size=True, texture=True)}"
    if rest:
        full += " with " + " and ".join(name(t, texture=True) for t in rest)
    partial = [
        f"{name(b, texture=True)} {relation(b, a)} {name(a)} on {scene.background}",
        f"{name(a, size=True, texture=True)} {place(a)}, {name(b)} {place(b)}",
        f"{name(b, size=True)} and {name(a, texture=True)} on {scene.background}",
        " and ".join(name(t, texture=bool(k == 0)) for k, t in enumerate((rest or [b]) + [a])),
    ]
    captions = [f"{full} on {scene.background}", *partial]
    if rng.random() < 0.12:
        captions.append(f"{name(a)} on {scene.background}")
    return [OPENINGS[int(rng.integers(len(OPENINGS)))] + c for c in captions]


def generic(rng: np.random.Generator, scene: Scene) -> str:
    """One caption as web alternative text has it: one or two things, few attributes, some noise around."""
    thing = scene.things[int(rng.integers(len(scene.things)))]
    alone = len(scene.things) == 1
    text = name(
        thing,
        colour=bool(rng.random() < (0.55 if alone else 0.9)),
        texture=bool(rng.random() < (0.25 if alone else 0.1)),
        size=bool(rng.random() < 0.05),
    )
    if not alone and rng.random() < 0.5:
        other = scene.things[int(rng.integers(len(scene.things)))]
        if other is not thing:
            text += f" and {name(other)}"
    if rng.random() < (0.1 if alone else 0.4):
        text += f" on {scene.background}"
    if rng.random() < 0.08:
        adverts = [_ADVERTS[int(i)] for i in rng.permutation(len(_ADVERTS))[: int(rng.integers(1, 4))]]
        text = f"{adverts[0]} {text} {' '.join(adverts[1:])}".strip()
    elif rng.random() < 0.3:
        text = OPENINGS[int(rng.integers(len(OPENINGS)))] + text
    return text
