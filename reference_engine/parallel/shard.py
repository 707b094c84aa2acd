"""A rank's share of a decoder: whole heads, and a slice of every MLP's middle.

Projections into heads and into the middle lose rows; those back out lose columns and give a partial sum, which is
summed over ranks. transformers' layers run as they are: they take the number of heads from the width of what the
projections return. What a layer has beyond these projections must work on each head, or on whole rows; another linear
map in a layer is refused.

Shapes: I inputs, O outputs of a linear map.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from reference_engine.errors import ConfigError
from reference_engine.parallel.collectives import Collectives

INTO_HEADS = ("q_proj", "k_proj", "v_proj")
INTO_MIDDLE = ("gate_proj", "up_proj", "gate_up_proj")
BACK_OUT = ("o_proj", "down_proj")
STACKED = {"gate_up_proj": 2}
"""Projections that are several in one, one below the other: each is cut by itself."""


class SummedLinear(nn.Module):
    """The columns of a linear map that one rank has; gives the sum of all."""

    def __init__(self, linear: nn.Linear, collectives: Collectives) -> None:
        super().__init__()
        self.weight = nn.Parameter(_cut(linear.weight, 1, collectives), requires_grad=False)
        self.bias = linear.bias
        self.collectives = collectives

    def forward(self, x: Tensor) -> Tensor:
        y = self.collectives.sum(F.linear(x, self.weight))
        return y if self.bias is None else y + self.bias


def shard_layers(decoder: nn.Module, heads: tuple[int, int], collectives: Collectives) -> None:
    """Cut every layer of a decoder to this rank's share. ``heads``: query heads and key/value heads.

    Raises :class:`ConfigError` where heads or widths do not divide, or a layer has a part that is not known.
    """
    if any(count % collectives.ranks for count in heads):
        raise ConfigError(
            f"tensor_parallel: {collectives.ranks} does not divide {heads[0]} heads and {heads[1]} shared"
        )
    for module in list(decoder.layers.modules()):  # type: ignore[union-attr]
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, _share(name, child, collectives))


def _share(name: str, linear: nn.Linear, collectives: Collectives) -> nn.Module:
    if name in BACK_OUT:
        return SummedLinear(linear, collectives)
    if name not in INTO_HEADS + INTO_MIDDLE:
        raise ConfigError(f"tensor_parallel: how to share a layer's {name} is not known; set tensor_parallel to 1")
    stacked = STACKED.get(name, 1)
    linear.weight = nn.Parameter(_cut(linear.weight, 0, collectives, stacked), requires_grad=False)
    if linear.bias is not None:
        linear.bias = nn.Parameter(_cut(linear.bias, 0, collectives, stacked), requires_grad=False)
    linear.out_features = len(linear.weight)
    return linear


def _cut(weight: Tensor, axis: int, collectives: Collectives, stacked: int = 1) -> Tensor:
    """This rank's slice along an axis, copied, so that the whole can be freed."""
    parts = weight.unflatten(axis, (stacked, -1))
    if parts.shape[axis + 1] % collectives.ranks:
        raise ConfigError(f"tensor_parallel: {collectives.ranks} does not divide a width of {parts.shape[axis + 1]}")
    return parts.chunk(collectives.ranks, dim=axis + 1)[collectives.rank].flatten(axis, axis + 1).clone()
