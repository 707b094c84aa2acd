"""Stands in for SGLang's compiled kernels, whose CPU build no package index has: every name is there, two work.

Dense models on a CPU without AMX call plain PyTorch, all but ``assign_req_to_token_pool_cpu``. Some model files read
names at their import, and are silently not registered without them.
"""

from __future__ import annotations

import sys
from typing import Any

import torch

__version__ = "0.0.0"
__path__: list[str] = []
READ_AT_IMPORT = (
    "fused_moe_router_cpu", "fused_qk_gemma_rmsnorm_cpu", "fused_qk_gemma_rmsnorm_with_gate_cpu",
    "fused_qkvzba_split_reshape_cat_contiguous_cpu", "fused_qkvzba_split_reshape_cat_cpu",
)  # fmt: skip


def assign_req_to_token_pool_cpu(requests: Any, pool: Any, starts: Any, ends: Any, slots: Any, length: int) -> None:
    """Write each request's new KV slots into its row of the pool."""
    done = 0
    for request, start, end in zip(requests.tolist(), starts.tolist(), ends.tolist(), strict=True):
        pool[request, start:end] = slots[done : done + end - start].to(pool.dtype)
        done += end - start


def fused_sigmoid_mul_cpu(x: Any, gate: Any) -> None:
    x.mul_(torch.sigmoid(gate))


def missing(name: str) -> Any:
    def call(*arguments: Any, **named: Any) -> Any:
        raise NotImplementedError(f"sgl_kernel.{name} is compiled code, which is not installed here")

    return call


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return missing(name)


torch.ops.sgl_kernel.fused_sigmoid_mul_cpu = fused_sigmoid_mul_cpu
for _name in READ_AT_IMPORT:
    setattr(torch.ops.sgl_kernel, _name, missing(_name))
sys.modules[f"{__name__}.mamba"] = sys.modules[__name__]
