"""The image tower's layers from input to output, to train only the last of them."""

from itertools import accumulate, chain
from typing import Any

from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.models import group_parameters
from torch import nn

from pipeline.errors import InputError


def image_groups(model: nn.Module) -> list[list[nn.Parameter]]:
    """Parameters of an open_clip image tower, grouped by layer from input to output; each in exactly one group.

    - VisionTransformer: patches and positions; each block; pooling, last norm and projection.
    - ModifiedResNet: stem; layer1 to layer4; attention pooling with the projection.
    - TimmModel: timm's own groups of the trunk (`group_matcher`), as open_clip locks them, and with the last of them
      open_clip's head.

    A parameter that no rule names belongs to the group of the one before it.

    Raises:
        InputError: a tower of another class.
    """
    tower: Any = model.visual
    rules = _rules(tower)
    if not rules:
        raise InputError(
            f"the layers of image tower {type(tower).__name__} are not known; known: VisionTransformer, "
            "ModifiedResNet, TimmModel over a trunk with group_matcher; set student.layers: all"
        )
    place = {name: number for number, names in enumerate(rules) for name in names}
    groups: list[list[nn.Parameter]] = [[] for _ in rules]
    number = 0
    for name, parameter in tower.named_parameters():
        path = accumulate(name.split("."), "{}.{}".format)  # a, a.b, a.b.c
        number = next((place[part] for part in path if part in place), number)
        groups[number].append(parameter)
    return [group for group in groups if group]


def trained(model: nn.Module, layers: int | None) -> list[nn.Parameter]:
    """Parameters of the image tower's last `layers` groups; all of the tower's for None.

    Raises:
        InputError: the tower has fewer groups, or its layers are not known.
    """
    return list(chain.from_iterable(_last(model, layers)))


def unfreeze(model: nn.Module, layers: int | None) -> int:
    """Train exactly the image tower's last `layers` groups (None: all); whatever is outside of the tower is left alone.

    Returns:
        How many groups are trained; 1 where all of a tower is whose layers are not known.

    Raises:
        InputError: as `trained`; nothing is changed then.
    """
    groups = _last(model, layers)
    chosen = set(chain.from_iterable(groups))
    tower: Any = model.visual
    for parameter in tower.parameters():
        parameter.requires_grad = parameter in chosen
    return len(groups)


def _rules(tower: Any) -> list[list[str]]:
    """Names of modules and parameters for each group, from input to output; empty if the tower is not known."""
    if isinstance(tower, VisionTransformer):
        blocks = [[f"transformer.resblocks.{i}"] for i in range(len(tower.transformer.resblocks))]
        first = ["conv1", "class_embedding", "positional_embedding", "ln_pre"]
        return [first, *blocks, ["attn_pool", "attn_pool_contrastive", "ln_post", "proj"]]
    if isinstance(tower, ModifiedResNet):
        stem = ["conv1", "bn1", "conv2", "bn2", "conv3", "bn3"]
        return [stem, ["layer1"], ["layer2"], ["layer3"], ["layer4"], ["attnpool"]]
    if isinstance(tower, TimmModel) and hasattr(tower.trunk, "group_matcher"):
        trunk = group_parameters(tower.trunk, tower.trunk.group_matcher())
        groups = [[f"trunk.{name}" for name in trunk[i]] for i in sorted(trunk)]
        return [*groups[:-1], [*groups[-1], "head"]]
    return []


def _last(model: nn.Module, layers: int | None) -> list[list[nn.Parameter]]:
    tower: Any = model.visual
    if layers is None:
        return image_groups(model) if _rules(tower) else [list(tower.parameters())]
    groups = image_groups(model)
    if not 0 <= layers <= len(groups):
        raise InputError(
            f"student.layers is {layers}, but image tower {type(tower).__name__} has {len(groups)} groups of layers; "
            f"set it to at most {len(groups)}, or to all"
        )
    return groups[len(groups) - layers :]
