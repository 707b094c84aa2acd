"""Submodules swapped for faster ones that compute the same: no forward of a model is rewritten.

* :func:`join_projections`: q, k and v, and gate and up, as one product each. The first of them computes all and the
  others hand out their share, so they have to be called in that order on one input. Every model that names them so
  does, and the self-test at load would notice one that does not.
* :func:`fuse_norms`: root mean square norms as one kernel, wherever that gives the very same bits; on a CPU, which has
  no such kernel, in four instead of ten, equal up to rounding.
* :func:`pack_linears`: weights laid out once for who multiplies them (CPU), which plain ``linear`` does anew at every
  call: most of the work when rows are few. Large ones for oneDNN, small ones for MKL. Sums in another order: equal up
  to rounding.

None of this is seen by a caller of the model. Apply after weights are final and on their device.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from inspect import signature

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WORTH_PACKING = 1 << 18
"""Fewest elements of a weight to be packed. Below, oneDNN's fixed cost a call is more than it saves (measured)."""
PRIMITIVES_KEPT = 256
"""oneDNN compiles a packed product anew for every number of rows. It keeps 1,024 of them, unless the environment says
otherwise before the first one: memory that grows while images of new sizes come (seen with the small sentinel: 62 KiB a
request; 3 with 16 kept; none without packing)."""
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(PRIMITIVES_KEPT))
JOINED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


def swap(root: nn.Module, replace: Callable[[nn.Module], nn.Module | None]) -> None:
    """Put ``replace(module)`` in the place of every submodule for which it is not None."""
    for parent in list(root.modules()):
        for name, child in list(parent.named_children()):
            made = replace(child)
            if made is not None:
                setattr(parent, name, made)


def join(linears: Sequence[nn.Linear]) -> nn.Linear:
    """Linear maps of one input as one: its outputs are theirs, in order."""
    joined = nn.Linear(linears[0].weight.shape[1], sum(len(linear.weight) for linear in linears), False, device="meta")
    joined.weight = nn.Parameter(torch.cat([linear.weight for linear in linears]), requires_grad=False)
    if linears[0].bias is not None:
        joined.bias = nn.Parameter(torch.cat([linear.bias for linear in linears]), requires_grad=False)
    return joined


class FirstOfJoined(nn.Module):
    """Computes several linear maps of one input at once and returns the first's share."""

    def __init__(self, linears: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.sizes = [len(linear.weight) for linear in linears]
        self.linear = join(linears)
        self.shares: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        first, *self.shares[:] = self.linear(x).split_with_sizes(self.sizes, -1)
        return first


class NextOfJoined(nn.Module):
    """Hands out the next share."""

    def __init__(self, first: FirstOfJoined) -> None:
        super().__init__()
        self._shares = first.shares

    def forward(self, x: Tensor) -> Tensor:
        return self._shares.pop(0)


def join_projections(root: nn.Module) -> None:
    for module in list(root.modules()):
        for names in JOINED:
            linears = [getattr(module, name, None) for name in names]
            if all(type(linear) is nn.Linear for linear in linears):
                first = FirstOfJoined([linear for linear in linears if isinstance(linear, nn.Linear)])
                setattr(module, names[0], first)
                for name in names[1:]:
                    setattr(module, name, NextOfJoined(first))


class FusedRMSNorm(nn.Module):
    def __init__(self, weight: Tensor, epsilon: float) -> None:
        super().__init__()
        self.weight = weight
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.epsilon)


class HypotRMSNorm(nn.Module):
    """x / sqrt(mean(x²) + epsilon) * w, which is x / hypot(‖x‖, sqrt(E epsilon)) * sqrt(E) w."""

    def __init__(self, weight: Tensor, epsilon: float) -> None:
        super().__init__()
        width = len(weight)
        self._weight = weight.detach() * width**0.5  # tensors of its own are found faster than registered ones
        self._least = torch.tensor((width * epsilon) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return (x / torch.linalg.vector_norm(x, dim=-1, keepdim=True).hypot_(self._least)).mul_(self._weight)


def fuse_norms(root: nn.Module, *, rounding: bool = False) -> None:
    """``rounding``: whether bits may be others than the model's own, and depend on how many rows there are."""
    swap(root, partial(_fused_norm, rounding=rounding))


def _fused_norm(module: nn.Module, rounding: bool) -> nn.Module | None:
    """The fused form of a norm, if both give the same on noise of this type and device, large and small."""
    weight, epsilon = getattr(module, "weight", None), getattr(module, "variance_epsilon", None)
    if not isinstance(weight, Tensor) or epsilon is None or len(signature(module.forward).parameters) != 1:
        return None  # a gated norm takes more than what it normalizes
    noise = torch.randn(64, len(weight), generator=torch.Generator().manual_seed(0))
    noise = (noise * torch.logspace(-4, 1, 64)[:, None]).to(weight.device, weight.dtype)
    if rounding and weight.device.type == "cpu" and weight.dtype is torch.float32:
        hypot = HypotRMSNorm(weight, epsilon)
        return hypot if torch.allclose(module(noise), hypot(noise), rtol=1e-5, atol=0) else None
    fused = FusedRMSNorm(weight, epsilon)
    return fused if torch.equal(module(noise), fused(noise)) else None


class PackedLinear(nn.Module):
    """A linear map with its weight in oneDNN's own layout."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ops.mkldnn._reorder_linear_weight(linear.weight, None), requires_grad=False)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")


class UprightLinear(nn.Linear):
    """A linear map with its weight's inputs one below the other, as MKL reads them; ``weight`` is [O, I] as ever.

    Calls the product itself: ``linear`` takes as long as that to get there when rows are few (measured).
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=False, device="meta")
        self._upright_IO = linear.weight.detach().t().contiguous()
        self.weight = nn.Parameter(self._upright_IO.t(), requires_grad=False)
        self.bias = linear.bias
        self._added = None if linear.bias is None else linear.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        y = torch.mm(x, self._upright_IO) if x.dim() == 2 else torch.matmul(x, self._upright_IO)
        return y if self._added is None else y.add_(self._added)


def is_worth_packing(linear: nn.Linear) -> bool:
    return linear.weight.numel() >= WORTH_PACKING and can_pack(linear.weight.dtype)


def can_pack(dtype: torch.dtype) -> bool:
    """Whether this machine's oneDNN has products of that type in its own layout."""
    if not torch.backends.mkldnn.is_available():
        return False
    return dtype is torch.float32 or (dtype is torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def pack_linears(root: nn.Module) -> None:
    swap(root, _packed)


def _packed(module: nn.Module) -> nn.Module | None:
    if type(module) is not nn.Linear:
        return None
    if is_worth_packing(module):
        return PackedLinear(module)
    return UprightLinear(module) if module.weight.dtype is torch.float32 else None
