"""An installed SGLang's own functions over plain lists. Runs in SGLang's environment (see :mod:`loop`).

Translates and never repairs: what SGLang gets wrong leaves here wrong. Written against 0.5.23; the functions' places
are private to SGLang and move between releases, so an ``ImportError`` here means that this file needs a look.
"""

from __future__ import annotations

import os

from missing_kernels import stand_in, stand_in_for_torchvision

os.environ.setdefault("SGLANG_USE_CPU_ENGINE", "1")
stand_in("sgl_kernel")
stand_in_for_torchvision()

from dataclasses import MISSING, fields
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from loop import Unsupported
from sglang.srt.layers.rotary_embedding.mrope_rope_index import get_rope_index
from sglang.srt.managers import mm_schedule, mm_utils
from sglang.srt.managers.io_struct import GenerateReqInput
from sglang.srt.managers.schedule_batch import Modality, MultimodalDataItem, MultimodalProcessorOutput
from sglang.srt.multimodal.processors.base_processor import BaseMultimodalProcessor
from sglang_protocol_functions import (  # noqa: F401  called by name, as those here are
    WAYS, decode_batch, read_image, read_request, reuse_positions, stream_text, write_answer,
)  # fmt: skip

VERSION = version("sglang")
OFFERS = (
    "expand_ids", "find_offsets", "pad_ids", "place_positions", "window_positions", "split_rows", "chunk_rows",
    "item_key", "spread_batch", "place_segments", "lay_rows", "decode_batch", "stream_text", "read_image",
    "read_request", "write_answer", "reuse_positions",
)  # fmt: skip
FAMILIES = {
    "place_segments": ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"], "decode_batch": ["fast", "tiktoken"],
    "read_request": list(WAYS), "write_answer": ["chat", "completion"],
}  # fmt: skip
TEXT, IMAGE, VIDEO, VISION_START, PAD = 1, 900_001, 900_002, 900_003, 900_004


def expand_ids(ids, placeholder, replacements):
    """``_expand_input_ids`` (sglang#26555), then the offsets that SGLang finds in its own result."""
    if any(set(replacement) - {placeholder} for replacement in replacements):
        raise Unsupported("an item of several spans: _expand_input_ids takes one count an image")
    counts = [len(replacement) for replacement in replacements]
    expanded = BaseMultimodalProcessor._expand_input_ids(list(ids), counts, placeholder)
    return [expanded, _runs(expanded, placeholder, [[count] for count in counts])]


def find_offsets(ids, placeholder, counts):
    """``get_mm_items_offset``: runs of the placeholder, dealt out to the items in order."""
    return _runs(ids, placeholder, counts)


def _runs(ids, placeholder, counts):
    found = BaseMultimodalProcessor.get_mm_items_offset(torch.tensor(ids, dtype=torch.int64), placeholder)
    runs = iter([list(run) for run in found])
    dealt = [[run for run in (next(runs, None) for _ in item) if run] for item in counts]
    rest = list(runs)
    return [*dealt, rest] if rest else dealt


def pad_ids(ids, items):
    made = [MultimodalDataItem(modality=Modality.IMAGE, offsets=spans, pad_value=value) for spans, value in items]
    padded = MultimodalProcessorOutput.build_padded_input_ids(list(ids), made)
    return list(ids) if padded is None else padded


def place_positions(length, spans, grids, merge_size):
    """``get_rope_index`` as the Qwen processors call it: it looks for a vision start before each image."""
    ids = [TEXT] * length
    for start, end in spans:
        if start == 0:
            raise Unsupported("a prompt that begins with an image's tokens: get_rope_index needs a vision start before")
        if ids[start - 1] == TEXT:
            ids[start - 1] = VISION_START
        ids[start : end + 1] = [IMAGE] * (end - start + 1)
    positions, delta = get_rope_index(
        spatial_merge_size=merge_size, image_token_id=IMAGE, video_token_id=VIDEO,
        vision_start_token_id=VISION_START, model_type="qwen2_5_vl", tokens_per_second=2,
        input_ids=torch.tensor([ids]), image_grid_thw=torch.tensor(grids) if grids else None,
    )  # fmt: skip
    return [positions[:, 0].tolist(), int(delta)]


def place_segments(family, segments):
    """``get_rope_index`` with a vision start as the last token of the text before each image and video."""
    ids, grids, seconds = [], {"image": [], "video": []}, []
    for kind, length, grid, step in segments:
        if kind == "text":
            ids += [TEXT] * length
            continue
        ids[-1] = VISION_START
        ids += [IMAGE if kind == "image" else VIDEO] * length
        grids[kind].append(grid)
        seconds += [step] if kind == "video" else []
    positions, delta = get_rope_index(
        spatial_merge_size=2, image_token_id=IMAGE, video_token_id=VIDEO, vision_start_token_id=VISION_START,
        model_type=family, tokens_per_second=2, input_ids=torch.tensor([ids]),
        image_grid_thw=torch.tensor(grids["image"]) if grids["image"] else None,
        video_grid_thw=torch.tensor(grids["video"]) if grids["video"] else None,
        second_per_grid_ts=torch.tensor(seconds) if seconds else None,
    )  # fmt: skip
    return [positions[:, 0].tolist(), int(delta)]


