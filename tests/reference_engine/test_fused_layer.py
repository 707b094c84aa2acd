"""Fused decoder layers: the same bits as transformers' own, and only where that is so."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reference_engine import fused_layer
from reference_engine.attention import paged_attention
from reference_engine.fused_layer import FusedDecoder, FusedLayer, Hidden, TrialStep, fuse_decoder, fuse_layers

WIDTH, HIDDEN = 8, 64


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embeddings as transformers writes them."""
    low, high = x.chunk(2, -1)
    return x * cos[:, :, None] + torch.cat((-high, low), -1) * sin[:, :, None]


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer_idx, self.scaling, self.head_dim, self.sliding_window = 3, 0.3, WIDTH, 5
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(HIDDEN, n) for n in (64, 32, 32))
        self.o_proj = nn.Linear(64, HIDDEN, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, paged: Any) -> Tensor:
        q, k, v = (p(x).unflatten(-1, (-1, WIDTH)) for p in (self.q_proj, self.k_proj, self.v_proj))
        q, k, v = (part.transpose(1, 2) for part in (turn(q, cos, sin), turn(k, cos, sin), v))
        out, _ = paged_attention(
            self, q, k, v, None, scaling=self.scaling, paged=paged, sliding_window=self.sliding_window
        )
        return self.o_proj(out.flatten(2))


class MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = (nn.Linear(HIDDEN, 128, bias=False) for _ in range(2))
        self.down_proj = nn.Linear(128, HIDDEN, bias=False)
        self.act_fn = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """As Llama and Qwen2 have it; ``doubled`` is a part that nobody sees from outside."""

    def __init__(self, doubled: float = 1.0) -> None:
        super().__init__()
        self.self_attn, self.mlp, self.doubled = Attention(), MLP(), doubled
        self.input_layernorm, self.post_attention_layernorm = nn.RMSNorm(HIDDEN), nn.RMSNorm(HIDDEN)

    def forward(
        self, x: Tensor, position_embeddings: tuple[Tensor, Tensor], paged: Any, attention_mask: Tensor | None = None
    ) -> Tensor:
        x = x + self.doubled * self.self_attn(self.input_layernorm(x), *position_embeddings, paged)
        return x + self.mlp(self.post_attention_layernorm(x))


class Rotary(nn.Module):
    def forward(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        turns = positions.reshape(-1, 1, positions.shape[-1]).sum(0)[..., None] * torch.arange(1.0, WIDTH + 1)
        return turns.cos(), turns.sin()


class Decoder(nn.Module):
    """As Llama and Qwen2 have it; ``scale`` is what Gemma does to embeddings."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.embed_tokens, self.norm, self.rotary_emb = nn.Embedding(3, HIDDEN), nn.RMSNorm(HIDDEN), Rotary()
        self.layers, self.scale = nn.ModuleList([Layer(), Layer()]), scale

    def forward(self, inputs_embeds: Tensor, position_ids: Tensor, paged: Any, use_cache: bool) -> Hidden:
        x, turns = inputs_embeds * self.scale, self.rotary_emb(inputs_embeds, position_ids)
        for layer in self.layers:
            x = layer(x, position_embeddings=turns, paged=paged)
        return Hidden(self.norm(x))


def fused(layer: nn.Module) -> nn.Module:
    decoder = nn.Sequential(layer)
    with torch.inference_mode():
        fuse_layers(decoder)
    return decoder[0]


def inputs(rows: int) -> tuple[Tensor, tuple[Tensor, Tensor], TrialStep]:
    generator = torch.Generator().manual_seed(rows)
    x, cos, sin = (torch.randn(1, rows, n, generator=generator) for n in (HIDDEN, WIDTH, WIDTH))
    return x, (cos, sin), TrialStep()


@torch.inference_mode()
def test_a_fused_layer_gives_the_same_bits() -> None:
    layer = Layer()
    made = fused(layer)
    assert type(made) is FusedLayer
    for rows in (2, 7, 40):
        assert torch.equal(made(inputs(rows)[0], position_embeddings=inputs(rows)[1], paged=TrialStep()),
                           layer(*inputs(rows)))  # fmt: skip


def test_a_layer_that_does_something_else_stays() -> None:
    """It has the same parts, and only the trial can tell."""
    assert type(fused(Layer(doubled=2.0))) is Layer


@pytest.mark.parametrize("part", ["self_attn.q_norm", "mlp.gate", "post_feedforward_layernorm"])
def test_a_layer_with_another_part_stays(part: str) -> None:
    layer = Layer()
    parent, _, name = part.rpartition(".")
    layer.get_submodule(parent).add_module(name, nn.Identity())
    assert type(fused(layer)) is Layer


def test_a_layer_whose_linear_maps_were_swapped_stays() -> None:
    layer = Layer()
    layer.self_attn.o_proj = nn.Sequential(layer.self_attn.o_proj)  # type: ignore[assignment]
    assert type(fused(layer)) is Layer


@pytest.mark.parametrize("lost", ["scaling", "sliding_window", "layer_idx"])
def test_the_trial_sees_everything_that_attention_is_given(lost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lossy(FusedLayer):
        def __init__(self, layer: Any) -> None:
            super().__init__(layer)
            setattr(self, lost, 1)

    monkeypatch.setattr(fused_layer, "FusedLayer", Lossy)
    assert type(fused(Layer())) is Layer


@torch.inference_mode()
def test_a_mask_of_the_models_is_refused() -> None:
    x, embeddings, step = inputs(2)
    with pytest.raises(NotImplementedError, match="attention_mask"):
        fused(Layer())(x, position_embeddings=embeddings, paged=step, attention_mask=torch.ones(1))


@pytest.mark.parametrize("rows", [1, 3])
@torch.inference_mode()
def test_a_fused_decoder_gives_the_same_bits(rows: int) -> None:
    decoder = Decoder()
    fuse_layers(decoder)
    made = fuse_decoder(decoder, rows)
    assert type(made) is FusedDecoder
    given = {"inputs_embeds": inputs(7)[0], "paged": TrialStep(), "use_cache": False}
    given["position_ids"] = torch.arange(7).expand((3, 1, 7) if rows == 3 else (1, 7))
    assert torch.equal(made(**given)[0], decoder(**given)[0])


class DeepDecoder(Decoder):
    def forward(self, *given: Any, deepstack_visual_embeds: Any = None, **more: Any) -> Hidden:  # type: ignore[override]
        return super().forward(*given, **more)


@pytest.mark.parametrize("other", ["scale", "part", "layer", "deepstack"])
@torch.inference_mode()
def test_a_decoder_that_does_something_else_stays(other: str) -> None:
    decoder = (DeepDecoder if other == "deepstack" else Decoder)(scale=2.0 if other == "scale" else 1.0)
    fuse_layers(decoder)
    if other == "part":
        decoder.embed_norm = nn.Identity()
    if other == "layer":
        decoder.layers[1] = Layer()
    assert fuse_decoder(decoder, 1) is decoder


def test_an_engine_has_them(bench: Any) -> None:
    assert type(bench.engine().runner.decoder._decoder) is FusedDecoder
    layers = bench.engine().runner.decoder._model.get_decoder().layers
    assert {type(layer) for layer in layers} == {FusedLayer}
