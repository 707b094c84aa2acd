"""A decoder layer of the common kind (Llama, Qwen2, Qwen2.5-VL) in fewer operations, which give the same bits.

Query, key and value are one product, and so are gate and up; queries and keys are turned by rotary embeddings together;
no submodule is called that only passes on. :func:`fuse_layers` puts it in the place of a layer that has just these
parts, and only if both give the same bits on noise. Every other layer stays as transformers wrote it. Apply after
weights are final and on their device.

Shapes: T new tokens, E hidden, H query heads, G key/value heads, N of both, D head width, M width between the halves of
an MLP.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from reference_engine.attention import PagedStep
from reference_engine.faster_modules import join, swap

PARTS = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
DECODER_PARTS = {"embed_tokens", "layers", "norm", "rotary_emb"}
LINEAR_PARTS = {"self_attn": {"q_proj", "k_proj", "v_proj", "o_proj"}, "mlp": {"gate_proj", "up_proj", "down_proj"}}
Call = Callable[[Tensor], Tensor]
TRIAL_ROWS = (2, 5, 33)
"""A single row is multiplied by another kernel, which rounds by the number of outputs: joined products may differ."""


class Calls(NamedTuple):
    """What a layer calls, found once: to look a module up and to call it through its hooks takes as long as a small
    product."""

    norm: Call
    qkv: Call
    output: Call
    mlp_norm: Call
    gate_up: Call
    act: Call
    down: Call


class FusedLayer(nn.Module):
    def __init__(self, layer: Any) -> None:
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp
        self.layer_idx: int = attention.layer_idx
        self.scaling: float = attention.scaling
        self.sliding_window: int | None = getattr(attention, "sliding_window", None)
        self.width: int = attention.head_dim
        heads, shared = (len(linear.weight) // self.width for linear in (attention.q_proj, attention.k_proj))
        self.sizes = (heads, shared)
        self.norm, self.mlp_norm = layer.input_layernorm, layer.post_attention_layernorm
        self.qkv, self.output = join([attention.q_proj, attention.k_proj, attention.v_proj]), attention.o_proj
        self.gate_up, self.down = join([mlp.gate_proj, mlp.up_proj]), mlp.down_proj
        self.act = mlp.act_fn

    def forward(
        self, x_1TE: Tensor, *, position_embeddings: tuple[Tensor, Tensor], paged: Any,
        attention_mask: Tensor | None = None, **_: Any,
    ) -> Tensor:  # fmt: skip
        """As transformers calls a layer; ``position_embeddings`` are cosines and sines, each [1, T, D]."""
        if attention_mask is not None:
            raise NotImplementedError("paged attention does not implement the model's attention_mask")
        return self.run(self.calls(), x_1TE[0], *turns_of(position_embeddings), paged)[None]

    def calls(self) -> Calls:
        """Its parts as they are now."""
        return Calls(*(getattr(self, name).forward for name in Calls._fields))

    def run(self, call: Calls, x_TE: Tensor, cos_T1D: Tensor, sin_T1D: Tensor, paged: PagedStep) -> Tensor:
        """As :class:`FusedDecoder` calls it, with what :func:`turns_of` gives."""
        heads, shared = self.sizes
        qkv_TND = call.qkv(call.norm(x_TE)).view(x_TE.shape[0], -1, self.width)
        turned_TND, v_TGD = qkv_TND.split_with_sizes((heads + shared, shared), 1)
        turned_1NTD = rotate(turned_TND, cos_T1D, sin_T1D).transpose(0, 1)[None]
        q_1HTD, k_1GTD = turned_1NTD.split_with_sizes(self.sizes, 1)
        v_1GTD = v_TGD.transpose(0, 1)[None]
        out_THD = paged.attend(self.layer_idx, q_1HTD, k_1GTD, v_1GTD, self.scaling, self.sliding_window)
        x_TE = x_TE + call.output(out_THD.flatten(1))
        gate_TM, up_TM = call.gate_up(call.mlp_norm(x_TE)).chunk(2, 1)
        return x_TE + call.down(call.act(gate_TM) * up_TM)


def turns_of(position_embeddings: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Cosines and sines, each [1, T, D], as :func:`rotate` takes them: [T, 1, D], the sines' first half negated."""
    cos_T1D, sin_T1D = (x_1TD[0, :, None] for x_1TD in position_embeddings)
    low, high = sin_T1D.chunk(2, -1)
    return cos_T1D, torch.cat((-low, high), -1)


