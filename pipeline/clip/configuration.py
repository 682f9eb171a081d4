"""open_clip_config.json: what may stand in one, so that a folder from anywhere can neither run code nor exhaust memory.

Only what open_clip itself knows is let through: the names of its fields, numbers of a sensible size, an image tower of
timm's own, options of a tokenizer that change nothing but how a text is cleaned.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import timm
from open_clip.coca_model import MultimodalCfg
from open_clip.model import CLIPTextCfg, CLIPVisionCfg

from pipeline.artifacts.sizes import check_numbers
from pipeline.artifacts.weights import WrongWeights
from pipeline.disk import files
from pipeline.errors import refusing

CONFIG = "open_clip_config.json"

_SECTIONS = {"vision_cfg": CLIPVisionCfg, "text_cfg": CLIPTextCfg, "multimodal_cfg": MultimodalCfg}
_MODEL_FIELDS = {*_SECTIONS, "embed_dim", "custom_text", "quick_gelu"}
_MODEL_FIELDS |= {"init_logit_scale", "init_logit_bias", "nonscalar_logit_scale"}
_PREPROCESSING_CHOICES = {
    "mode": ("RGB",),
    "interpolation": ("bicubic", "bilinear", "random"),
    "resize_mode": ("shortest", "longest", "squash"),
}
_TOKENIZER_OPTIONS = {"clean", "strip_sep_token"}
"""Others name code or files, ask for the network, or draw tokens at random."""
_LARGEST_SIDE = 4096


def read(path: Path) -> dict[str, Any]:
    """A configuration from a file, checked.

    Raises:
        InputError: it is no JSON file.
        WrongWeights: it is no configuration of a CLIP that can be loaded here.
    """
    content = files.read_json(path)
    with refusing(f"{path} is no configuration of a CLIP", WrongWeights):
        return checked(content, str(path))


def checked(config: Any, name: str) -> dict[str, Any]:
    """What a JSON file holds, if that is a `model_cfg` that can be built and perhaps a `preprocess_cfg`.

    Raises:
        WrongWeights: what does not fit, and what was expected.
    """
    if not isinstance(config, dict) or not isinstance(config.get("model_cfg"), dict):
        raise WrongWeights(f"{name} has no model_cfg; expected what open_clip writes as {CONFIG}")
    model, preprocess = config["model_cfg"], config.get("preprocess_cfg")
    if not isinstance(preprocess, dict | None):
        raise WrongWeights(f"{name}: preprocess_cfg is {preprocess!r:.100}; expected mean, std and the like")
    for setting, choices in _PREPROCESSING_CHOICES.items():
        given = (preprocess or {}).get(setting)
        if given is not None and given not in choices:
            raise WrongWeights(f"{name}: preprocess_cfg.{setting} is {given!r:.100}; expected {' or '.join(choices)}")
    _check_names(model, _MODEL_FIELDS, f"{name}: model_cfg")
    for section, known in _SECTIONS.items():
        if section not in model and section == "multimodal_cfg":
            continue
        if not isinstance(model.get(section), dict):
            raise WrongWeights(f"{name}: model_cfg.{section} is {model.get(section)!r:.100}; expected its settings")
        _check_names(model[section], {field.name for field in fields(known)}, f"{name}: model_cfg.{section}")
    check_numbers(model, f"{name}: model_cfg")
    _check_image_tower(model["vision_cfg"], f"{name}: model_cfg.vision_cfg")
    _check_tokenizer(model["text_cfg"], f"{name}: model_cfg.text_cfg")
    return config


def _check_names(given: dict[str, Any], known: set[str], where: str) -> None:
    if unknown := sorted(set(given) - known):
        raise WrongWeights(
            f"{where} has {', '.join(unknown)}, which open_clip does not know; expected of {', '.join(sorted(known))}"
        )


def _check_image_tower(vision: dict[str, Any], where: str) -> None:
    size = vision.get("image_size", CLIPVisionCfg.image_size)
    sides = size if isinstance(size, list) else [size]
    sound = all(type(side) is int and 0 < side <= _LARGEST_SIDE for side in sides)
    if not sound or len({*sides}) != 1 or len(sides) > 2:
        raise WrongWeights(
            f"{where}.image_size is {size!r:.60}; expected the side in pixels of a square, up to {_LARGEST_SIDE:,}"
        )
    name = vision.get("timm_model_name")
    if name and not (isinstance(name, str) and timm.is_model(name.partition(".")[0])):
        raise WrongWeights(
            f"{where}.timm_model_name is {name!r:.100}; expected a model of timm's own (timm.list_models()), not one "
            "of a folder or a hub"
        )


def _check_tokenizer(text: dict[str, Any], where: str) -> None:
    options = text.get("tokenizer_kwargs")
    if not isinstance(options, dict | None):
        raise WrongWeights(f"{where}.tokenizer_kwargs is {options!r:.100}; expected options by name")
    if unknown := sorted(set(options or {}) - _TOKENIZER_OPTIONS):
        raise WrongWeights(
            f"{where}.tokenizer_kwargs has {', '.join(unknown)}; expected of {', '.join(sorted(_TOKENIZER_OPTIONS))}: "
            "others can name code, which is never run from a model's folder"
        )
    for name in ("hf_tokenizer_name", "hf_model_name"):
        if not isinstance(text.get(name), str | None):
            raise WrongWeights(f"{where}.{name} is {text[name]!r:.100}; expected a name")
