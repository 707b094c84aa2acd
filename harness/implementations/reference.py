"""The reference engine's own functions, called through the seams that a planted fault replaces."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from PIL import Image

from harness.implementations.base import (
    Expansion,
    Grid,
    ImageGeometry,
    Implementation,
    Measured,
    Positions,
    Refusal,
    Row,
    Segment,
    Size,
    Span,
)
from harness.implementations.transformers import image_processor
from reference_engine import EngineConfig, Request, hf
from reference_engine.detokenizer import Spellings
from reference_engine.errors import ConfigError, EncoderMismatch, RequestError
from reference_engine.faults import Seams
from reference_engine.faults import plant as plant_fault
from reference_engine.multimodal import placeholders
from reference_engine.multimodal.families.grid import GridFamily
from reference_engine.multimodal.families.sliced import Sliced
from reference_engine.multimodal.family import Family, Traits
from reference_engine.multimodal.placeholders import Layout
from reference_engine.multimodal.placing import PromptPlacer
from reference_engine.multimodal.prompt import PromptBuilder
from reference_engine.predict import Predictor
from reference_engine.sampling_params import SamplingParams
from reference_engine.server.field_types import read
from reference_engine.server.native import spread
from reference_engine.server.protocol import GenerateBody


@dataclass(frozen=True)
class ReferenceFunctions:
    """Translates between plain lists and the engine's types; ``seams`` are the clean ones or hold a planted fault."""

    seams: Seams
    planted: str | None = None

    def count_tokens(self, sizes: Sequence[Size], geometry: ImageGeometry) -> list[list[int]]:
        return self._count(_family(geometry), sizes)

    def count_banded_tokens(self, sizes: Sequence[Size], geometry: ImageGeometry, band_cells: int) -> list[list[int]]:
        return self._count(Sliced(_family(geometry), band_cells, separator_ids=()), sizes)

    def _count(self, family: Family, sizes: Sequence[Size]) -> list[list[int]]:
        try:
            return placeholders.resolve_image_token_counts(family, sizes)
        except ValueError as error:
            raise Refusal(str(error)) from error

    def expand_ids(self, ids: Sequence[int], placeholder: int, replacements: Sequence[Sequence[int]]) -> Expansion:
        try:
            expansion = self.seams.expand_input_ids(ids, {"image": placeholder}, _layouts(replacements, placeholder))
        except RequestError as error:
            raise Refusal(str(error)) from error
        return Expansion(expansion.ids, expansion.spans)

    def contract_ids(self, expansion: Expansion, placeholder: int, replacements: Sequence[Sequence[int]]) -> list[int]:
        return placeholders.contract_input_ids(
            expansion.ids, expansion.spans, {"image": placeholder}, _layouts(replacements, placeholder)
        )

    def find_offsets(self, ids: Sequence[int], placeholder: int, counts: Sequence[Sequence[int]]) -> list[list[Span]]:
        try:
            return placeholders.item_offsets(ids, {placeholder}, counts)
        except RequestError as error:
            raise Refusal(str(error)) from error

    def pad_ids(self, ids: Sequence[int], items: Sequence[tuple[Sequence[Span], int]]) -> list[int]:
        return self.seams.build_padded_input_ids(ids, items)

    def place_positions(self, length: int, spans: Sequence[Span], grids: Sequence[Grid], merge_size: int) -> Positions:
        positions, delta = self.seams.mrope_positions(length, spans, grids, merge_size)
        return Positions(positions.tolist(), delta)

    def window_positions(self, positions: Positions, start: int, stop: int) -> list[list[int]]:
        whole = torch.tensor(positions.rows, dtype=torch.int64)
        window: list[list[int]] = self.seams.chunk_positions(whole, positions.delta, start, stop).tolist()
        return window

    def place_segments(self, family: str, segments: Sequence[Segment], padding: int) -> Positions:
        """Prompts are never padded here, so ``padding`` has nothing to hide."""
        starts = list(accumulate((part.length for part in segments), initial=0))
        looked_at = [(start, part) for start, part in zip(starts, segments, strict=False) if part.kind != "text"]
        spans = [(start, start + part.length - 1) for start, part in looked_at]
        strides = [_stride(family, part) for _, part in looked_at]
        positions, delta = self.seams.mrope_positions(starts[-1], spans, [p.grid for _, p in looked_at], 2, strides)
        return Positions(positions.tolist(), delta)

    def measure_image(self, family: str, size: Size) -> Measured:
        """What the family counts by size, against the spans of a prompt that is built from pixels."""
        placer = PromptPlacer(*_parts(family), EngineConfig(model=family, plant=self.planted))
        try:
            counted = sum(placeholders.resolve_image_token_counts(placer.family, [size])[0])
        except ValueError:
            counted = None
        try:
            prompt = PromptBuilder(placer).build(Request("a", text=MARKUP[family], images=[Image.new("RGB", size)]))
        except RequestError:
            return Measured(counted, None)
        return Measured(counted, sum(end - start + 1 for start, end in prompt.items[0].spans))

    def chunk_rows(
        self, rows: Sequence[Row], placeholders: Sequence[Sequence[int]], start: int, stop: int
    ) -> list[Row]:
        places: list[int] = []
        for count in (count for item in placeholders for count in item):
            first = places[-1] + 2 if places else 1
            places += range(first, first + count)
        _, window = self.seams.image_window(torch.tensor(places), 0, start, stop)
        return list(rows[window])

    def item_key(self, values: Sequence[float], shape: Sequence[int], dtype: str) -> str:
        pixels = torch.from_numpy(np.array(values, dtype=dtype).reshape(tuple(shape)))
        return self.seams.content_key({"pixel_values": pixels}, [], "").hex()

    def split_rows(
        self, rows: Sequence[Row], row_counts: Sequence[Sequence[int]], placeholders: Sequence[Sequence[int]]
    ) -> list[list[Row] | Refusal]:
        split = self.seams.split_rows(torch.tensor(rows), row_counts, [_consecutive(item) for item in placeholders])
        return [
            Refusal(str(part)) if isinstance(part, EncoderMismatch) else [tuple(row) for row in part.tolist()]
            for part in split
        ]

    def stream_text(self, vocabulary: Sequence[bytes], special: Sequence[int], ids: Sequence[int]) -> list[str]:
        text = self.seams.detokenizer(Spellings(vocabulary, frozenset(special)))
        return [*(text.push(i) for i in ids), text.finish()]


