"""An installed vLLM's own functions over plain lists. Runs in vLLM's environment (see :mod:`loop`).

Translates and never repairs: what vLLM gets wrong leaves here wrong. Written against 0.32.0; the functions' places are
private to vLLM and move between releases, so an ``ImportError`` here means that this file needs a look.
"""

from __future__ import annotations

from missing_kernels import stand_in_for_torchvision

stand_in_for_torchvision()

from importlib.metadata import version
from types import SimpleNamespace

import numpy as np
import torch
from loop import Unsupported
from vllm.model_executor.layers.rotary_embedding import MRotaryEmbedding
from vllm.model_executor.models.qwen2_5_vl import Qwen2_5_VLForConditionalGeneration
from vllm.model_executor.models.qwen2_vl import Qwen2VLForConditionalGeneration
from vllm.model_executor.models.qwen2_vl import Qwen2VLProcessingInfo as QWEN
from vllm.model_executor.models.utils import _merge_multimodal_embeddings
from vllm.multimodal.hasher import MultiModalHasher
from vllm.multimodal.inputs import PlaceholderRange
from vllm.multimodal.processing import processor as processing

from vllm.utils.hashing import sha256
from vllm.v1.core import kv_cache_utils
from vllm_protocol_functions import (  # noqa: F401  called by name, as those here are
    WAYS, read_image, read_request, spread_batch, stream_text, write_answer,
)  # fmt: skip

VERSION = version("vllm")
OFFERS = (
    "expand_ids", "find_offsets", "place_positions", "window_positions", "item_key", "chunk_rows", "place_segments",
    "count_tokens", "lay_rows", "block_keys", "spread_batch", "stream_text", "read_image", "read_request",
    "write_answer",
)  # fmt: skip
if not hasattr(QWEN, "_get_vision_size"):  # 0.30 asks a processor instead, which only a checkpoint has
    OFFERS = tuple(name for name in OFFERS if name != "count_tokens")
FAMILIES = {
    "place_segments": ["qwen2_vl", "qwen2_5_vl"], "read_request": list(WAYS), "write_answer": ["chat", "completion"],
}  # fmt: skip
MODELS = {"qwen2_vl": Qwen2VLForConditionalGeneration, "qwen2_5_vl": Qwen2_5_VLForConditionalGeneration}


def _updates(placeholder, replacements):
    """One update an image: the placeholder becomes its replacement, rows go where the replacement repeats it."""
    made = []
    for number, replacement in enumerate(replacements):
        content = processing.PromptUpdateDetails.select_token_id(list(replacement), placeholder)
        made.append([processing.PromptReplacement("image", [placeholder], content).resolve(number)])
    return {"image": made} if made else {}


def _ranges(found):
    return [[list(run) for run in info.to_range().extract_embeds_range()] for info in found.get("image", ())]


def expand_ids(ids, placeholder, replacements):
    """Ids that hold every replacement already are found as they are, others expanded, as ``apply`` does for ids."""
    updates = _updates(placeholder, replacements)
    found = processing.find_mm_placeholders(list(ids), updates)
    if replacements and len(found.get("image", ())) == len(replacements):
        return [list(ids), _ranges(found)]
    expanded, result, found = processing._apply_token_matches_with_placeholders(list(ids), updates)
    missing = [number for number, which in enumerate(result.get("image", ())) if which is None]
    if missing:
        raise ValueError(f"no placeholder for image {missing[0]}")
    return [expanded, _ranges(found)]


def find_offsets(ids, placeholder, counts):
    """``find_mm_placeholders`` for images of one span; separators of several are not known from counts."""
    if any(len(item) != 1 for item in counts):
        raise Unsupported("an item of several spans: what stands between them is not known from counts")
    found = processing.find_mm_placeholders(list(ids), _updates(placeholder, [[placeholder] * n for (n,) in counts]))
    if len(found.get("image", ())) != len(counts):
        raise ValueError(f"{len(found.get('image', ()))} of {len(counts)} images found")
    return _ranges(found)


def count_tokens(sizes, geometry):
    """``Qwen2VLProcessingInfo._get_vision_info``, which the scheduler plans with."""
    patch_size, merge_size, min_pixels, max_pixels = geometry
    vision = SimpleNamespace(patch_size=patch_size, spatial_merge_size=merge_size, temporal_patch_size=2)
    info = SimpleNamespace(
        get_hf_config=lambda: SimpleNamespace(vision_config=vision), _get_vision_size=QWEN._get_vision_size,
        _merge_and_resolve_mm_processor_kwargs=lambda kwargs: {},
    )  # fmt: skip
    processor = SimpleNamespace(size={"shortest_edge": min_pixels, "longest_edge": max_pixels})
    counted = [
        QWEN._get_vision_info(info, image_width=w, image_height=h, image_processor=processor, mm_kwargs={})[1]
        for w, h in sizes
    ]
    return [[count] for count in counted]


