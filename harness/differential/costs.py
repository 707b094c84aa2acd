"""What an engine's work costs, counted rather than timed: the same on any machine, however busy.

Each figure is compared with the engine's own at half or double the work, or bounded by what was sent; never with a
figure written down.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from harness.differential.bench import Bench
from harness.differential.cases import Case
from harness.differential.check import Check
from harness.differential.event_loop import LOOP_CHECK
from harness.differential.running import ask_all
from reference_engine import Engine

Finds = Iterator[str]
LENGTHS = (40, 80, 160)
SLACK = 1.1
"""A token late in an answer may take as many calls as one early in it, times this."""
NO_CHARACTER = 187
"""In a vocabulary of bytes, the id of one that no UTF-8 holds; any other id will do as well."""


def encoded_once(bench: Bench) -> Finds:
    """No image is encoded twice for one request, whole or in chunks; with the cache on, none that was seen before."""
    for settings in ({}, {"chunked_prefill": 16}, {"encoder_cache": False, "chunked_prefill": 16}):
        engine = bench.engine(**settings)
        for case in bench.pictured[:6]:
            before = engine.counters()["encoder_items_total"]
            ask_all(engine, [case])
            items = len(case.make().get("images", ())) + len(case.make().get("videos", ()))
            encoded = engine.counters()["encoder_items_total"] - before
            if encoded > items:
                yield f"{case.name}, {settings}: {encoded:.0f} items encoded for {items} sent"
    engine = bench.engine()
    ask_all(engine, bench.pictured[:6])
    before = engine.counters()["encoder_items_total"]
    ask_all(engine, bench.pictured[:6])
    if (again := engine.counters()["encoder_items_total"] - before) > 0:
        yield f"{again:.0f} items encoded again that are in the cache"


def prefixes_are_found(bench: Bench) -> Finds:
    """A prompt that comes again costs its last block; one that goes on costs what is new."""
    engine = bench.engine(block_size=4)
    cases = {case.name: case for case in bench.cases()}
    for first, second in (("again", "again"), ("again", "continued"), ("text-2", "text-2")):
        if first not in cases:
            continue
        engine.flush_cache()
        ask_all(engine, [cases[first]])
        shared = _common_prefix(engine, cases[first], cases[second])
        seen = ask_all(engine, [cases[second]], want_evidence=True)[second]
        cached = seen.evidence.cached_tokens if seen.evidence else 0
        if cached < shared // 4 * 4 - 4:
            yield f"{second} after {first}: {cached} tokens from the cache of {shared} that are the same"


def _common_prefix(engine: Engine, a: Case, b: Case) -> int:
    """Tokens that two prompts have in common at the beginning, images compared by content."""
    one, other = (engine.prepare(case.request()) for case in (a, b))
    differ = next((i for i, (x, y) in enumerate(zip(one.ids, other.ids, strict=False)) if x != y), len(one.ids))
    return min(differ, len(other.ids) - 1)


def nothing_grows(bench: Bench) -> Finds:
    """Bytes of all tensors alive after 2N requests are those after N."""
    engine = bench.engine()
    cases = bench.cases()[:8]

    def alive() -> int:
        engine.flush_cache()
        gc.collect()
        held = [t for t in gc.get_objects() if issubclass(type(t), torch.Tensor)]  # isinstance would load lazy modules
        return sum(dict(map(_memory, held)).values())

    ask_all(engine, cases)
    ask_all(engine, cases)
    first = alive()
    ask_all(engine, cases)
    ask_all(engine, cases)
    if (more := alive() - first) > 0:
        yield f"{more} bytes of tensors more after as many requests again"


def _memory(tensor: torch.Tensor) -> tuple[int, int]:
    """What to count once, and its bytes. Weights packed for oneDNN have no storage to ask."""
    if tensor.is_mkldnn:
        return id(tensor), tensor.numel() * tensor.element_size()
    storage = tensor.untyped_storage()
    return storage.data_ptr(), storage.nbytes()


def work_of_a_token_is_bounded(bench: Bench) -> Finds:
    """Calls made for one token of an answer do not grow with the answer, whatever its text."""
    case = bench.cases(having="text-")[1]
    for said, bias in (("", {}), (f" of token {NO_CHARACTER}", {NO_CHARACTER: 100.0})):
        made = replace(case, sampling=replace(case.sampling, logit_bias=bias))
        counts = [_calls(bench, _longer(made, length)) for length in LENGTHS]
        early, late = ((b - a) / (m - n) for a, b, n, m in zip(counts, counts[1:], LENGTHS, LENGTHS[1:], strict=False))
        if late > SLACK * early:
            yield f"{late:.0f} calls a token late in an answer{said} of {LENGTHS[-1]}, {early:.0f} early in it"


def _longer(case: Case, length: int) -> Case:
    return replace(case, sampling=replace(case.sampling, max_new_tokens=length))


def _calls(bench: Bench, case: Case) -> int:
    """Calls, in Python and into it, while a case runs warm."""
    engine = bench.engine()
    ask_all(engine, [case])
    made = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal made
        made += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        ask_all(engine, [case])
    finally:
        sys.setprofile(None)
    return made


READ_BACKS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.item.default)
"""The second is what the first is called in inference mode."""


class ReadBacks(TorchDispatchMode):
    """Counts how often the host asks a tensor for a number: on a GPU, a wait each time."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func in READ_BACKS
        return func(*args, **(kwargs or {}))


