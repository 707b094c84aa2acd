"""Batch-invariant modules: every row of an answer has the same bits whoever stands beside it.

A matrix product may sum in another order when it has another number of rows (and on several threads, when rows are
shared out otherwise), and so may the ends of a vectorized loop. Here each linear map takes its rows in tiles of 16, the
last one filled up with zeros, so that all products of a layer have one shape; activations whose kernels treat the end
of a thread's share differently are written out in operations that do not. Normalizations, softmax and rotary embeddings
work row by row already. Attention over the cache is :mod:`reference_engine.attention.tiled`.

Where our Triton kernels attend, they do the rest as well: linear maps and norms are those of
:mod:`reference_engine.kernels.row_modules`, and attention over the cache is their invariant form. A card computes every
element of an activation alike, so those stay.

A patch convolution is made the linear map that it is. A mixture of experts is refused: its products have as many rows
as tokens chose an expert.

:func:`install` swaps submodules, and nothing else of a model changes. That what a model does is covered is not taken
on trust: the self-test at load compares bits (:mod:`reference_engine.selftest`).

Shapes: N rows, I inputs, O outputs, Q = 16 rows of a tile; B images of C channels, H rows and W columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference_engine.errors import ConfigError
from reference_engine.faster_modules import swap

TILE = 16


class TiledLinear(nn.Module):
    """A linear map over rows of the last dimension, 16 rows at a time."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        x_NI = x.reshape(-1, x.shape[-1])
        rows = len(x_NI)
        whole_NI = F.pad(x_NI, (0, 0, 0, -rows % TILE))
        tiles_QO = [F.linear(tile_QI, self.weight, self.bias) for tile_QI in whole_NI.split(TILE)]
        return torch.cat(tiles_QO)[:rows].reshape(*x.shape[:-1], len(self.weight))


class PatchConvolution(nn.Module):
    """A convolution whose patches do not overlap, as a linear map over patches."""

    def __init__(self, convolution: nn.Conv2d, linear: Callable[[nn.Linear], nn.Module]) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias  # a tower asks for the weight's type
        self.size = convolution.kernel_size
        plain = nn.Linear(self.weight[0].numel(), len(self.weight), bias=self.bias is not None, device="meta")
        plain.weight = nn.Parameter(self.weight.flatten(1), requires_grad=False)
        if self.bias is not None:
            plain.bias = nn.Parameter(self.bias, requires_grad=False)
        self.linear = linear(plain)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        height, width = self.size
        patches = x_BCHW.unfold(2, height, height).unfold(3, width, width)  # [B, C, rows, columns, height, width]
        return self.linear(patches.permute(0, 2, 3, 1, 4, 5).flatten(3)).permute(0, 3, 1, 2)


class WrittenOut(nn.Module):
    """An activation as a formula of operations whose vectorized loops treat every element alike."""

    def __init__(self, formula: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.formula = formula

    def forward(self, x: Tensor) -> Tensor:
        return self.formula(x.float()).to(x.dtype)


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.erf(x * math.sqrt(0.5)))


def gelu_tanh(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


def quick_gelu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-1.702 * x))


FORMULAS: dict[str, Callable[[Tensor], Tensor]] = {
    "SiLU": silu,
    "SiLUActivation": silu,
    "GELUActivation": gelu,
    "GELUTanh": gelu_tanh,
    "PytorchGELUTanh": gelu_tanh,
    "NewGELUActivation": gelu_tanh,
    "QuickGELUActivation": quick_gelu,
}
"""By class name, torch's and transformers'; ``nn.GELU`` says itself which of the two it is."""


def install(root: nn.Module, *, kernels: bool = False) -> None:
    """Swap every linear map, and whatever else is not invariant, below ``root`` for its invariant form; ``kernels``:
    for that of our Triton kernels. Raises :class:`ConfigError` for a mixture of experts.
    """
    if has_experts(root):
        raise ConfigError("batch_invariant: not with a mixture of experts; turn it off")
    if kernels:
        from reference_engine.kernels.row_modules import RowLinear, row_module

        swap(root, lambda module: row_module(module) or _patches(module, RowLinear))
    else:
        swap(root, lambda module: _tiled(module) or _patches(module, TiledLinear))


def has_experts(root: nn.Module) -> bool:
    """Whether there is a mixture of experts, by the names that transformers gives its modules."""
    return any(type(module).__name__.endswith("Experts") for module in root.modules())


def _tiled(module: nn.Module) -> nn.Module | None:
    if type(module) is nn.Linear:
        return TiledLinear(module)
    if isinstance(module, nn.GELU):
        return WrittenOut(gelu if module.approximate == "none" else gelu_tanh)
    formula = FORMULAS.get(type(module).__name__)
    return None if formula is None else WrittenOut(formula)


def _patches(module: nn.Module, linear: Callable[[nn.Linear], nn.Module]) -> nn.Module | None:
    if type(module) is not nn.Conv2d or module.kernel_size != module.stride:
        return None
    plain = module.padding in ((0, 0), "valid") and module.dilation == (1, 1) and module.groups == 1
    return PatchConvolution(module, linear) if plain else None
