"""What an engine is started with.

Every toggle has one name here, `ASSAY_<NAME>` in the environment and `--<name>` on the command line.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from reference_engine.errors import ConfigError

ViTBatching = Literal["per_item", "cross_request"]
Attention = Literal["auto", "torch", "triton"]


@dataclass(frozen=True)
class EngineConfig:
    """Settings of one engine. Fields whose metadata says ``toggle`` must not change greedy output."""

    model: str = "sentinel-qwen2.5-vl"
    """A directory in Hugging Face format, or the name of a packaged sentinel."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str = "cpu"
    """As torch names it; ``cuda`` is also what torch calls AMD's cards."""
    attention: Attention = "auto"
    """Who attends in the decoder: plain PyTorch, or our Triton kernels; ``auto`` takes those on any device but the CPU.
    """
    tensor_parallel: int = 1
    """Devices that share every decoder layer; on a CPU, processes."""
    avoid_retokenize: bool = field(default=True, metadata={"toggle": True, "source": "sglang#26555"})
    """Expand placeholders in the caller's own ids; off: decode, expand as text, tokenize again (drifts)."""
    native_decode: bool = field(default=True, metadata={"toggle": True, "source": "sglang#25309"})
    """Text of a slow tokenizer by its own decoder, special ids filtered; off: through transformers' options."""
    skip_tokenizer_init: bool = field(default=False, metadata={"toggle": True, "source": "sglang#18378"})
    """Load no tokenizer: ids in, ids out; text, messages and stop strings are refused."""
    reuse_processor_output: bool = field(default=True, metadata={"toggle": True, "source": "sglang#26116"})
    """Use pixels and positions of a processor's output that a request carries, once they are shown to be its own."""
    vit_batching: ViTBatching = field(default="cross_request", metadata={"toggle": True, "source": "sglang#25910"})
    """Encode the images of all waiting requests in one pass, or one item a pass."""
    chunked_prefill: int = field(default=0, metadata={"toggle": True})
    """Most prompt tokens of one step; 0 means whole prompts. A chunk may end inside an image."""
    prefix_cache: bool = field(default=True, metadata={"toggle": True, "source": "sglang-omni#258"})
    """Share full KV blocks between prompts that begin alike, images included, and keep them until they are needed."""
    encoder_overlap: bool = field(default=True, metadata={"toggle": True})
    """Encode images on a stream of their own while others decode. A CPU always encodes first."""
    compile: bool = field(default=False, metadata={"toggle": True, "source": "vllm#43617"})
    """torch.compile the decoder as one graph around the attention. Needs a C++ compiler; the start takes minutes."""
    cuda_graph: bool = field(default=False, metadata={"toggle": True, "source": "transformers#45323"})
    """Record steps in which every request decodes, and replay them: CUDA or HIP graphs; on a CPU only the same path."""
    batch_invariant: bool = field(default=False, metadata={"toggle": True, "source": "vllm#51902"})
    """Answers bitwise the same in any batch, order, chunking and cache state. Slower: every product in fixed tiles."""
    encoder_cache: bool = field(default=True, metadata={"toggle": True, "source": "sglang#36595"})
    """Encode equal images once, and keep their rows until the room is needed."""
    encoder_rows: int = 32_768
    """Encoder rows held at once, of images still to be laid and of those kept; admission waits when they run out."""
    block_size: int = 16
    """Tokens a KV block."""
    num_blocks: int = 2048
    """KV blocks in the pool. When they run out, admission waits and the youngest request gives its own back."""
    max_batch_size: int = 64
    """Requests running at once."""
    max_prompt_tokens: int = 4096
    max_image_pixels: int = 16_777_216
    max_images: int = 32
    max_videos: int = 8
    max_video_frames: int = 512
    slice_rows: int = 0
    """Cut a taller image into bands of this many cells (28 pixels), each a span of its own; 0 keeps images whole."""
    check_every_step: bool = False
    """Compare all books of scheduler and caches after every step; for tests, and for hunting a leak."""
    plant: str | None = None
    """Id of a fault to plant (catalogue id, e.g. ``F1-01``); None in any real use."""

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> EngineConfig:
        """Build from strings or typed values. Raises :class:`ConfigError` naming the field and the allowed values."""
        hints = get_type_hints(cls)
        unknown = sorted(set(values) - set(hints))
        if unknown:
            raise ConfigError(f"unknown setting {unknown[0]!r}; known: {', '.join(sorted(hints))}")
        return cls(**{name: _parse(name, value, hints[name]) for name, value in values.items()})

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ, **overrides: Any) -> EngineConfig:
        """Defaults, then ``ASSAY_<NAME>`` variables, then ``overrides`` that are not None."""
        names = {f.name for f in fields(cls)}
        found = {n: environ[f"ASSAY_{n.upper()}"] for n in names if f"ASSAY_{n.upper()}" in environ}
        return cls.from_mapping(found | {k: v for k, v in overrides.items() if v is not None})

    def with_(self, **changes: Any) -> EngineConfig:
        return replace(self, **changes)

    @classmethod
    def toggles(cls) -> tuple[str, ...]:
        return tuple(f.name for f in fields(cls) if f.metadata.get("toggle"))

    def toggle_settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.toggles()}


def _parse(name: str, value: Any, hint: Any) -> Any:
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ConfigError(f"{name}: {value!r} is not one of {', '.join(map(repr, get_args(hint)))}")
        return value
    if hint is bool:
        words = {"1": True, "true": True, "on": True, "0": False, "false": False, "off": False}
        parsed = words.get(str(value).lower())
        if parsed is None:
            raise ConfigError(f"{name}: {value!r} is not on/off")
        return parsed
    if hint is int:
        try:
            number = int(value)
        except (TypeError, ValueError):
            raise ConfigError(f"{name}: {value!r} is not an integer") from None
        if number < 0:
            raise ConfigError(f"{name}: {number} is negative")
        return number
    return value
