"""The kernels compile as they are launched, for an H100 (sm_90) and an MI300 (gfx942, waves of 64), and fit there.

No card is needed: the launches of this package run with a driver that names a target, and end at the compiler. Not in
Triton's interpreter: ci/suites/kernels.sh runs this by itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed: ci/suites/kernels.sh runs these")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("Triton interprets here; ci/suites/kernels.sh runs these", allow_module_level=True)

from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from reference_engine.kernels.attention import CHUNK_TOKENS, RowPlan, attend, store
from reference_engine.kernels.row_functions import layer_norm, linear, log_softmax, rms_norm
from reference_engine.kernels.sampling import pick

TARGETS = {"h100": (GPUTarget("cuda", 90, 32), 227), "mi300": (GPUTarget("hip", "gfx942", 64), 64)}
"""And the KiB that one program may have."""
SHAPES = {"7b": (28, 4, 128, 128), "latent": (16, 16, 192, 128), "gemma": (8, 4, 256, 256)}
"""Query heads, key heads, key width, value width."""
VOCABULARY = 152_064


class Naming:
    """As much of a Triton driver as a compiler asks for. Kernels are kept by number of device: these are nobody's."""

    def __init__(self, name: str) -> None:
        self.target, self.number = TARGETS[name][0], 1000 + list(TARGETS).index(name)

    def get_current_target(self) -> Any:
        return self.target

    def get_current_device(self) -> int:
        return self.number

    def get_current_stream(self, device: int) -> int:
        return 0


@pytest.fixture(params=TARGETS)
def compiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, int]]]:
    """What was launched meanwhile: name of the kernel, bytes of shared memory. All of it fits, or the test fails."""
    made: list[tuple[str, int]] = []
    run = JITFunction.run

    def compile_only(kernel: Any, *args: Any, warmup: bool, **options: Any) -> Any:
        binary = run(kernel, *args, warmup=True, **options)
        made.append((kernel.__name__, binary.metadata.shared))
        return binary

    monkeypatch.setattr(JITFunction, "run", compile_only)
    monkeypatch.setattr(driver, "_active", Naming(request.param))  # it cannot be reset where there is no card
    yield made
    assert made, "nothing was compiled"
    assert max(shared for _, shared in made) <= TARGETS[request.param][1] * 1024, made


@pytest.mark.parametrize(("shape", "dtype"), [*((shape, torch.bfloat16) for shape in SHAPES), ("gemma", torch.float32)])
def test_attention(compiled: list[tuple[str, int]], shape: str, dtype: torch.dtype) -> None:
    heads, shared, width, value_width = SHAPES[shape]
    q = torch.zeros(2 * CHUNK_TOKENS, heads, width, dtype=dtype)
    k, v = (torch.zeros(len(q), shared, w, dtype=dtype) for w in (width, value_width))
    keys, values = (torch.zeros(4, 16, shared, w, dtype=dtype) for w in (width, value_width))
    tiles = torch.zeros(4, 3, dtype=torch.int32)
    plan = RowPlan(torch.zeros(3, 64, dtype=torch.int64), tiles, tiles[:2], tiles[2:], 2, 16)
    store(k, v, keys, values, torch.zeros(len(q), dtype=torch.int64))
    attend(q, keys, values, plan, scale=0.1, window=100, softcap=30.0 if shape == "gemma" else None)
    assert [name for name, _ in compiled] == ["store_kernel", "attend_kernel", "combine_kernel", "attend_kernel"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_rows(compiled: list[tuple[str, int]], dtype: torch.dtype) -> None:
    x, weight = torch.zeros(8, 3584, dtype=dtype), torch.zeros(512, 3584, dtype=dtype)
    linear(x, weight, weight[:, 0])
    rms_norm(x, x[0], 1e-6)
    layer_norm(x, x[0], x[0], 1e-6)
    log_softmax(torch.zeros(2, VOCABULARY))
    assert len(compiled) == 4


def test_sampling(compiled: list[tuple[str, int]]) -> None:
    logits = torch.zeros(2, VOCABULARY)
    pick(logits, logits, torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.float64))
    assert len(compiled) == 1
