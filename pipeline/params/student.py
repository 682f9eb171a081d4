"""Parameters of the student."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field, create_model, model_validator
from pydantic_core import PydanticCustomError

from pipeline.params.section import LARGEST, Count, Fraction, Number, Positive, Section, Weight, Whole, Word
from pipeline.recipes import RECIPES, TERMS

if TYPE_CHECKING:
    Weights = Section
else:
    _terms = {name: (Weight, factor) for name, factor in TERMS.items()}
    Weights = create_model(
        "Weights", __base__=Section, __doc__="Factor of every loss term; by default that of its declaration.", **_terms
    )


def _declared(value: object) -> object:
    """Refuse a recipe that is not declared, naming those that are."""
    if isinstance(value, str) and value in RECIPES:
        return value
    *names, last = map(repr, RECIPES)
    close = difflib.get_close_matches(str(value), RECIPES, n=1)
    raise PydanticCustomError(
        "recipe",
        "Input should be {names} or {last}{meant}",
        {"names": ", ".join(names), "last": last, "meant": f"; did you mean {close[0]}?" if close else ""},
    )


class Student(Section):
    """The student."""

    recipe: Annotated[str, BeforeValidator(_declared)] = Field(description="what is minimised: pipeline/recipes")
    init: Word = Field(
        description="base, or an open_clip architecture for a lightweight student; after a change of a .json file run "
        "dvc repro -sf student"
    )
    text: Literal["frozen", "trainable"]
    layers: Count | Literal["all"] = Field(
        description="how many groups of the image tower are trained, from its output"
    )
    unfreeze: Whole = Field(description="epochs after which one more is trained; 0: never")
    contrastive: Literal["softmax", "sigmoid"] = Field(
        description="InfoNCE, or SigLIP's loss of every image with every caption, for bases that were trained with it"
    )
    temperature: Annotated[float, Field(ge=0.01, le=LARGEST), Number] | Literal["learnable"]
    captions: Count | Literal["all"] = Field(description="captions of an image in a step, at most")
    rewrites: bool = Field(
        default=False, description="draw from an image's captions and rewrites alike; see docs/columns.md"
    )
    pixels: Literal["cached", "decoded"] = Field(
        description="cached: decoded once into a memory map in .dclip; decoded: by compute.workers threads, every epoch"
    )
    epochs: Count
    patience: Whole = Field(description="epochs without better retrieval on val after which training stops; 0: never")
    batch: Annotated[int, Field(ge=2, le=1 << 20), Number] = Field(description="images a step, over all processes")
    micro_batch: Whole = Field(
        description="gradient caching: images that go through a tower at once, whatever the batch; 0: all of them"
    )
    lr: Positive
    warmup: Fraction = Field(description="share of the steps in which the learning rate rises")
    weight_decay: Weight
    max_grad_norm: Weight = Field(description="gradients are clipped to this norm; 0: never")
    ema_decay: Annotated[float, Field(ge=0, lt=1), Number] = Field(
        description="decay of the moving average of the weights, which is then the student; 0: none"
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(description="of the towers; autocast unless float32")
    compile: bool = Field(description="torch.compile the towers")
    checkpoint_seconds: Positive = Field(description="between checkpoints within an epoch; there is one after each")
    keep: Fraction = Field(
        description="share of the base's validation zero-shot that the chosen point keeps, at its interval's lower end"
    )
    weights: Weights

    @model_validator(mode="after")
    def _own_towers_are_trained(self) -> Student:
        if self.init != "base" and self.text == "frozen":
            raise ValueError("a student with its own towers has no cached text: set student.text to trainable")
        if self.unfreeze and self.layers == "all":
            raise ValueError("unfreeze adds to student.layers, which is all: set it to how many train from the start")
        return self
