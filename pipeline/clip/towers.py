"""Load and save a CLIP as an open_clip local directory, with a hash of its weights."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.model import CLIPTextCfg, resize_pos_embed
from open_clip.tokenizer import HFTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn
from torchvision.transforms import Compose, ToTensor

from pipeline.artifacts.weights import WrongWeights, weights_hash, write
from pipeline.clip import configuration
from pipeline.clip.configuration import CONFIG
from pipeline.disk import files
from pipeline.errors import refusing
from pipeline.machine import compiling, devices

CODE = "towers 2"
"""Raised whenever the same image or text becomes another input of a tower (size, crop, normalisation, tokens): the
feature store's rows are computed anew then."""

WEIGHTS = "open_clip_model.safetensors"

Tokenizer = Callable[[list[str]], Tensor]


@dataclass
class Clip:
    """An open_clip model with its configuration.

    Attributes:
        model: open_clip's CLIP, in eval mode.
        config: what stands in open_clip_config.json: `model_cfg` and `preprocess_cfg`.
        tokenize: texts to token ids, int64 [n, context_length], cut to the context length: open_clip's for the model.
    """

    model: nn.Module
    config: dict[str, Any]
    tokenize: Tokenizer = field(repr=False)
    _normal: dict[torch.device, tuple[Tensor, ...]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.model.eval()

    @property
    def dimension(self) -> int:
        """Width of the shared embedding space."""
        return int(self.config["model_cfg"]["embed_dim"])

    @property
    def image_size(self) -> int:
        """Side in pixels of the image tower's input."""
        return _side(self.model)

    @property
    def context_length(self) -> int:
        """Tokens the text tower reads, start and end included."""
        return int(self.config["model_cfg"]["text_cfg"].get("context_length", CLIPTextCfg.context_length))

    @property
    def scale(self) -> float:
        """1/tau of the model's own similarities."""
        model: Any = self.model
        return float(model.logit_scale.detach().exp())

    @property
    def weights(self) -> str:
        """`weights_hash` of the model."""
        return weights_hash(self.model.state_dict())

    @property
    def reads_bpe(self) -> bool:
        """Whether its tokens are CLIP's own byte pairs, which the stage `spans` finds in captions."""
        text = self.config["model_cfg"]["text_cfg"]
        return isinstance(self.tokenize, open_clip.SimpleTokenizer) and not text.get("tokenizer_kwargs")

    @property
    def preprocessing(self) -> PreprocessCfg:
        """How it reads images, as open_clip merges it from its defaults, the configuration and the image tower."""
        merged = merge_preprocess_dict(asdict(PreprocessCfg()), self.config.get("preprocess_cfg") or {})
        return PreprocessCfg(**{**merged, "size": self.image_size})

    def transforms(self) -> list[Callable[[Any], Any]]:
        """open_clip's own evaluation transforms of an image, in order; the last one normalises."""
        return list(image_transform_v2(self.preprocessing, is_train=False).transforms)

    def pixels(self) -> Callable[[Image.Image], NDArray[np.uint8]]:
        """A function from an RGB image to the tower's input before normalisation, uint8 [3, side, side].

        These are open_clip's own evaluation transforms (resize, crop) without their last two steps, which
        `normalise` does for a whole batch.
        """
        geometry = Compose(list(takewhile(lambda step: not isinstance(step, ToTensor), self.transforms())))

        def to_pixels(image: Image.Image) -> NDArray[np.uint8]:
            return np.ascontiguousarray(np.asarray(geometry(image), dtype=np.uint8).transpose(2, 0, 1))

        return to_pixels

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the channels as the tower expects them, float32 [1, 3, 1, 1] each."""
        normal: Any = self.transforms()[-1]
        mean, std = (torch.tensor(given, dtype=torch.float32).view(1, -1, 1, 1) for given in (normal.mean, normal.std))
        return mean.expand(1, 3, 1, 1), std.expand(1, 3, 1, 1)

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 [n, 3, side, side] to the tower's float32 input, channels last."""
        return normalised(pixels, *self._statistics_on(pixels.device))

    def _statistics_on(self, device: torch.device) -> tuple[Tensor, ...]:
        """`statistics` on a device, copied there once: a GPU would have to be waited for."""
        if device not in self._normal:
            with torch.inference_mode(False):  # training may use them, too
                self._normal[device] = tuple(values.to(device) for values in self.statistics())
        return self._normal[device]

    def embed_pixels(self, pixels: Tensor, *, compiled: bool) -> Tensor:
        """The image tower's output for uint8 [n, 3, side, side], float [n, d], not normalised."""
        found: Tensor = (self._compiled if compiled else self._tower)(pixels, *self._statistics_on(pixels.device))
        return found

    def _tower(self, *given: Tensor) -> Any:
        model: Any = self.model
        return model.encode_image(normalised(*given))

    @cached_property
    def _compiled(self) -> Any:
        return compiling.compiled(self._tower)

    def save(self, folder: Path) -> None:
        """Write an open_clip local directory; weights and configuration are whole or not there at all."""
        write(folder / WEIGHTS, self.model.state_dict())
        if isinstance(self.tokenize, HFTokenizer):
            self.tokenize.save_pretrained(folder)
        files.write_json(folder / CONFIG, self.config)


def _side(model: Any) -> int:
    """Side in pixels of an image tower's input, a square; some towers keep both sides."""
    size = model.visual.image_size
    return int(size if isinstance(size, int) else size[0])


def normalised(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(pixels / 255 - mean) / std: uint8 [n, 3, side, side] to float32, channels last."""
    return ((pixels.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)


def create(config: dict[str, Any]) -> Clip:
    """A CLIP of the given configuration with fresh random weights (from torch's global generator).

    Raises:
        WrongWeights: it cannot be built, reads texts by another tokenizer than CLIP's own, or has a decoder of texts.
    """
    configuration.checked(config, "this architecture")
    text = config["model_cfg"]["text_cfg"]
    if "multimodal_cfg" in config["model_cfg"]:
        raise WrongWeights("this architecture has a decoder of texts, which is not trained here; expected a CLIP")
    if other := text.get("hf_tokenizer_name") or text.get("hf_model_name"):
        raise WrongWeights(
            f"this architecture reads texts as {other} does; a new model is made only with CLIP's tokens"
        )
    with refusing("open_clip cannot build this architecture", WrongWeights):
        _dry_run(config)
        model = _built(config)
        return _complete(model.to(memory_format=torch.channels_last), config, _tokenizer(text, None))


def _built(config: dict[str, Any]) -> nn.Module:
    """open_clip's model of a configuration, with random weights."""
    cfg = copy.deepcopy(config["model_cfg"])
    cfg["vision_cfg"]["timm_model_pretrained"] = False  # weights of one tower are not fetched for what has its own
    custom = cfg.pop("custom_text", False)
    if "hf_model_name" in cfg["text_cfg"]:
        cfg["text_cfg"]["hf_model_pretrained"] = False
        _check_text_tower(cfg["text_cfg"]["hf_model_name"])
        custom = True
    kind = (open_clip.CoCa if "multimodal_cfg" in cfg else open_clip.CustomTextCLIP) if custom else open_clip.CLIP
    model: nn.Module = kind(**cfg)
    return model


def _check_text_tower(name: str | None) -> None:
    """A text tower of transformers is one of its own: of another open_clip would ask whether to run its code."""
    from transformers import MODEL_MAPPING, AutoConfig

    if name and type(AutoConfig.from_pretrained(name, trust_remote_code=False)) not in MODEL_MAPPING:
        raise ValueError(f"its text tower {name} is none of transformers' own; code of a model's folder is never run")


def _complete(model: nn.Module, config: dict[str, Any], tokenizer: Tokenizer) -> Clip:
    """A CLIP that has read an image and a text, and whose configuration says how it reads images."""
    clip = Clip(model, config, tokenizer)
    clip.config = {**config, "preprocess_cfg": _stated(config.get("preprocess_cfg") or {}, clip.preprocessing)}
    with torch.device("cpu"):  # of a model that is built without memory, too
        mean, std = clip.statistics()
        if not (mean.isfinite().all() and std.isfinite().all() and (std > 0).all()):
            raise ValueError(f"mean {mean.flatten().tolist()}, std {std.flatten().tolist()}; expected std above 0")
        clip.pixels()(Image.new("RGB", (2, 1)))
        last = int(tokenizer(["a"]).max())
    text = config["model_cfg"]["text_cfg"]
    known = text.get("vocab_size", CLIPTextCfg.vocab_size)
    if last >= known and not text.get("hf_model_name"):
        raise ValueError(f"its tokenizer makes token {last:,} of a text, the model has {known:,}")
    return clip


def _stated(given: dict[str, Any], merged: PreprocessCfg) -> dict[str, Any]:
    """How images are read, for open_clip_config.json: mean, deviation, and whatever the configuration itself says."""
    values = asdict(merged)
    wanted = [name for name in values if name in ("mean", "std") or (name in given and name not in ("size", "mode"))]
    return {name: list(values[name]) if isinstance(values[name], tuple) else values[name] for name in wanted}


def resized(clip: Clip, side: int) -> Clip:
    """The same CLIP with an image tower that reads `side` pixels: the positions that it learned are interpolated.

    Raises:
        WrongWeights: its image tower cannot read so many.
    """
    config = copy.deepcopy(clip.config)
    config["model_cfg"]["vision_cfg"]["image_size"] = side
    state = clip.model.state_dict()
    with refusing(f"the image tower cannot be carried from {clip.image_size} to {side} pixels", WrongWeights):
        model: Any = _built(config)
        if (pooled := "visual.attnpool.positional_embedding") in state:
            rows = {"visual.positional_embedding": state[pooled]}  # the same rows as a ViT's, by another name
            grid = round((len(model.visual.attnpool.positional_embedding) - 1) ** 0.5)
            resize_pos_embed(rows, SimpleNamespace(visual=SimpleNamespace(grid_size=grid)))
            state[pooled] = rows["visual.positional_embedding"]
        resize_pos_embed(state, model)
        model.load_state_dict(state)
        return _complete(model.to(memory_format=torch.channels_last), config, clip.tokenize)


def architecture(name: str) -> dict[str, Any]:
    """Configuration of an open_clip architecture by name, or from a JSON file as open_clip writes it."""
    if name.endswith(".json"):
        cfg = files.read_json(Path(name))
        cfg = configuration.checked(
            cfg if not isinstance(cfg, dict) or "model_cfg" in cfg else {"model_cfg": cfg}, name
        )
    else:
        cfg = {"model_cfg": _known(name, "or give a .json file")}
    defaults = PreprocessCfg()
    preprocess = {"mean": list(defaults.mean), "std": list(defaults.std)}
    return {"model_cfg": cfg["model_cfg"], "preprocess_cfg": cfg.get("preprocess_cfg") or preprocess}


def _known(name: str, advice: str) -> dict[str, Any]:
    """open_clip's own configuration of an architecture.

    open_clip also takes names of folders and of the hub, whose configurations nobody has checked: it would run the code
    of a text tower, and pass over the weights that were given.
    """
    known: dict[str, Any] | None = None if ":" in name else open_clip.get_model_config(name)
    if known is None:
        raise WrongWeights(
            f"open_clip has no architecture {name!r}; see open_clip.list_models(), {advice} (a model's folder is taken "
            "as kind: directory, with its path)"
        )
    return known


def load(folder: Path, device: str = "cpu") -> Clip:
    """Load an open_clip local directory strictly, in float32, eval mode; nothing in it is run, whatever it says.

    Raises:
        WrongWeights: the folder is not such a directory, or its weights do not fit its configuration.
        InputError: the device is not here.
    """
    devices.check(device)
    for name in (CONFIG, WEIGHTS):
        if not files.is_file(folder / name):
            raise WrongWeights(
                f"{folder} has no {name}; expected an open_clip local directory (dvc repro makes its own)"
            )
    config = configuration.read(folder / CONFIG)
    with refusing(f"{folder}: {WEIGHTS} does not fit {CONFIG}", WrongWeights):
        _check_size(config, folder / WEIGHTS)
        model = _built(config)
        open_clip.load_checkpoint(model, str(folder / WEIGHTS))
    with refusing(f"{folder} has no tokenizer that can be read", WrongWeights):
        tokenizer = _tokenizer(config["model_cfg"]["text_cfg"], folder)
    with refusing(f"{folder / CONFIG} cannot be followed", WrongWeights):
        clip = _complete(model.to(memory_format=torch.channels_last), config, tokenizer)
    clip.model.to(device)
    return clip


def _check_size(config: dict[str, Any], weights: Path) -> None:
    """Before a model takes memory: it is no larger than its weights, and reads images of the size that it says."""
    with safe_open(weights, "pt") as tensors:
        held = sum(torch.Size(tensors.get_slice(name).get_shape()).numel() for name in tensors.keys())  # noqa: SIM118
    _dry_run(config, 2 * held)  # open_clip enlarges positions that were learned for smaller images


def _dry_run(config: dict[str, Any], most: int | None = None) -> None:
    """Without memory: a model is built, has at most so many weights, and embeds an image and a text as it says."""
    model_cfg = config["model_cfg"]
    with torch.random.fork_rng(devices=[]), torch.device("meta"), torch.inference_mode():
        model: Any = _built(config).eval()
        wanted = sum(tensor.numel() for tensor in model.state_dict().values())
        if most is not None and wanted > most:
            raise ValueError(f"the configuration is of a model of {wanted:,} weights, the file holds {most // 2:,}")
        made = {"an image": model.encode_image(torch.empty(1, 3, _side(model), _side(model)))}
        if not model_cfg["text_cfg"].get("hf_model_name"):  # some of transformers look at the tokens themselves
            length = model_cfg["text_cfg"].get("context_length", CLIPTextCfg.context_length)
            made["a text"] = model.encode_text(torch.zeros(1, length, dtype=torch.long))
    for what, found in made.items():
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        if shape != (1, model_cfg["embed_dim"]):
            raise ValueError(f"of {what} it makes {shape}; expected one vector, (1, {model_cfg['embed_dim']})")


def _tokenizer(text: dict[str, Any], folder: Path | None) -> Tokenizer:
    """The tokenizer that a configuration names: CLIP's own, or one of transformers in the model's folder."""
    length, options = text.get("context_length", CLIPTextCfg.context_length), text.get("tokenizer_kwargs") or {}
    made: Tokenizer
    if folder is None or not text.get("hf_tokenizer_name"):
        made = open_clip.SimpleTokenizer(context_length=length, **options)
    else:
        options = {**options, "trust_remote_code": False, "local_files_only": True}
        made = HFTokenizer(str(folder), context_length=length, tokenizer_mode=text.get("tokenizer_mode"), **options)
    return made


def fetch(name: str, pretrained: str) -> Clip:
    """An open_clip architecture with pretrained weights: a tag (open_clip downloads it) or a weights file.

    A file does not say how its model reads images. open_clip's defaults are taken, and said, where those of the
    architecture's published weights are others.

    Raises:
        WrongWeights: unknown architecture or tag, or weights that cannot be read or do not fit.
    """
    text = _known(name, "or give one of them with a weights file")["text_cfg"]
    config = architecture(name)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if not files.is_file(Path(pretrained)) and pretrained not in tags:
        raise WrongWeights(f"{pretrained!r} is neither a file nor a pretrained tag of {name}; tags: {', '.join(tags)}")
    if open_clip.get_pretrained_cfg(name, pretrained).get("quick_gelu"):
        config["model_cfg"]["quick_gelu"] = True  # weights of this tag were trained with it, whatever the name says
    quick = bool(config["model_cfg"].get("quick_gelu"))
    with refusing(f"{name} with {pretrained}: these weights cannot be loaded", WrongWeights):
        _check_text_tower(text.get("hf_model_name"))
        model, _, _ = open_clip.create_model_and_transforms(
            name, pretrained=pretrained, precision="fp32", force_quick_gelu=quick
        )
    trust = {"trust_remote_code": False} if text.get("hf_tokenizer_name") else {}
    with refusing(f"{name} has no tokenizer that can be read", WrongWeights):
        tokenizer: Tokenizer = open_clip.get_tokenizer(name, **trust)
    config["preprocess_cfg"] = open_clip.get_model_preprocess_cfg(model)
    with refusing(f"{name} with {pretrained} cannot be run", WrongWeights):
        clip = _complete(model, config, tokenizer)
    if pretrained not in tags:
        _say_assumed(name, pretrained, clip, quick)
    return clip


def _say_assumed(name: str, path: str, clip: Clip, quick: bool) -> None:
    """Say how a file's model is run, if published weights of its architecture are run otherwise."""
    assumed = {**clip.config["preprocess_cfg"], "quick_gelu": quick}
    others: dict[str, list[str]] = {}
    for tag in open_clip.list_pretrained_tags_by_model(name):
        published = open_clip.get_pretrained_cfg(name, tag)
        differ = [
            f"{key} {list(value) if isinstance(value, tuple) else value}"
            for key, value in ((key, published.get(key, default)) for key, default in assumed.items())
            if (list(value) if isinstance(value, tuple) else value) != assumed[key]
        ]
        if differ:
            others.setdefault(", ".join(differ), []).append(tag)
    if others:
        described = "; ".join(f"{', '.join(tags)}: {differ}" for differ, tags in others.items())
        taken = ", ".join(f"{key} {value}" for key, value in assumed.items())
        print(
            f"{name} with {path}: a file does not say how its model reads images, so this was assumed: {taken}. "
            f"Published weights of {name} have other settings ({described}). If the file is one of them, name its tag "
            f"instead, or put it into a folder whose {CONFIG} says so",
            file=sys.stderr,
        )
