"""transformers as installed: token counts and MRoPE positions, Qwen2.5-VL's and every family's, as other engines borrow
them.

It expands prompts as text, not as ids, and its model splits encoder rows inside; those are not offered here.
"""

from __future__ import annotations

import importlib
import inspect
from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import torch

from harness.implementations.base import (
    Grid,
    ImageGeometry,
    Implementation,
    Picture,
    Positions,
    Refusal,
    Row,
    Segment,
    Size,
    Span,
)  # fmt: skip
from harness.implementations.pictures import as_image, as_picture
from harness.implementations.transformers_processors import measurable, measure_image
from harness.implementations.workers import byte_tokenizer


def _library(name: str) -> Any:
    importlib.import_module("reference_engine.hf")  # lets it load beside a torchvision built for another torch
    return importlib.import_module(f"transformers.{name}")


def _module(name: str) -> Any:
    return _library(f"models.{name}")


def image_processor(geometry: ImageGeometry) -> Any:
    """Qwen2.5-VL's, PIL backend, with these numbers and everything else at its defaults."""
    return _module("qwen2_vl.image_processing_pil_qwen2_vl").Qwen2VLImageProcessorPil(
        patch_size=geometry.patch_size,
        merge_size=geometry.merge_size,
        size={"shortest_edge": geometry.min_pixels, "longest_edge": geometry.max_pixels},
    )