@lru_cache(maxsize=256)
def _family(geometry: ImageGeometry) -> GridFamily:
    patcher = hf.PatchProcessor(image_processor(geometry))
    return GridFamily(patcher, {"image": -1}, {"image": ""}, Traits(), "qwen2_5_vl")


def _layouts(replacements: Sequence[Sequence[int]], placeholder: int) -> list[Layout]:
    return [Layout.of_runs(replacement, placeholder) for replacement in replacements]


def _consecutive(counts: Sequence[int]) -> list[Span]:
    """Spans of these lengths, one position apart."""
    spans: list[Span] = []
    start = 0
    for count in counts:
        spans.append((start, start + count - 1))
        start += count + 1
    return spans


def implementation(plant: str | None = None) -> Implementation:
    """The engine of this distribution. Raises :class:`LookupError` for an unknown fault, listing the known ones."""
    try:
        functions = ReferenceFunctions(plant_fault(plant), plant)
    except ConfigError as error:
        raise LookupError(str(error)) from error
    return Implementation(
        name="reference",
        version=_own_version(),
        planted=plant,
        count_tokens=functions.count_tokens,
        count_banded_tokens=functions.count_banded_tokens,
        expand_ids=functions.expand_ids,
        contract_ids=functions.contract_ids,
        find_offsets=functions.find_offsets,
        pad_ids=functions.pad_ids,
        place_positions=functions.place_positions,
        window_positions=functions.window_positions,
        split_rows=functions.split_rows,
        stream_text=functions.stream_text,
        chunk_rows=functions.chunk_rows,
        item_key=functions.item_key,
        spread_batch=spread_batch,
        place_segments=functions.place_segments,
        measure_image=functions.measure_image,
        families={"place_segments": ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "glm4v"), "measure_image": tuple(MARKUP)},
    )


MARKUP = {
    "random-qwen2-vl": "<|image_pad|>", "random-qwen2.5-vl": "<|image_pad|>", "random-qwen3-vl": "<|image_pad|>",
    "random-glm4v": "<|image|>", "random-idefics3": "<image>", "random-smolvlm": "<image>", "random-llava": "<image>",
    "random-internvl": "<IMG_CONTEXT>", "random-llava-onevision": "<image>", "random-gemma3": "<start_of_image>",
    "random-kimi-k2.5": "<|media_pad|>", "random-minicpm-v": "<|image_pad|>",
}  # fmt: skip
"""How a prompt shows one image, by checkpoint."""


@cache
def _parts(family: str) -> tuple[Any, Any]:
    """A checkpoint's tokenizer and its family; no weights are read."""
    placer = Predictor(EngineConfig(model=family)).placer
    return placer.tokenizer, placer.family


def _stride(family: str, part: Segment) -> float:
    """Positions between two frames of a grid: Qwen2.5-VL has two a second."""
    return part.seconds * 2 if (family, part.kind) == ("qwen2_5_vl", "video") else 1.0


def spread_batch(size: int) -> list[tuple[str, Any, list[Any]]]:
    """``/generate`` with one ``sampling_params`` for ``size`` prompts: what each prompt is sampled with."""
    asked = {f.name: other for f in fields(SamplingParams) if (other := _other(f.default)) is not None}
    body = {"input_ids": [[5]] * size, "sampling_params": asked}
    prompts = spread(read(GenerateBody, json.dumps(body).encode()), max_batch=size)
    return [(name, value, [getattr(prompt.sampling, name) for prompt in prompts]) for name, value in asked.items()]


def _other(default: Any) -> Any:
    """A value that is not the default of a flag or a number; None for fields of other kinds."""
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return default + 2
    return default / 2 + 0.25 if isinstance(default, float) else None


def _own_version() -> str:
    try:
        return version("vlm-assay")
    except PackageNotFoundError:
        return "not installed"
