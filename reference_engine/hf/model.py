"""A model as the engine calls it: encoder, embeddings, decoder, head; and its plain forward for the self-test.

The same for every family. What a family's encoder wants and gives is the family's to know
(:mod:`reference_engine.multimodal.family`).

Shapes: T tokens of a step, E hidden, N sampling requests, V vocabulary, R image rows of a step, M deepstack layers.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from reference_engine.attention import PagedStep
from reference_engine.attention.operator import OperatorStep
from reference_engine.batch_invariant import has_experts, install
from reference_engine.device import to_device
from reference_engine.faster_modules import fuse_norms, join_projections, pack_linears
from reference_engine.fused_layer import fuse_decoder, fuse_layers
from reference_engine.hf import library
from reference_engine.hf.recurrent import separate_requests
from reference_engine.parallel.collectives import Collectives
from reference_engine.parallel.shard import shard_layers


@dataclass(frozen=True)
class Features:
    """What an encoder returned, as it returned it."""

    rows: Any
    """A tensor, or tensors in a list or tuple: each family's own shape."""
    deepstack: Sequence[Any] = ()
    """The same once a deepstack layer."""


class PatchLinear(nn.Module):
    """A patch convolution as the linear map it is: the same sums, without set-up for every new number of patches."""

    def __init__(self, convolution: nn.Conv3d) -> None:
        super().__init__()
        inputs = convolution.weight[0].numel()
        self.linear = nn.Linear(inputs, convolution.out_channels, bias=convolution.bias is not None, device="meta")
        self.linear.weight = nn.Parameter(convolution.weight.flatten(1), requires_grad=False)
        if convolution.bias is not None:
            self.linear.bias = nn.Parameter(convolution.bias, requires_grad=False)

    @property
    def weight(self) -> Tensor:
        """The tower asks it for its dtype."""
        return self.linear.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1))


class Model:
    """transformers' model behind the calls that the engine makes."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._decoder = model.get_decoder()
        text = model.config.get_text_config()
        self._logits_cap: float | None = getattr(text, "final_logit_softcapping", None)
        self._rows_of_positions = 3 if "mrope_section" in (getattr(text, "rope_parameters", None) or {}) else 1
        self.device = model.device
        self.dtype: torch.dtype = model.dtype
        self._compiled: OperatorStep | None = None

    @property
    def has_experts(self) -> bool:
        return has_experts(self._model)

    def features(self, modality: str, tensors: Mapping[str, Tensor]) -> Features:
        """One encoder pass, named as transformers' processors name its inputs."""
        encode = getattr(self._model.model, f"get_{modality}_features")
        made = encode(**{name: value.to(self.device) for name, value in tensors.items()}, return_dict=True)
        return Features(made.pooler_output, getattr(made, "deepstack_features", None) or ())

    def embed(self, ids_T: Tensor) -> Tensor:
        return self._model.get_input_embeddings()(to_device(ids_T, self.device))

    def forward(
        self, x_TE: Tensor, positions_3T: Tensor, step: PagedStep, deepstack: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """``deepstack`` is (mask [T] of the image rows, what they add in the first M layers [R, M, E])."""
        if self._compiled is None:
            return self._run(x_TE, positions_3T, step, deepstack)
        with self._compiled.run(step):
            return self._run(x_TE, positions_3T, self._compiled, deepstack)

    def _run(
        self, x_TE: Tensor, positions_3T: Tensor, step: PagedStep, deepstack: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        positions = positions_3T[: self._rows_of_positions]
        more = {} if deepstack is None else _deepstack_arguments(*deepstack)
        made = self._decoder(
            inputs_embeds=x_TE[None],
            position_ids=to_device(positions[:, None] if len(positions) == 3 else positions, self.device),
            use_cache=False,
            paged=step,
            **more,
        )
        return made.last_hidden_state[0]

    def use_faster_modules(self, *, batch_invariant: bool = False) -> None:
        """Instead of :meth:`compile_decoder`. What batch invariance has swapped is left alone."""
        fuse_norms(self._model, rounding=not batch_invariant)
        fuse_layers(self._decoder)
        join_projections(self._model)
        if self.device.type == "cpu":
            pack_linears(self._model)
        self._decoder = fuse_decoder(self._decoder, self._rows_of_positions)

    def compile_decoder(self) -> None:
        """One graph for steps of every size, with the attention as an operator inside. The first step takes minutes."""
        self._compiled = OperatorStep()
        self._decoder = torch.compile(self._decoder, fullgraph=True, dynamic=True)

    def logits(self, hidden_NE: Tensor) -> Tensor:
        logits_NV = self._model.lm_head(hidden_NE)
        if self._logits_cap is not None:
            logits_NV = torch.tanh(logits_NV / self._logits_cap) * self._logits_cap
        return logits_NV.float()

    def use_paged_attention(self, *, segments: bool, batch_invariant: bool = False, kernels: bool = False) -> None:
        """From here on :meth:`forward` works and :meth:`plain_logits` does not. ``segments``: the tower's attention is
        ours too; it takes the bounds of its segments. ``kernels``: what is batch invariant is so by our kernels.
        """
        if hasattr(self._model.config, "text_config"):
            vision = library.vision_attention(segments=segments, batch_invariant=batch_invariant)
            self._model.set_attn_implementation({"text_config": library.TEXT_ATTENTION, **vision})
        else:
            self._model.set_attn_implementation(library.TEXT_ATTENTION)
        for module in list(self._model.modules()):
            if segments and isinstance(getattr(module, "proj", None), nn.Conv3d):
                module.proj = PatchLinear(module.proj)
        separate_requests(self._decoder, self._model.config.get_text_config())
        if batch_invariant:
            install(self._model, kernels=kernels)

    def keep_share(self, collectives: Collectives, device: torch.device, *, decoder_only: bool = False) -> None:
        """Cut the decoder's layers to one rank's share and move what that rank needs to its device."""
        text = self._model.config.get_text_config()
        shard_layers(self._decoder, (text.num_attention_heads, text.num_key_value_heads), collectives)
        if decoder_only:
            self._decoder.embed_tokens = nn.Identity()
        (self._decoder if decoder_only else self._model).to(device)
        self.device = device

    def plain_logits(self, ids: Sequence[int], kinds: Sequence[int], tensors: Mapping[str, Tensor]) -> Tensor:
        """transformers' own forward over one prompt, before our attention is in place: float32 [tokens, V].

        ``kinds`` are transformers' token types: 0 text, 1 image, 2 video.
        """
        ids_1L, kinds_1L = torch.tensor([ids], device=self.device), torch.tensor([kinds], device=self.device)
        takes = inspect.signature(self._model.forward).parameters
        typed = {name: kinds_1L for name in ("mm_token_type_ids", "token_type_ids") if name in takes}
        given = {name: value.to(self.device) for name, value in tensors.items()}
        made = self._model(input_ids=ids_1L, attention_mask=torch.ones_like(ids_1L), **typed, **given)
        if hasattr(self._model.model, "rope_deltas"):
            self._model.model.rope_deltas = None
        return made.logits[0].float().cpu()


def _deepstack_arguments(mask_T: Tensor, rows_RME: Tensor) -> dict[str, Any]:
    return {"visual_pos_masks": mask_T[None], "deepstack_visual_embeds": list(rows_RME.unbind(1))}