def count_tokens(sizes: Sequence[Size], geometry: ImageGeometry) -> list[list[int]]:
    """What the image processor says, without looking at pixels."""
    processor = image_processor(geometry)
    counts = []
    for width, height in sizes:
        try:
            patches = processor.get_number_of_image_patches(height, width, {})
        except ValueError as error:
            raise Refusal(str(error)) from error
        counts.append([patches // geometry.merge_size**2])
    return counts


def place_positions(length: int, spans: Sequence[Span], grids: Sequence[Grid], merge_size: int) -> Positions:
    """``get_rope_index`` as the model calls it; no weights are needed for it."""
    model_class = _module("qwen2_5_vl.modeling_qwen2_5_vl").Qwen2_5_VLModel
    vision = SimpleNamespace(spatial_merge_size=merge_size, tokens_per_second=2)
    model = SimpleNamespace(config=SimpleNamespace(vision_config=vision))
    model.get_vision_position_ids = model_class.get_vision_position_ids.__get__(model)
    kinds = torch.zeros(1, length, dtype=torch.int)
    for start, end in spans:
        kinds[0, start : end + 1] = 1
    positions, delta = model_class.get_rope_index(
        model,
        torch.zeros(1, length, dtype=torch.long),
        mm_token_type_ids=kinds,
        image_grid_thw=torch.tensor(grids).reshape(-1, 3) if grids else None,
    )
    return Positions(positions[:, 0].tolist(), int(delta))


def decode_batch(
    kind: str, vocabulary: Sequence[bytes], special: Sequence[int], sequences: Sequence[Sequence[int]],
    skip_special: bool,
) -> list[str]:  # fmt: skip
    """``batch_decode`` of a fast tokenizer."""
    tokenizer = byte_tokenizer.fast(tuple(vocabulary), tuple(special))
    return list(tokenizer.batch_decode([list(ids) for ids in sequences], skip_special_tokens=skip_special))


def read_image(data: bytes) -> Picture:
    """``load_image`` of a data URI."""
    uri = f"data:image/any;base64,{b64encode(data).decode()}"
    try:
        return as_picture(_library("image_utils").load_image(uri))
    except (ValueError, OSError) as error:
        raise Refusal(str(error)) from error


def normalize_image(picture: Picture, geometry: ImageGeometry) -> list[list[float]]:
    made = image_processor(geometry)(images=[as_image(picture)], return_tensors="pt")
    return list(made["pixel_values"].tolist())


def lay_rows(text: Sequence[Row], rows: Sequence[Row], places: Sequence[int]) -> list[list[float]]:
    """``get_placeholder_mask`` and ``masked_scatter``, as the model's forward has them one after the other."""
    kind = _library("models.qwen2_5_vl.modeling_qwen2_5_vl").Qwen2_5_VLModel
    model = SimpleNamespace(config=SimpleNamespace(image_token_id=1, video_token_id=2))
    x_1TE, ids = torch.tensor([text]), torch.zeros(1, len(text), dtype=torch.long)
    ids[0, list(places)] = 1
    rows_RE = torch.tensor(rows).reshape(-1, x_1TE.shape[-1])
    try:
        mask, _ = kind.get_placeholder_mask(model, ids, x_1TE, image_features=rows_RE)
    except ValueError as error:
        raise Refusal(str(error)) from error
    return list(x_1TE.masked_scatter(mask, rows_RE)[0].tolist())


def place_segments(family: str, segments: Sequence[Segment], padding: int) -> Positions:
    """The family's own ``get_rope_index``, behind a mask that hides ``padding`` tokens on the left."""
    kinds = {"text": 0, "image": 1, "video": 2}
    row = [0] * padding + [kinds[part.kind] for part in segments for _ in range(part.length)]
    mask = torch.tensor([[0] * padding + [1] * (len(row) - padding)])
    positions, delta = _rope_model(family).get_rope_index(
        torch.ones(1, len(row), dtype=torch.long),
        mm_token_type_ids=torch.tensor([row], dtype=torch.int),
        image_grid_thw=_grids(segments, "image"),
        video_grid_thw=_videos(family, segments),
        second_per_grid_ts=torch.tensor([part.seconds for part in segments if part.kind == "video"]),
        attention_mask=mask,
    )
    return Positions(positions[:, 0, padding:].tolist(), int(delta))


def _grids(segments: Sequence[Segment], kind: str) -> Any:
    found = [part.grid for part in segments if part.kind == kind]
    return torch.tensor(found) if found else None


def _videos(family: str, segments: Sequence[Segment]) -> Any:
    """As the processor hands them over: before the encoder merges frames."""
    grids = _grids(segments, "video")
    return grids * torch.tensor([2, 1, 1]) if grids is not None and family.startswith("ernie") else grids


@cache
def _rope_model(family: str) -> Any:
    """A family's model class without weights, as far as ``get_rope_index`` looks at it."""
    module = _module(f"{family}.modeling_{family}")
    kind = next(c for c in vars(module).values() if inspect.isclass(c) and "get_rope_index" in vars(c))
    vision = SimpleNamespace(spatial_merge_size=2, temporal_merge_size=2, tokens_per_second=2)
    model = SimpleNamespace(config=SimpleNamespace(vision_config=vision))
    for name in ("get_rope_index", "get_vision_position_ids"):
        setattr(model, name, getattr(kind, name).__get__(model))
    return model


ROPE_FAMILIES = (
    "cohere_compass", "cosmos3_edge", "ernie4_5_vl_moe", "glm46v", "glm4v", "glm4v_moe", "glm_ocr",
    "paddleocr_vl", "qwen2_5_vl", "qwen2_vl", "qwen3_5", "qwen3_5_moe", "qwen3_vl", "qwen3_vl_moe", "qwen4_exp",
)  # fmt: skip
"""Those whose ``get_rope_index`` takes token types and answers three rows. Not here: GLM-Image and HunYuan, which have
other rows, the omni models, with audio between frames, and Cosmos3 Omni, whose model is built around the function."""


def implementation(plant: str | None = None) -> Implementation:
    """The installed release. Raises :class:`LookupError` if a fault is asked for: none can be planted in it."""
    if plant is not None:
        raise LookupError(f"fault {plant!r} cannot be planted in transformers; faults live in the reference engine")
    in_text = "prompts are expanded as text, inside the processor"
    return Implementation(
        name="transformers",
        version=version("transformers"),
        count_tokens=count_tokens,
        place_positions=place_positions,
        place_segments=place_segments,
        measure_image=measure_image,
        decode_batch=decode_batch,
        read_image=read_image,
        normalize_image=normalize_image,
        lay_rows=lay_rows,
        families={"place_segments": ROPE_FAMILIES, "measure_image": measurable(), "decode_batch": ("fast",)},
        reasons={"expand_ids": in_text, "contract_ids": in_text, "split_rows": "done inside the model"},
    )