def rotate(x_TND: Tensor, cos_T1D: Tensor, sin_T1D: Tensor) -> Tensor:
    """Rotary embeddings that pair the first half of a head with the second: (a, b) becomes (a cos - b sin, b cos +
    a sin)."""
    swapped_TND = x_TND.roll(x_TND.shape[-1] // 2, -1)
    return (x_TND * cos_T1D).add_(swapped_TND.mul_(sin_T1D))


def fuse_layers(decoder: nn.Module) -> None:
    swap(decoder, _fused)


def _fused(layer: nn.Module) -> nn.Module | None:
    """The fused form of a layer that has one, if both give the same bits."""
    if not _has_known_parts(layer):
        return None
    fused = FusedLayer(layer)
    weight = fused.output.weight
    for rows in TRIAL_ROWS:
        generator = torch.Generator().manual_seed(rows)
        made = (torch.randn(1, rows, n, generator=generator) for n in (weight.shape[0], fused.width, fused.width))
        x_1TE, cos_1TD, sin_1TD = (noise.to(weight.device, weight.dtype) for noise in made)
        given = {"position_embeddings": (cos_1TD, sin_1TD), "paged": TrialStep(), "attention_mask": None}
        if not torch.equal(layer(x_1TE, **given), fused(x_1TE, **given)):
            return None
    return fused


class Hidden(NamedTuple):
    """What is read of a decoder's output."""

    last_hidden_state: Tensor


class FusedDecoder(nn.Module):
    """Rotary embeddings, layers, norm. Make it when no part of a layer will be swapped any more."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.rotary, self.norm = decoder.rotary_emb, decoder.norm
        self.layers: Any = decoder.layers
        self._layers = [(layer.run, layer.calls()) for layer in self.layers]

    def forward(self, inputs_embeds: Tensor, position_ids: Tensor, paged: PagedStep, use_cache: bool = False) -> Hidden:
        """As transformers calls a decoder; ``position_ids`` are [3, 1, T] or [1, T], as the model wants them."""
        x_TE, turns = inputs_embeds[0], turns_of(self.rotary(inputs_embeds, position_ids))
        for run, calls in self._layers:
            x_TE = run(calls, x_TE, *turns, paged)
        return Hidden(self.norm(x_TE)[None])


def fuse_decoder(decoder: nn.Module, rows_of_positions: int) -> nn.Module:
    """The decoder's fused form, if it has one and both give the same bits; else the decoder."""
    layers: Any = getattr(decoder, "layers", ())
    has_known_parts = {name for name, _ in decoder.named_children()} == DECODER_PARTS
    takes_more = "deepstack_visual_embeds" in signature(decoder.forward).parameters
    if not has_known_parts or takes_more or not all(isinstance(layer, FusedLayer) for layer in layers):
        return decoder
    fused, weight = FusedDecoder(decoder), layers[0].output.weight
    for rows in TRIAL_ROWS:
        generator = torch.Generator().manual_seed(rows)
        x_1TE = torch.randn(1, rows, len(weight), generator=generator).to(weight.device, weight.dtype)
        shape = (3, 1, rows) if rows_of_positions == 3 else (1, rows)
        positions = torch.randint(1000, shape, generator=generator).to(weight.device)
        given = {"inputs_embeds": x_1TE, "position_ids": positions, "use_cache": False, "paged": TrialStep()}
        if not torch.equal(decoder(**given).last_hidden_state, fused(**given).last_hidden_state):
            return decoder
    return fused


def _has_known_parts(layer: nn.Module) -> bool:
    """No part more, none less, and every linear map a plain one."""
    children = dict(layer.named_children())
    if set(children) != PARTS:
        return False
    for name, linears in LINEAR_PARTS.items():
        parts = {n: part for n, part in children[name].named_children() if n != "act_fn"}
        if set(parts) != linears or any(type(part) is not nn.Linear for part in parts.values()):
            return False
    return True


class TrialStep:
    """In place of attention: something that everything it is given has a part in."""

    def attend(
        self, layer: int, q_1HTD: Tensor, k_1GTD: Tensor, v_1GTD: Tensor, scaling: float, sliding: int | None = None,
        softcap: float | None = None,
    ) -> Tensor:  # fmt: skip
        shared_1HTD = (k_1GTD + 2 * v_1GTD).repeat_interleave(q_1HTD.shape[1] // k_1GTD.shape[1], dim=1)
        return (q_1HTD * scaling + shared_1HTD + layer + (sliding or 0.5) + (softcap or 0.0))[0].transpose(0, 1)
