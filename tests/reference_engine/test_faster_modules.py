"""Swapped submodules compute what the originals did: same bits where that is promised, rounding otherwise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reference_engine import Engine, EngineConfig
from reference_engine import faster_modules as faster


class Attention(nn.Module):
    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(64, n, bias=bias) for n in (64, 32, 32))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.q_proj(x), self.k_proj(x), self.v_proj(x)], dim=-1)


class RMSNorm(nn.Module):
    """As most models have it; ``plus`` 1 as Gemma does."""

    def __init__(self, plus: float = 0.0, added: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(64))
        self.variance_epsilon = 1e-6
        self.plus, self.added = plus, added

    def forward(self, x: Tensor) -> Tensor:
        return (self.plus + self.weight) * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.added))


def rows(count: int) -> Tensor:
    return torch.randn(1, count, 64, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_joined_projections_give_the_same_bits(bias: bool) -> None:
    module = Attention(bias)
    expected = [module(rows(n)) for n in (1, 2, 5, 40)]
    faster.join_projections(module)
    assert isinstance(module.q_proj, faster.FirstOfJoined)
    assert all(torch.equal(module(rows(n)), was) for n, was in zip((1, 2, 5, 40), expected, strict=True))


def test_projections_of_other_kinds_are_left_alone() -> None:
    module = Attention(True)
    module.k_proj = nn.Identity()  # type: ignore[assignment]
    faster.join_projections(module)
    assert type(module.q_proj) is nn.Linear


@torch.inference_mode()
def test_norms_are_fused_only_where_bits_are_equal() -> None:
    model = nn.Sequential(RMSNorm(), RMSNorm(plus=1.0))
    expected = model(rows(7))
    faster.fuse_norms(model)
    assert [type(module) for module in model] == [faster.FusedRMSNorm, RMSNorm]
    assert torch.equal(model(rows(7)), expected)


@torch.inference_mode()
def test_norms_of_fewer_kernels_differ_by_rounding() -> None:
    """Near zero as well, where epsilon is most of the mean; one that adds another epsilon stays."""
    norm = RMSNorm()
    model = nn.Sequential(norm, RMSNorm(plus=1.0), RMSNorm(added=2e-6))
    faster.fuse_norms(model, rounding=True)
    assert [type(module) for module in model] == [faster.HypotRMSNorm, RMSNorm, RMSNorm]
    for scale in (0.0, 1e-20, 1e-4, 1e-3, 1.0, 1e6):
        assert torch.allclose(model[0](scale * rows(33)), norm(scale * rows(33)), rtol=1e-5, atol=0), scale


def test_norms_of_another_type_keep_their_bits() -> None:
    model = nn.Sequential(RMSNorm().to(torch.bfloat16))
    faster.fuse_norms(model, rounding=True)
    assert type(model[0]) is not faster.HypotRMSNorm


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
@torch.inference_mode()
def test_packed_linears_differ_by_rounding(dtype: torch.dtype, bound: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faster, "WORTH_PACKING", 64 * 96)
    if not faster.can_pack(dtype):
        pytest.skip(f"this machine's oneDNN has no {dtype} products in its own layout")
    model = nn.Sequential(nn.Linear(64, 96), nn.Linear(96, 64, bias=False)).to(dtype)
    inputs = [rows(n).to(dtype) for n in (0, 1, 3, 33)]
    expected = [model(x) for x in inputs]
    faster.pack_linears(model)
    assert [type(module) for module in model] == [faster.PackedLinear] * 2
    for x, was in zip(inputs, expected, strict=True):
        assert torch.allclose(model(x), was, atol=bound)


@torch.inference_mode()
def test_small_weights_are_laid_out_for_mkl() -> None:
    model = nn.Sequential(nn.Linear(512, 511), nn.Linear(511, 516))
    faster.pack_linears(model)
    assert [type(module) for module in model] == [faster.UprightLinear, faster.PackedLinear]


def test_small_weights_of_another_type_stay() -> None:
    model = nn.Sequential(nn.Linear(64, 64).to(torch.bfloat16))
    faster.pack_linears(model)
    assert type(model[0]) is nn.Linear


@pytest.mark.parametrize("bias", [True, False])
@torch.inference_mode()
def test_upright_linears_differ_by_rounding(bias: bool) -> None:
    linear = nn.Linear(64, 96, bias=bias)
    made = faster.UprightLinear(linear)
    assert torch.equal(made.weight, linear.weight)
    for x in (*map(rows, (0, 1, 3, 33)), rows(5)[0]):
        assert torch.allclose(made(x), linear(x), atol=1e-6)


def test_an_engine_has_them(bench: Any) -> None:
    kinds = {type(module) for module in bench.engine().runner.decoder._model.modules()}
    assert {faster.FirstOfJoined, faster.NextOfJoined, faster.HypotRMSNorm} <= kinds  # the joined ones in the tower


def test_a_packed_engine_answers_alike(bench: Any, make_cases: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentinel's weights are small: here they are packed all the same."""
    cases = make_cases(6, seed=9)
    expected = [bench.oracle.generate(case).ids for case in cases]
    monkeypatch.setattr(faster, "WORTH_PACKING", 0)
    engine = Engine(EngineConfig(str(bench.path), num_blocks=512))
    kinds = {type(module) for module in engine.runner.decoder._model.modules()}
    assert faster.PackedLinear in kinds
    assert nn.Linear not in kinds
    answers = engine.generate([case.request(str(i)) for i, case in enumerate(cases)])
    assert [answer.output_ids for answer in answers] == expected
