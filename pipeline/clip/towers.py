"""Load and save a CLIP as an open_clip local directory, with a hash of its weights."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.tokenizer import HFTokenizer
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.transforms import Compose, ToTensor

from pipeline import files
from pipeline.weights import WrongWeights, weights_hash

CODE = "towers 2"
"""Raised whenever the same picture or text becomes another input of a tower (size, crop, normalisation, tokens): the
feature store's rows are computed anew then."""

CONFIG = "open_clip_config.json"
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

    def __post_init__(self) -> None:
        self.model.eval()

    @property
    def dimension(self) -> int:
        """Width of the shared embedding space."""
        return int(self.config["model_cfg"]["embed_dim"])

    @property
    def image_size(self) -> int:
        """Side in pixels of the image tower's input."""
        return int(self.config["model_cfg"]["vision_cfg"]["image_size"])

    @property
    def context_length(self) -> int:
        """Tokens the text tower reads, start and end included."""
        return int(self.config["model_cfg"]["text_cfg"].get("context_length", 77))

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

    def pixels(self) -> Callable[[Image.Image], NDArray[np.uint8]]:
        """A function from an RGB picture to the tower's input before normalisation, uint8 [3, side, side].

        These are open_clip's own evaluation transforms (resize, crop) without their last two steps, which
        `normalise` does for a whole batch.
        """
        full = image_transform_v2(PreprocessCfg(size=self.image_size, **self.config["preprocess_cfg"]), is_train=False)
        steps = []
        for step in full.transforms:
            if isinstance(step, ToTensor):
                break
            steps.append(step)
        geometry = Compose(steps)

        def to_pixels(picture: Image.Image) -> NDArray[np.uint8]:
            return np.ascontiguousarray(np.asarray(geometry(picture), dtype=np.uint8).transpose(2, 0, 1))

        return to_pixels

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the channels as the tower expects them, float32 [1, 3, 1, 1] each."""
        cfg = PreprocessCfg(**self.config["preprocess_cfg"])
        return torch.tensor(cfg.mean).view(1, 3, 1, 1), torch.tensor(cfg.std).view(1, 3, 1, 1)

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 [n, 3, side, side] to the tower's float32 input, channels last."""
        mean, std = self.statistics()
        return normalised(pixels, mean.to(pixels.device), std.to(pixels.device))

    def save(self, folder: Path) -> None:
        """Write an open_clip local directory; weights and configuration are whole or not there at all."""
        state = {k: v.detach().cpu().contiguous() for k, v in self.model.state_dict().items()}
        with files.whole(folder / WEIGHTS) as temporary:
            save_file(state, temporary)
        if isinstance(self.tokenize, HFTokenizer):
            self.tokenize.save_pretrained(folder)
        files.write_json(folder / CONFIG, self.config)


def normalised(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(pixels / 255 - mean) / std: uint8 [n, 3, side, side] to float32, channels last."""
    return ((pixels.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)


def create(config: dict[str, Any]) -> Clip:
    """A CLIP of the given configuration with fresh random weights (from torch's global generator).

    Raises:
        WrongWeights: it reads texts by another tokenizer than CLIP's own, or has a decoder of texts.
    """
    cfg = config["model_cfg"]
    text = cfg["text_cfg"]
    if "multimodal_cfg" in cfg:
        raise WrongWeights("this architecture has a decoder of texts, which is not trained here; expected a CLIP")
    if other := text.get("hf_tokenizer_name") or text.get("hf_model_name"):
        raise WrongWeights(
            f"this architecture reads texts as {other} does; a new model is made only with CLIP's tokens"
        )
    kind = open_clip.CustomTextCLIP if cfg.get("custom_text") else open_clip.CLIP
    model = kind(**{k: v for k, v in cfg.items() if k != "custom_text"})
    tokenizer = open_clip.SimpleTokenizer(
        context_length=text.get("context_length", 77), **text.get("tokenizer_kwargs", {})
    )
    return Clip(model.to(memory_format=torch.channels_last), config, tokenizer)


def architecture(name: str) -> dict[str, Any]:
    """Configuration of an open_clip architecture by name, or from a JSON file as open_clip writes it."""
    if name.endswith(".json"):
        cfg = files.read_json(Path(name))
        cfg = cfg if "model_cfg" in cfg else {"model_cfg": cfg}
    else:
        known = open_clip.get_model_config(name)
        if known is None:
            raise WrongWeights(
                f"open_clip has no architecture {name!r}; see open_clip.list_models(), or give a .json file"
            )
        cfg = {"model_cfg": known}
    defaults = PreprocessCfg()
    preprocess = {"mean": list(defaults.mean), "std": list(defaults.std)}
    return {"model_cfg": cfg["model_cfg"], "preprocess_cfg": cfg.get("preprocess_cfg", preprocess)}


def load(folder: Path, device: str = "cpu") -> Clip:
    """Load an open_clip local directory strictly, in float32, eval mode.

    Raises:
        WrongWeights: the folder is not such a directory, or its weights do not fit its configuration.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise WrongWeights(
                f"{folder} has no {name}; expected an open_clip local directory (dvc repro makes its own)"
            )
    try:
        model = open_clip.create_model(f"local-dir:{folder}", device=device, precision="fp32")
    except (RuntimeError, ValueError, SafetensorError) as error:
        raise WrongWeights(f"{folder}: {WEIGHTS} does not fit {CONFIG}: {error}") from error
    tokenizer = _tokenizer(f"local-dir:{folder}")
    return Clip(model.to(memory_format=torch.channels_last), files.read_json(folder / CONFIG), tokenizer)


def _tokenizer(name: str) -> Tokenizer:
    """open_clip's tokenizer for a model, which for some is one of transformers."""
    try:
        tokenizer: Tokenizer = open_clip.get_tokenizer(name)
    except (OSError, ValueError) as error:
        raise WrongWeights(f"{name} has no tokenizer that can be read: {error}") from error
    return tokenizer


def fetch(name: str, pretrained: str) -> Clip:
    """An open_clip architecture with pretrained weights: a tag (open_clip downloads it) or a weights file.

    Raises:
        WrongWeights: unknown architecture or tag, or weights that cannot be read or do not fit.
    """
    if open_clip.get_model_config(name) is None:
        raise WrongWeights(f"open_clip has no architecture {name!r}; see open_clip.list_models()")
    config = architecture(name)
    if not Path(pretrained).is_file() and pretrained not in open_clip.list_pretrained_tags_by_model(name):
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name))
        raise WrongWeights(f"{pretrained!r} is neither a file nor a pretrained tag of {name}; tags: {tags}")
    if open_clip.get_pretrained_cfg(name, pretrained).get("quick_gelu"):
        config["model_cfg"]["quick_gelu"] = True  # weights of this tag were trained with it, whatever the name says
    quick = bool(config["model_cfg"].get("quick_gelu"))
    try:
        model, _, _ = open_clip.create_model_and_transforms(
            name, pretrained=pretrained, precision="fp32", force_quick_gelu=quick
        )
    except (RuntimeError, ValueError, OSError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        raise WrongWeights(f"{name} with {pretrained}: {str(error) or 'the file ends too soon'}") from error
    preprocess = open_clip.get_model_preprocess_cfg(model)
    config["preprocess_cfg"] = {
        k: list(v) if isinstance(v, tuple) else v for k, v in preprocess.items() if k not in ("size", "mode")
    }
    return Clip(model, config, _tokenizer(name))
