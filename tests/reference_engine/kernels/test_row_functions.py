"""Row by row: the bits of a row are those it has alone, whatever stands beside it, and the values are torch's."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.reference_engine.kernels.runnable import need_triton

DEVICE = need_triton()

from reference_engine import ConfigError  # noqa: E402
from reference_engine.batch_invariant import install  # noqa: E402
from reference_engine.kernels import row_functions  # noqa: E402
from reference_engine.kernels.row_functions import ROWS, layer_norm, linear, log_softmax, rms_norm  # noqa: E402
from reference_engine.kernels.row_modules import RowLayerNorm, RowLinear, RowRMSNorm  # noqa: E402

COUNTS = (1, 2, 15, ROWS, ROWS + 1, 150)
DTYPES = (torch.float32, torch.bfloat16)
WIDTHS = (8, 33, 100, 257)
"""Not all of them are whole tiles or powers of two."""
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
Rowwise = Callable[[Tensor], Tensor]


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE, dtype)


def functions(width: int, dtype: torch.dtype) -> dict[str, tuple[Rowwise, Rowwise]]:
    """Ours and torch's, of rows of this width."""
    weight_W, bias_W = noise(width, seed=1, dtype=dtype), noise(width, seed=2, dtype=dtype)
    weight_OW, bias_O = noise(70, width, seed=3, dtype=dtype) * width**-0.5, noise(70, seed=4, dtype=dtype)
    made: dict[str, tuple[Rowwise, Rowwise]] = {
        "linear": (lambda x: linear(x, weight_OW, bias_O), lambda x: F.linear(x, weight_OW, bias_O)),
        "linear without bias": (lambda x: linear(x, weight_OW, None), lambda x: F.linear(x, weight_OW)),
        "rms_norm": (lambda x: rms_norm(x, weight_W, 1e-6), lambda x: F.rms_norm(x, (width,), weight_W, 1e-6)),
        "rms_norm, centred": (
            lambda x: rms_norm(x, weight_W, 1e-6, centred=True),
            lambda x: F.rms_norm(x.float(), (width,), 1 + weight_W.float(), 1e-6).to(dtype),
        ),
        "layer_norm": (
            lambda x: layer_norm(x, weight_W, bias_W, 1e-5), lambda x: F.layer_norm(x, (width,), weight_W, bias_W, 1e-5)
        ),
    }  # fmt: skip
    if dtype == torch.float32:
        made["log_softmax"] = (lambda x: log_softmax(x * 5), lambda x: (x * 5).log_softmax(-1))
    return made


def alone(function: Rowwise, x_NW: Tensor) -> Tensor:
    return torch.cat([function(row_1W) for row_1W in x_NW.split(1)])


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_has_its_bits_in_every_batch_and_place(dtype: torch.dtype, width: int) -> None:
    x_NW = noise(max(COUNTS), width, dtype=dtype) * 3
    few_NW = x_NW[:: max(COUNTS) // 7]
    for name, (ours, torchs) in functions(width, dtype).items():
        whole = ours(x_NW)
        assert (whole.float() - torchs(x_NW).float()).abs().max() < TOLERANCE[dtype] * whole.abs().max(), name
        assert torch.equal(alone(ours, few_NW), whole[:: max(COUNTS) // 7]), name
        for count in COUNTS:
            assert torch.equal(ours(x_NW[-count:]), whole[-count:]), f"{name}, the last {count}"
        assert torch.equal(ours(x_NW.flip(0)).flip(0), whole), name


def test_a_vocabulary_of_several_blocks() -> None:
    logits_NV = noise(3, 2 * row_functions.LANES + 5) * 4
    assert (log_softmax(logits_NV) - logits_NV.log_softmax(-1)).abs().max() < 1e-5
    assert torch.equal(alone(log_softmax, logits_NV), log_softmax(logits_NV))


def test_views_and_leading_axes_are_taken_as_they_come() -> None:
    x = noise(40, 3, 2).permute(2, 1, 0)
    weight, bias = noise(5, 40, seed=1), noise(40, seed=2)
    assert torch.allclose(linear(x, weight, None), F.linear(x, weight), atol=1e-4)
    assert torch.allclose(layer_norm(x, bias, bias, 1e-6), F.layer_norm(x, (40,), bias, bias, 1e-6), atol=1e-5)
    shifted = noise(201)[1:].view(5, 40)  # starts between two aligned places
    assert torch.equal(linear(shifted, weight, None), linear(shifted.clone(), weight, None))
    assert linear(x[:0], weight, None).shape == (0, 3, 5)
    assert rms_norm(x[:0], bias, 1e-6).shape == (0, 3, 40)


def test_tiles_that_follow_the_batch_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards this module: with sums cut by the number of rows, rows differ from themselves alone."""
    x_NW, weight_OW = noise(150, 257), noise(70, 257, seed=1)

    def cut_by_rows(x_NW: Tensor) -> Tensor:
        monkeypatch.setattr(row_functions, "INPUT_BYTES", 128 if len(x_NW) > 1 else 512)
        return linear(x_NW, weight_OW, None)

    assert not torch.equal(alone(cut_by_rows, x_NW[:7]), cut_by_rows(x_NW)[:7])


class RMSNorm(nn.Module):
    """As transformers writes it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(noise(width))
        self.variance_epsilon = 1e-6

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return self.weight * (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


class TinyExperts(nn.Module):
    pass


@pytest.mark.parametrize("dtype", DTYPES)
def test_install_swaps_what_is_not_invariant(dtype: torch.dtype) -> None:
    layers: list[nn.Module] = [nn.Conv2d(3, 24, 4, stride=4), nn.Flatten(2), nn.Linear(6, 40), nn.LayerNorm(40)]
    torch.manual_seed(0)
    model = nn.Sequential(*layers, RMSNorm(40), nn.Linear(40, 9, bias=False)).to(DEVICE, dtype).requires_grad_(False)
    x = noise(2, 3, 9, 13, dtype=dtype)  # a row and a column of patches do not fill it
    expected = model(x)
    install(model, kernels=True)
    kinds = [type(module) for module in model]
    assert kinds[2:] == [RowLinear, RowLayerNorm, RowRMSNorm, RowLinear]
    got = model(x)
    assert (got.float() - expected.float()).abs().max() < TOLERANCE[dtype] * 5
    assert torch.equal(model(x[1:]), got[1:])


def test_a_mixture_of_experts_is_refused() -> None:
    with pytest.raises(ConfigError, match="mixture of experts"):
        install(nn.Sequential(TinyExperts()), kernels=True)
