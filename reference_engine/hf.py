"""Every touch on transformers: loading, the two attention functions, calls into the model and image
processor.

transformers' model classes run unchanged. What is ours goes in by its own doors: attention functions by name through
``AttentionInterface`` (a name without a mask function makes the decoder build no mask; a name with "flash" in it makes
the vision tower hand over all segments at once instead of looping over them), and one submodule swapped for an equal
one. :mod:`reference_engine.selftest` compares packed and plain forward at every load.

Tokenizers are :mod:`reference_engine.tokenizer`'s. No other module imports transformers; what needs its classes takes
the name from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from reference_engine.attention import PagedStep, paged_attention, segment_attention, segment_attention_apart
from reference_engine.batch_invariant import install
from reference_engine.errors import ConfigError
from reference_engine.multimodal.placeholders import Grid, Size
from reference_engine.torchvision_guard import define_missing_operators

define_missing_operators()
# isort: split
import transformers as transformers  # noqa: E402  others take it from here
from transformers import AttentionInterface, AutoConfig, GenerationConfig  # noqa: E402
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (  # noqa: E402
    Qwen2VLImageProcessorPil,
    smart_resize,
)

TEXT_ATTENTION, VISION_ATTENTION = "assay_paged", "assay_flash_segments"
INVARIANT_VISION_ATTENTION = "assay_flash_segments_apart"
AttentionInterface.register(TEXT_ATTENTION, paged_attention)
AttentionInterface.register(VISION_ATTENTION, segment_attention)
AttentionInterface.register(INVARIANT_VISION_ATTENTION, segment_attention_apart)
SUPPORTED = ("qwen2_5_vl",)


@dataclass(frozen=True)
class Geometry:
    """The numbers of a checkpoint that the engine needs."""

    layers: int
    kv_heads: int
    head_width: int
    vocabulary: int
    context: int
    patch_values: int
    eos_ids: frozenset[int]
    image_id: int
    video_id: int
    vision_start_id: int
    vision_end_id: int


class PatchProcessor:
    """The checkpoint's own image processor, PIL backend: one image to one grid."""

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.merge_size: int = processor.merge_size
        self.cell: int = processor.patch_size * processor.merge_size

    def grid(self, size: Size) -> Grid:
        width, height = size
        low, high = self.processor.size["shortest_edge"], self.processor.size["longest_edge"]
        rows, columns = smart_resize(height, width, self.cell, min_pixels=low, max_pixels=high)
        return 1, rows // self.processor.patch_size, columns // self.processor.patch_size

    def patches(self, image: Image.Image) -> tuple[Tensor, Grid]:
        made = self.processor(images=[image], return_tensors="pt")
        t, h, w = made["image_grid_thw"][0].tolist()
        return made["pixel_values"], (t, h, w)


class PatchLinear(nn.Module):
    """A patch convolution as the linear map it is: the same sums, without set-up for every new number of patches."""

    def __init__(self, convolution: nn.Conv3d) -> None:
        super().__init__()
        inputs = convolution.weight[0].numel()
        self.linear = nn.Linear(inputs, convolution.out_channels, bias=False, device="meta")
        self.linear.weight = nn.Parameter(convolution.weight.flatten(1), requires_grad=False)

    @property
    def weight(self) -> Tensor:
        """The tower asks it for its dtype."""
        return self.linear.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1))