def window_positions(rows, delta, start, stop):
    """The prompt's positions, made longer as for a request that was retracted while it generated."""
    beyond = max(0, stop - len(rows[0]))
    longer = mm_utils.extend_mrope_positions_for_retracted_request(torch.tensor(rows), beyond)
    return longer[:, start:stop].tolist()


def split_rows(rows, row_counts, placeholders):
    """``_get_chunked_prefill_embedding`` over one request an item, then rows laid on placeholders in order."""
    laid = _embed(rows, row_counts, placeholders, [(0, sum(held) + len(held) + 1) for held in placeholders])
    held = [sum(item) for item in placeholders]
    return [part.tolist() for part in laid.split(held)]


def chunk_rows(rows, placeholders, start, stop):
    """The rows that one request's chunk [start, stop) gets; its items stand one token apart, spans too."""
    counts = [list(item) for item in placeholders]
    laid = _embed(rows, counts, placeholders, [(start, stop)], one_request=True)
    return [] if laid is None else laid.tolist()


def lay_rows(text, rows, places):
    """``embed_mm_inputs`` of one request whose only image holds ``places``; its encoder gives ``rows``."""
    mm_schedule.init_mm_embedding_cache(1 << 24)
    width, ids = len(text[0]), torch.arange(len(text))
    item = MultimodalDataItem(modality=Modality.IMAGE, offsets=_runs_of(places), hash=1, pad_value=PAD)
    if places:
        ids[torch.tensor(places)] = PAD
    embedding = torch.nn.Embedding.from_pretrained(torch.tensor(text, dtype=torch.float32))
    laid = mm_utils.embed_mm_inputs(
        [SimpleNamespace(mm_items=[item] if places else [])], [0], [len(text)], ids, embedding,
        data_embedding_func_mapping={Modality.IMAGE: lambda items: torch.tensor(rows).reshape(-1, width)},
    )  # fmt: skip
    return (laid[0] if isinstance(laid, tuple) else laid).tolist()


def _runs_of(places):
    """First and last of each run of neighbours."""
    runs: list[list[int]] = []
    for place in places:
        if runs and runs[-1][1] == place - 1:
            runs[-1][1] = place
        else:
            runs.append([place, place])
    return [(start, end) for start, end in runs]


def _embed(rows, row_counts, placeholders, windows, one_request=False):
    mm_schedule.init_mm_embedding_cache(1 << 24)
    items, offsets, place = [], [], 1
    for number, held in enumerate(placeholders):
        spans = []
        for count in held:
            spans.append((place, place + count - 1))
            place += count + 1
        if not one_request:
            place = 1
        items.append(MultimodalDataItem(modality=Modality.IMAGE, offsets=spans, hash=number + 1))
        offsets.append(spans)
    table = dict(zip([item.hash for item in items], _cut(rows, row_counts), strict=True))
    sizes = [0, len(items)] if one_request else list(range(len(items) + 1))
    listed = [[span for spans in offsets for span in spans]] if one_request else offsets
    prefix, extend = [start for start, _ in windows], [stop - start for start, stop in windows]

    def encode(missing):
        return torch.cat([table[item.hash] for item in missing])

    found, _ = mm_schedule._get_chunked_prefill_embedding(
        encode, items, sizes, prefix, extend, listed, torch.zeros(place, dtype=torch.int64)
    )
    wanted = mm_schedule._count_mm_tokens_in_extend(prefix, extend, listed)
    return found if found is None else mm_schedule._adjust_embedding_length(found, wanted, mm_schedule.logger)


def _cut(rows, row_counts):
    return torch.tensor(rows, dtype=torch.float64).split([sum(counts) for counts in row_counts])


def item_key(values, shape, dtype):
    """``hash_feature`` of an image's pixel array."""
    return mm_utils.hash_feature(torch.from_numpy(np.array(values, dtype=dtype).reshape(shape)))


def spread_batch(size):
    """Every declared field of ``GenerateReqInput`` set on a batch of ``size``, and what each request of it carries.

    Returns per field ``[name, value given, [value of request 0, ...]]``, for fields of one value for the whole batch.
    """
    shared = {f.name: _other_value(f) for f in fields(GenerateReqInput) if _other_value(f) is not None}
    request = GenerateReqInput(input_ids=[[1, 2]] * size, **shared)
    request.normalize_batch_and_arguments()
    return [[name, value, [getattr(request[i], name) for i in range(size)]] for name, value in shared.items()]


def _other_value(field: Any) -> Any:
    """A value that is not the default, for fields that are flags or counts; None for the others."""
    if field.default is MISSING or field.name in ("rid", "session_id", "stream", "background"):
        return None
    if isinstance(field.default, bool):
        return not field.default
    if "Dict" in str(field.type) and "List" not in str(field.type):
        return {"asked": 1}
    return None
