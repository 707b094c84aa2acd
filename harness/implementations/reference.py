"""The reference engine's own functions, called through the seams that a planted fault replaces."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
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
    Picture,
    Positions,
    Refusal,
    Row,
    Segment,
    Size,
    Span,
)
from harness.implementations.pictures import as_image, as_picture
from harness.implementations.reference_protocol import WAYS, ReferenceProtocol
from harness.implementations.transformers import image_processor
from harness.implementations.workers import byte_tokenizer
from harness.workloads.tiktoken_vocabulary import write_tokenizer
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
from reference_engine.prefix_cache import KeyChain
from reference_engine.server.images import Pictures
from reference_engine.server.seams import plant_serving
from reference_engine.tokenizer import TextCodec, load_tokenizer


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

    def decode_batch(
        self,
        kind: str,
        vocabulary: Sequence[bytes],
        special: Sequence[int],
        sequences: Sequence[Sequence[int]],
        skip_special: bool,
    ) -> list[str]:
        codec = _codec(kind, tuple(vocabulary), tuple(special))
        return [codec.text(ids) if skip_special else codec.decode(ids) for ids in sequences]

    def lay_rows(self, text: Sequence[Row], rows: Sequence[Row], places: Sequence[int]) -> list[list[float]]:
        x_TE = torch.tensor(text)
        try:
            self.seams.lay_rows(
                x_TE, torch.tensor(places, dtype=torch.long), torch.tensor(rows).reshape(-1, x_TE.shape[1])
            )
        except (IndexError, RuntimeError) as error:
            raise Refusal(str(error)) from error
        return list(x_TE.tolist())

    def block_keys(self, ids: Sequence[int], items: Sequence[tuple[Sequence[Span], int]], block_size: int) -> list[str]:
        named = [(spans, self.seams.pad_value(sha256(str(number).encode()).digest())) for spans, number in items]
        chain = KeyChain(block_size)
        chain.extend(self.seams.build_padded_input_ids(ids, named))
        return [key.hex() for key in chain.keys]

    def read_image(self, data: bytes) -> Picture:
        try:
            pictures = Pictures(EngineConfig(), load=self.seams.load_image)
            return as_picture(pictures.read(b64encode(data).decode(), "image_data"))
        except RequestError as error:
            raise Refusal(str(error)) from error

    def normalize_image(self, picture: Picture, geometry: ImageGeometry) -> list[list[float]]:
        return list(_family(geometry).pixels("image", as_image(picture), 0, 1).tensors["pixel_values"].tolist())

    def reuse_positions(self, rows: Sequence[Any], delta: int, length: int) -> Positions | None:
        given = torch.tensor(rows)
        if self.seams.positions_disagreement(given, delta, length, 0) is not None:
            return None
        return Positions(given.tolist(), delta)

    def reuse_ids(self, given: Sequence[int], run: Sequence[int]) -> bool:
        return self.seams.ids_disagreement(given, run) is None


@lru_cache(maxsize=8)
def _codec(kind: str, vocabulary: tuple[bytes, ...], special: tuple[int, ...]) -> TextCodec:
    if kind == "fast":
        return TextCodec(byte_tokenizer.fast(vocabulary, special), len(vocabulary))
    with TemporaryDirectory() as place:
        write_tokenizer(Path(place), vocabulary[: len(vocabulary) - len(special)])
        return TextCodec(load_tokenizer(Path(place)), len(vocabulary))


KINDS = ("fast", "tiktoken") if find_spec("tiktoken") else ("fast",)


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
    protocol = ReferenceProtocol(plant_serving(plant))
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
        decode_batch=functions.decode_batch,
        lay_rows=functions.lay_rows,
        block_keys=functions.block_keys,
        spread_batch=protocol.spread_batch,
        read_request=protocol.read_request,
        write_answer=protocol.write_answer,
        read_image=functions.read_image,
        normalize_image=functions.normalize_image,
        reuse_positions=functions.reuse_positions,
        reuse_ids=functions.reuse_ids,
        place_segments=functions.place_segments,
        measure_image=functions.measure_image,
        families={
            "place_segments": ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "glm4v"),
            "measure_image": tuple(MARKUP),
            "decode_batch": KINDS,
            "read_request": tuple(WAYS),
            "write_answer": tuple(WAYS),
        },
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


def _own_version() -> str:
    try:
        return version("vlm-assay")
    except PackageNotFoundError:
        return "not installed"