class Model:
    """A Qwen2.5-VL: encoder and decoder as the engine calls them, and the plain forward for the self-test."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.device = model.device
        self.dtype: torch.dtype = model.dtype

    def encode(self, pixels_PC: Tensor, grids: Sequence[Grid]) -> list[Tensor]:
        """Rows [R, E] of each grid, as many as the tower returned."""
        grids_I3 = torch.tensor(grids, device=self.device)
        return list(self._model.model.get_image_features(pixels_PC.to(self.device), grids_I3).pooler_output)

    def embed(self, ids_T: Tensor) -> Tensor:
        return self._model.get_input_embeddings()(ids_T.to(self.device))

    def forward(self, x_TE: Tensor, positions_3T: Tensor, step: PagedStep) -> Tensor:
        positions_31T = positions_3T[:, None].to(self.device)
        made = self._model.model.language_model(
            inputs_embeds=x_TE[None], position_ids=positions_31T, use_cache=False, paged=step
        )
        return made.last_hidden_state[0]

    def logits(self, hidden_NE: Tensor) -> Tensor:
        return self._model.lm_head(hidden_NE).float().cpu()

    def use_paged_attention(self, *, batch_invariant: bool = False) -> None:
        """From here on :meth:`forward` works and :meth:`plain_logits` does not."""
        vision = INVARIANT_VISION_ATTENTION if batch_invariant else VISION_ATTENTION
        self._model.set_attn_implementation({"text_config": TEXT_ATTENTION, "vision_config": vision})
        embed = self._model.model.visual.patch_embed
        embed.proj = PatchLinear(embed.proj)
        if batch_invariant:
            install(self._model)

    def plain_logits(self, ids: Sequence[int], pixels_PC: Tensor, grids: Sequence[Grid]) -> Tensor:
        """transformers' own forward over one prompt, before our attention is in place: float32 [tokens, V]."""
        ids_1L = torch.tensor([ids], device=self.device)
        kinds_1L = (ids_1L == self._model.config.image_token_id).int()
        pixels = pixels_PC.to(self.device) if grids else None
        grids_I3 = torch.tensor(grids, device=self.device) if grids else None
        made = self._model(input_ids=ids_1L, pixel_values=pixels, image_grid_thw=grids_I3, mm_token_type_ids=kinds_1L)
        self._model.model.rope_deltas = None
        return made.logits[0].float().cpu()


@dataclass(frozen=True)
class Checkpoint:
    model: Model
    images: PatchProcessor
    geometry: Geometry


def load_checkpoint(path: Path, *, dtype: str, device: str) -> Checkpoint:
    """Weights and image processor. Raises :class:`ConfigError` naming what is missing or not served."""
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True)
        _check_supported(config)
        model = _load_model(path, dtype, device)
        images = load_image_processor(path)
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"model: {path} cannot be loaded: {error}") from error
    geometry = _geometry(config, path)
    return Checkpoint(Model(model), PatchProcessor(images), geometry)


def load_image_processor(path: Path) -> Any:
    """The PIL backend, which needs no torchvision."""
    return Qwen2VLImageProcessorPil.from_pretrained(path, local_files_only=True)


def load_processor(path: Path) -> Any:
    """``AutoProcessor`` as other engines load it, with the PIL image backend. Needs torchvision installed."""
    processor = transformers.AutoProcessor.from_pretrained(path, local_files_only=True)
    processor.image_processor = load_image_processor(path)
    return processor


def _load_model(path: Path, dtype: str, device: str) -> Any:
    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        model = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(
            path, dtype=getattr(torch, dtype), attn_implementation="sdpa", local_files_only=True
        )
    finally:
        if bars:
            transformers.utils.logging.enable_progress_bar()
    return model.to(device).eval().requires_grad_(False)


def _check_supported(config: Any) -> None:
    if config.model_type not in SUPPORTED:
        raise ConfigError(f"model: type {config.model_type!r} is not served; known: {', '.join(SUPPORTED)}")
    text = config.get_text_config()
    rope = text.rope_parameters["rope_type"]
    if rope != "default":  # dynamic types look at the longest position of the whole packed batch
        raise ConfigError(
            f"model: rope type {rope!r} would let one request change another's positions; only 'default' is served"
        )
    if set(text.layer_types) != {"full_attention"}:
        raise ConfigError(
            f"model: attention layers {sorted(set(text.layer_types))} are not served; only full attention"
        )


def _geometry(config: Any, path: Path) -> Geometry:
    text, vision = config.get_text_config(), config.vision_config
    eos = text.eos_token_id
    if (path / "generation_config.json").is_file():
        eos = GenerationConfig.from_pretrained(path, local_files_only=True).eos_token_id or eos
    return Geometry(
        layers=text.num_hidden_layers,
        kv_heads=text.num_key_value_heads,
        head_width=text.hidden_size // text.num_attention_heads,
        vocabulary=text.vocab_size,
        context=text.max_position_embeddings,
        patch_values=vision.in_channels * vision.temporal_patch_size * vision.patch_size**2,
        eos_ids=frozenset(eos if isinstance(eos, list) else [] if eos is None else [eos]),
        image_id=config.image_token_id,
        video_id=config.video_token_id,
        vision_start_id=config.vision_start_token_id,
        vision_end_id=config.vision_end_token_id,
    )