def read_backs_are_bounded(bench: Bench) -> Finds:
    """An image of many rows is read back no oftener than one of few."""
    cases = {case.name: case for case in bench.cases()}
    rows, counts = [], []
    for name in ("edge", "many"):
        if name not in cases:
            return
        engine = bench.engine(encoder_cache=False, prefix_cache=False)
        prompt = engine.prepare(cases[name].request())
        rows.append(sum(span[1] - span[0] + 1 for item in prompt.items for span in item.spans))
        with ReadBacks() as mode:
            engine.submit(cases[name].request(), prompt)
            while engine.has_work():
                engine.step()
        counts.append(mode.count)
    allowed = counts[0] + 8 * len(cases["many"].make()["images"])
    if counts[1] > allowed:
        yield f"{counts[1]} read-backs for {rows[1]} rows, {counts[0]} for {rows[0]}; at most {allowed}"


def submitting_costs_nothing(bench: Bench) -> Finds:
    """What the engine's own thread does with a prepared request does not grow with its images."""
    engine = bench.engine()
    cases = {case.name: case for case in bench.cases()}
    if "many" not in cases:
        return
    costs = [_least_seconds(partial(_submitted, engine, cases[name])) for name in ("one", "many")]
    if costs[1] > 4 * costs[0] and costs[1] - costs[0] > 5e-4:
        yield f"{costs[1] * 1e3:.2f} ms for many large images, {costs[0] * 1e3:.2f} ms for one small"


def _submitted(engine: Engine, case: Case) -> float:
    request = case.request()
    prompt = engine.prepare(request)
    began = time.thread_time()
    engine.submit(request, prompt)
    spent = time.thread_time() - began
    engine.abort(request.request_id)
    while engine.has_work():
        engine.step()
    return spent


def _least_seconds(measure: Callable[[], float]) -> float:
    return min(measure() for _ in range(7))


COSTS = (
    Check("each image encoded once", (18,), encoded_once),
    Check("prefixes are found", (5, 18), prefixes_are_found),
    Check("nothing grows", (13, 18), nothing_grows),
    Check("work of a token is bounded", (18,), work_of_a_token_is_bounded),
    Check("read-backs are bounded", (18,), read_backs_are_bounded),
    Check("submitting costs nothing", (18,), submitting_costs_nothing),
    LOOP_CHECK,
)
