"""Modules over :mod:`reference_engine.kernels.row_functions`: what ``batch_invariant`` puts in the place of a model's
own where our Triton kernels run.
"""

from __future__ import annotations

from inspect import signature

from torch import Tensor, nn

from reference_engine.kernels.row_functions import layer_norm, linear, rms_norm

CENTRED = ("Gemma2RMSNorm", "Gemma3RMSNorm")


class RowLinear(nn.Module):
    def __init__(self, module: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = module.weight, module.bias

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class RowRMSNorm(nn.Module):
    def __init__(self, weight_W: nn.Parameter, epsilon: float, *, centred: bool) -> None:
        super().__init__()
        self.weight, self.epsilon, self.centred = weight_W, epsilon, centred

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.epsilon, centred=self.centred)


class RowLayerNorm(nn.Module):
    def __init__(self, module: nn.LayerNorm) -> None:
        super().__init__()
        self.weight, self.bias, self.epsilon = module.weight, module.bias, module.eps

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.weight, self.bias, self.epsilon)


def row_module(module: nn.Module) -> nn.Module | None:
    """The same function row by row, or None for a module that is none of these. Activations need no other form on a
    card: there every element is computed alike.
    """
    if type(module) is nn.Linear:
        return RowLinear(module)
    if type(module) is nn.LayerNorm and len(module.normalized_shape) == 1 and module.bias is not None:
        return RowLayerNorm(module)
    weight, epsilon = getattr(module, "weight", None), getattr(module, "variance_epsilon", None)
    centred = type(module).__name__ in CENTRED
    if centred:
        epsilon = module.eps
    if isinstance(weight, nn.Parameter) and epsilon is not None and len(signature(module.forward).parameters) == 1:
        return RowRMSNorm(weight, epsilon, centred=centred)  # transformers' plain ones all call it variance_epsilon
    return None
