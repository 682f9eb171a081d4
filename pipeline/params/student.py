"""Parameters of the student."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.params.section import LARGEST, Count, Fraction, Number, Positive, Section, Weight, Whole, Word


class Weights(Section):
    """Factor of every loss term, by its name in pipeline/distillation/recipes.py."""

    contrastive: Weight = 1.0
    teacher: Weight = 1.0
    similarities: Weight = 1.0
    text: Weight = 1.0
    preserve: Weight = 1.0
    regions: Weight = 1.0
    preserve_similarities: Weight = 1.0
    random: Weight = 1.0
    hybrid: Weight = 1.0
    language: Weight = 1.0
    concepts: Weight = 0.01


KNOWLEDGE = ("knowledge_clip", "dclip+knowledge")
"""Recipes that read the concepts stage's tables."""


class Student(Section):
    """The student."""

    recipe: Literal[
        "contrastive", "hard_negatives", "preserving", "preserving_regions", "preserving_similarities", "dclip",
        "dclip_clean", "dclip_regions", "similarity", "feature_distillation", "clip_refine", "knowledge_clip",
        "dclip+knowledge", "procrustes", "labclip",
        "continue_base", "shuffled_targets", "text_only_teacher", "no_regions",
    ]  # fmt: skip
    init: Word = Field(
        description="base, or an open_clip architecture for a lightweight student; after a change of a .json file run "
        "dvc repro -sf student"
    )
    text: Literal["frozen", "trainable"]
    layers: Count | Literal["all"] = Field(
        description="how many groups of the image tower are trained, from its output"
    )
    unfreeze: Whole = Field(description="epochs after which one more is trained; 0: never")
    temperature: Annotated[float, Field(ge=0.01, le=LARGEST), Number] | Literal["learnable"]
    captions: Count | Literal["all"] = Field(description="captions of a picture in a step, at most")
    pixels: Literal["cached", "decoded"] = Field(
        description="cached: decoded once into a memory map in .dclip; decoded: by compute.workers threads, every epoch"
    )
    epochs: Count
    patience: Whole = Field(description="epochs without better retrieval on val after which training stops; 0: never")
    batch: Annotated[int, Field(ge=2, le=1 << 20), Number] = Field(description="pictures a step, over all processes")
    micro_batch: Whole = Field(
        description="gradient caching: pictures that go through a tower at once, whatever the batch; 0: all of them"
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
        if self.recipe in ("procrustes", "labclip") and (self.init != "base" or self.text != "frozen"):
            raise ValueError(f"{self.recipe} maps the base's cached features: set init to base and text to frozen")
        if self.recipe in KNOWLEDGE and self.text == "frozen":
            raise ValueError(f"{self.recipe} distils into the text tower: set student.text to trainable")
        if self.unfreeze and self.layers == "all":
            raise ValueError("unfreeze adds to student.layers, which is all: set it to how many train from the start")
        return self


OF_IMAGES = (
    "dclip_clean", "dclip_regions", "similarity", "feature_distillation", "shuffled_targets", "no_regions",
    "dclip+knowledge",
)  # fmt: skip
"""Recipes that take the teacher's embedding of the picture alone."""

TEACHERS = {
    "text_only_teacher": "text", "no_regions": "image",
    **dict.fromkeys(
        ("dclip", "dclip_clean", "dclip_regions", "similarity", "feature_distillation", "shuffled_targets",
         "dclip+knowledge"), "regions"
    ),
}  # fmt: skip
"""What the teacher of a recipe must have read."""