def lay_rows(text, rows, places):
    """``_merge_multimodal_embeddings``."""
    mask = torch.zeros(len(text), dtype=torch.bool)
    mask[torch.tensor(places, dtype=torch.long)] = True
    given = torch.tensor(rows).reshape(-1, len(text[0]))
    return _merge_multimodal_embeddings(torch.tensor(text), [given], mask).tolist()


def block_keys(ids, items, block_size):
    """``get_request_block_hasher`` over a request's tokens and features."""
    kv_cache_utils.init_none_hash(sha256)
    features = [
        SimpleNamespace(
            identifier=str(number), mm_position=PlaceholderRange(spans[0][0], spans[-1][1] - spans[0][0] + 1)
        )
        for spans, number in items
    ]
    request = SimpleNamespace(
        mm_features=features, block_hashes=[], num_tokens=len(ids), all_token_ids=ids, lora_request=None,
        cache_salt=None, prompt_embeds=None,
    )  # fmt: skip
    return [key.hex() for key in kv_cache_utils.get_request_block_hasher(block_size, sha256)(request)]


def place_positions(length, spans, grids, merge_size):
    vision = SimpleNamespace(spatial_merge_size=merge_size, tokens_per_second=2)
    model_class = Qwen2_5_VLForConditionalGeneration
    model = SimpleNamespace(config=SimpleNamespace(vision_config=vision))
    model.iter_mm_grid_thw = model_class.iter_mm_grid_thw.__get__(model)
    features = [
        SimpleNamespace(
            modality="image", mm_position=PlaceholderRange(start, end - start + 1),
            data={"image_grid_thw": SimpleNamespace(data=torch.tensor(grid))},
        )
        for (start, end), grid in zip(spans, grids, strict=True)
    ]  # fmt: skip
    rows, delta = model_class.get_mrope_input_positions(model, [0] * length, features)
    return [rows.tolist(), int(delta)]


def place_segments(family, segments):
    """``get_mrope_input_positions`` of the family's model over features of images and videos."""
    model_class, features, place = MODELS[family], [], 0
    for kind, length, grid, seconds in segments:
        if kind != "text":
            data = {f"{kind}_grid_thw": SimpleNamespace(data=torch.tensor(grid))}
            if family == "qwen2_5_vl":  # its processor alone tells seconds
                data["second_per_grid_ts"] = SimpleNamespace(data=torch.tensor(seconds))
            features.append(SimpleNamespace(modality=kind, mm_position=PlaceholderRange(place, length), data=data))
        place += length
    vision = SimpleNamespace(spatial_merge_size=2, **({"tokens_per_second": 2} if family == "qwen2_5_vl" else {}))
    model = SimpleNamespace(config=SimpleNamespace(vision_config=vision))
    model.iter_mm_grid_thw = model_class.iter_mm_grid_thw.__get__(model)
    rows, delta = model_class.get_mrope_input_positions(model, [0] * place, features)
    return [rows.tolist(), int(delta)]


def window_positions(rows, delta, start, stop):
    """The prompt's own positions, then ``get_next_input_positions_tensor`` for what is decoded, as the runner does."""
    known = len(rows[0])
    inside = [row[start:stop] for row in rows]
    first, new = max(start, known), max(stop, known) - max(start, known)
    if new == 0:
        return inside
    beyond = np.zeros((3, new), dtype=np.int64)
    MRotaryEmbedding.get_next_input_positions_tensor(
        out=beyond, out_offset=0, mrope_position_delta=delta, context_len=first, num_new_tokens=new
    )
    return [a + b for a, b in zip(inside, beyond.tolist(), strict=True)]


def item_key(values, shape, dtype):
    array = np.array(values, dtype=dtype).reshape(shape)
    return MultiModalHasher.hash_kwargs("sha256", image=array)


def chunk_rows(rows, placeholders, start, stop):
    """Rows of the chunk [start, stop), each item's cut with its own ``PlaceholderRange`` as the runner gathers them."""
    got, place, done = [], 1, 0
    for held in placeholders:
        mask = [True]
        for number, count in enumerate(held):
            mask = [True] * count if number == 0 else [*mask, False, *[True] * count]
        where = PlaceholderRange(place, len(mask), torch.tensor(mask))
        first, last = max(start - place, 0), min(stop - place, len(mask))
        if first < last:
            low, high = where.get_embeds_indices_in_range(first, last)
            got += rows[done + low : done + high]
        done += sum(held)
        place += len(mask) + 1
    return got
