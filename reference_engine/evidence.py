"""What a request's run left behind, in the form a judge reads: ids, spans, row counts, digests, which toggles acted."""

from __future__ import annotations

from typing import Any

from reference_engine.config import EngineConfig
from reference_engine.live_request import LiveRequest
from reference_engine.multimodal.mrope import positions_digest
from reference_engine.request import Evidence, ItemEvidence
from reference_engine.row_print import NO_ROWS
from reference_engine.tokenizer import Codec
from reference_engine.vision import EncodedItem, span_lengths


def build_evidence(live: LiveRequest, config: EngineConfig, codec: Codec) -> Evidence:
    return Evidence(
        prompt_ids=list(live.prompt.ids),
        items=_items(live),
        mrope_delta=live.prompt.delta,
        positions_digest=positions_digest(live.prompt.positions_3L),
        toggles=_toggles(live, config, codec),
        encoder_batch=max((part.pass_items for part in _encoded_now(live)), default=0),
        prefill_chunks=live.chunks,
        cached_tokens=live.cached_tokens,
        preemptions=live.preemptions,
        seed=live.sampling.draws.seed,
        timings=dict(live.timings),
    )


def _items(live: LiveRequest) -> list[ItemEvidence]:
    """Items that were never encoded (the request ended before) report no rows."""
    return [
        ItemEvidence(
            item=item.index,
            size=item.size,
            grids=list(item.grids),
            spans=list(item.spans),
            placeholders=span_lengths(item.spans),
            encoder_rows=list(live.encoded[i].row_counts) if live.encoded else [0] * len(item.spans),
            source=live.sources.get(i, "none"),
            rows_digest=live.row_prints[i].digest if live.row_prints else NO_ROWS,
            modality=item.modality,
            rows_sketch=live.row_prints[i].sketch if live.row_prints else (),
        )
        for i, item in enumerate(live.prompt.items)
    ]


def _toggles(live: LiveRequest, config: EngineConfig, codec: Codec) -> dict[str, dict[str, Any]]:
    acted = {
        "avoid_retokenize": (live.prompt.placement.changed, live.prompt.placement.reason),
        "reuse_processor_output": (live.prompt.reuse.acted, live.prompt.reuse.reason),
        "native_decode": codec.native_decode(),
        "skip_tokenizer_init": _without_tokenizer(codec),
        "vit_batching": _vit_batching(live, config),
        "encoder_cache": _encoder_cache(live, config),
        "prefix_cache": _prefix_cache(live, config),
        "batch_invariant": _batch_invariant(config),
        "chunked_prefill": (live.chunks > 1, f"the prompt was filled in {live.chunks} chunk(s)"),
        "encoder_overlap": (live.overlapped > 0, f"{live.overlapped} step(s) of others ran while it was encoded"),
        "compile": (config.compile and live.chunks > 0, "the decoder runs as one compiled graph, or as it is written"),
        "cuda_graph": (live.replayed > 0, f"{live.replayed} step(s) were replayed"),
    }
    return {
        name: {"setting": setting, "acted": acted[name][0], "reason": acted[name][1]}
        for name, setting in config.toggle_settings().items()
    }


def _without_tokenizer(codec: Codec) -> tuple[bool, str]:
    if codec.tokenizer is None:
        return True, "no tokenizer was loaded: ids in, ids out"
    return False, "a tokenizer is loaded"


def _encoder_cache(live: LiveRequest, config: EngineConfig) -> tuple[bool, str]:
    found = [source for source in live.sources.values() if source != "encoded"]
    if not config.encoder_cache:
        return False, "every image of every request is encoded"
    return bool(found), f"{len(found)} of {len(live.sources)} item(s) were encoded for somebody else"


def _prefix_cache(live: LiveRequest, config: EngineConfig) -> tuple[bool, str]:
    if live.prompt.chain is None:
        where = "with a model whose layers carry a state" if config.prefix_cache else "in this setting"
        return False, f"prompts share nothing {where}"
    return live.cached_tokens > 0, f"{live.cached_tokens} of {live.prompt_length} prompt tokens were in the cache"


def _batch_invariant(config: EngineConfig) -> tuple[bool, str]:
    if config.batch_invariant:
        return True, "products and attention ran in tiles of fixed size"
    return False, "off: rounding may depend on batch mates"


def _encoded_now(live: LiveRequest) -> list[EncodedItem]:
    """Its items whose rows did not come from the cache."""
    return [part for i, part in enumerate(live.encoded) if live.sources.get(i) != "cached"]


def _vit_batching(live: LiveRequest, config: EngineConfig) -> tuple[bool, str]:
    encoded = _encoded_now(live)
    if not encoded:
        return False, "no images were encoded"
    most, waiting = max(part.pass_items for part in encoded), encoded[0].waiting_items
    return waiting > 1, f"{config.vit_batching}: {waiting} item(s) were waiting, at most {most} in a pass"
