"""The register of recipes and of loss terms: what is declared here is all that the rest of the program knows of them.

A recipe is one function from an embedded batch to named loss terms, under a decorator that says what it needs. Terms
are weighted by `student.weights` and summed by the trainer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pipeline.recipes.embedded import Embedded

if TYPE_CHECKING:
    from torch import Tensor

Terms: TypeAlias = "dict[str, Tensor]"
Equation = Callable[[Embedded], Terms]


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a recipe needs beside images, captions and the base's embeddings of them.

    Attributes:
        target: `image` for z of the image alone, `pair` for z of image and caption, None for no target.
        teacher: what the teacher of these targets must have read, `teacher.inputs`; None without a target.
        teachers: `given` for what the frozen CLIPs in `teachers` make of it, `base` for the base as its own teacher
            (a control), None for none.
        shuffled: a control: every image gets the target of another one.
        data: `corpora`, or `base`, a control: the base's own training pairs for as many steps.
        negatives: `rule` for hard-negative captions that are made, `given` for those in the data, None for none.
        semi: whether images without captions get captions and keywords of the batch.
        regions: whether the student looks at a region of every image, too.
        phrases: whether it compares them with the phrases of the batch's captions, or takes these for keywords.
        knowledge: whether it reads the concepts stage's tables; it trains the text tower.
        contrastive: whether it has the contrastive loss, InfoNCE or what `student.contrastive` says instead.
        linear: only a linear map of the image embeddings is found, on cached features.
    """

    target: Literal["image", "pair"] | None = None
    teacher: Literal["regions", "image", "text"] | None = None
    teachers: Literal["given", "base"] | None = None
    shuffled: bool = False
    data: Literal["corpora", "base"] = "corpora"
    negatives: Literal["rule", "given"] | None = None
    semi: bool = False
    regions: bool = False
    phrases: bool = False
    knowledge: bool = False
    contrastive: bool = True
    linear: bool = False

    def __post_init__(self) -> None:
        if (self.target is None) != (self.teacher is None):
            raise ValueError(f"target is {self.target} and teacher {self.teacher}; expected both or neither")
        if self.phrases and not self.semi and not (self.regions and self.teachers):
            raise ValueError("phrases are compared with regions, as teachers do; expected regions and teachers, too")
        if self.semi and not self.phrases:
            raise ValueError("keywords are phrases; expected phrases, too")


@dataclass(frozen=True, kw_only=True)
class Recipe(Needs):
    """A recipe and what it needs.

    Attributes:
        about: what it minimises, in one line of Markdown.
        terms: the equation, whose docstring begins with its formula; None for a closed form.
        reference: a link to where it was published, in Markdown, or nothing.
    """

    name: str
    about: str
    terms: Equation | None
    reference: str = ""

    @property
    def formula(self) -> str:
        """The first paragraph of the equation's docstring, "L = ..."; empty for a closed form."""
        return " ".join((self.terms.__doc__ or "").strip().split("\n\n")[0].split()) if self.terms else ""


RECIPES: dict[str, Recipe] = {}
"""Every recipe by its name, in the order in which they are declared."""
TERMS: dict[str, float] = {}
"""Every loss term by its name, with the factor that it has unless `student.weights` gives another."""


def term(name: str, factor: float = 1.0) -> str:
    """Declare a loss term; its name, by which equations return it."""
    TERMS[name] = factor
    return name


def register(declared: Recipe) -> None:
    """Add a recipe.

    Raises:
        ValueError: there is one of its name.
    """
    if declared.name in RECIPES:
        raise ValueError(f"recipe {declared.name} is declared twice")
    RECIPES[declared.name] = declared


def recipe(name: str, about: str, needs: Needs | None = None, reference: str = "") -> Callable[[Equation], Equation]:
    """Declare the equation below as a recipe.

    Args:
        needs: what it needs; by default nothing beside images, captions and the base's embeddings.
    """

    def declare(equation: Equation) -> Equation:
        register(Recipe(name=name, about=about, terms=equation, reference=reference, **vars(needs or Needs())))
        return equation

    return declare


def variant(name: str, original: str, about: str, **changed: Any) -> None:
    """Declare a recipe that has another one's equation and differs from it in what it needs.

    Args:
        **changed: attributes of `Recipe` that differ.
    """
    register(replace(RECIPES[original], name=name, about=about, **{"reference": "", **changed}))
