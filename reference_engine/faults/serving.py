"""Faults of the HTTP border."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any

from reference_engine.faults.catalogue import Fault
from reference_engine.sampling_params import SamplingParams


def render_over_ids(body: Any, prompts: Any) -> list[int]:
    """The messages win: the caller's ids are dropped as soon as there is something to render."""
    return prompts.ids(body.messages, body.tools) if body.messages else list(body.input_ids)


def nulls_and_all(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that were not asked for are there, as null."""
    return dict(fields)


def images_first(body: Any, prompts: Any) -> list[int]:
    """All images of a message stand before its text, wherever they were put."""
    return _ids(body, prompts, _sorted_parts)


def _sorted_parts(role: str, content: Any) -> Any:
    return sorted(content, key=lambda part: part.type == "text") if isinstance(content, list) else content


def earlier_answers_trimmed(body: Any, prompts: Any) -> list[int]:
    """Rendering the dialogue again drops the beginning of each earlier answer, up to its last line."""
    return _ids(body, prompts, _last_line)


def _last_line(role: str, content: Any) -> Any:
    return content.strip().rpartition("\n")[2] if role == "assistant" and isinstance(content, str) else content


def _ids(body: Any, prompts: Any, change: Callable[[str, Any], Any]) -> list[int]:
    if body.input_ids is not None:
        return list(body.input_ids)
    return prompts.ids([m.model_copy(update={"content": change(m.role, m.content)}) for m in body.messages])


def known_fields_only(meta: Mapping[str, Any]) -> dict[str, Any]:
    """An answer is written again through a fixed schema."""
    return {name: meta[name] for name in FIXED_SCHEMA if name in meta}


def few_sampling_fields(params: SamplingParams) -> SamplingParams:
    """The parameters of one prompt of several are rebuilt from an allowlist."""
    return SamplingParams(**{name: getattr(params, name) for name in ALLOWED})


async def on_the_event_loop(pool: Executor, read: Callable[[bytes], Any], raw: bytes) -> Any:
    """Images are decoded where everybody else's calls wait."""
    return read(raw)


FIXED_SCHEMA = ("id", "prompt_tokens", "completion_tokens", "finish_reason", "e2e_latency")
ALLOWED = ("max_new_tokens", "temperature", "top_p", "top_k", "n", "seed")
FIELDS = "9: every declared request field survives, and no other appears"
FAULTS = (
    Fault(
        "F2-21",
        "vllm#15125",
        "all images of a chat message stand before its text",
        "16: placement follows provenance (where the caller put the image)",
        {"chat_ids": images_first},
        "a chat message has text before an image",
    ),
    Fault(
        "F3-09",
        "slime#2288",
        "earlier answers are rendered without all but their last line",
        "8: the next prompt starts with previous prompt + output, id for id",
        {"chat_ids": earlier_answers_trimmed},
        "an earlier answer has several lines",
    ),
    Fault(
        "F3-12",
        "ProRL-Agent-Server#52",
        "meta_info is written again through a fixed schema",
        FIELDS,
        {"meta_fields": known_fields_only},
        "ids, log-probabilities or evidence are asked for",
    ),
    Fault(
        "F3-13",
        "sglang#27216",
        "sampling parameters of a prompt among several are rebuilt from an allowlist",
        FIELDS,
        {"sampling_of": few_sampling_fields},
        "several prompts are sent with sampling parameters off the list",
    ),
    Fault(
        "F9-16",
        "vllm#34789",
        "images are decoded on the event loop",
        "18: no host work on the event loop",
        {"offload": on_the_event_loop},
        "large images are sent",
    ),
    Fault(
        id="F3-03",
        reference="sglang#26117 (and sglang#23751: input_ids of a chat call)",
        summary="ids sent beside messages are lost: the messages are rendered and tokenized again",
        invariant="6: ids run == ids sent, each placeholder expanded once",
        replaces={"chat_ids": render_over_ids},
        acts_when="a chat call has input_ids and messages",
    ),
    Fault(
        id="null-fields",
        reference="sglang#23751 (fields absent unless asked for)",
        summary="fields of an answer that were not asked for are there as null",
        invariant="9: every declared request field survives, and no other appears",
        replaces={"given": nulls_and_all},
        acts_when="a chat call asks for no ids",
    ),
)
