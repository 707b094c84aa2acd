"""What the benchmark runs, as data. A toggle's benchmark is one :class:`Entry`: two settings and a workload.

The first seat is the one the others are compared with: a ratio is another seat's time over the first seat's, so that
more is better for the first. ``goal`` is the least ratio that is wanted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.bench.models import HALF_BILLION, SENTINEL
from harness.bench.workloads import Workload
from harness.errors import UsageError

Figure = Literal["seconds", "cpu_seconds", "encoder_seconds"]


@dataclass(frozen=True)
class Seat:
    """One contestant of an entry."""

    name: str
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    goal: float | None = None
    share: int = 1
    """Takes part in every round of this many: for one that is far slower."""


@dataclass(frozen=True)
class Entry:
    name: str
    title: str
    workload: Workload
    seats: tuple[Seat, ...]
    model: str = SENTINEL
    figure: Figure = "cpu_seconds"
    """What the goal is about."""
    rounds: int = 10
    device: str = "cpu"
    dtype: str = "float32"
    oracle: Literal["generate", "last seat"] = "generate"
    """Whose answers are right: transformers' ``generate``, or, where nothing is generated, the last seat's."""


COLD: Mapping[str, Any] = {"prefix_cache": False, "encoder_cache": False}
"""The engine's settings against others: nothing that would remember an earlier round."""


CONTINUOUS = Seat("transformers continuous batching", "transformers-cb", {"num_blocks": 128}, goal=2.0)
"""Of 256 tokens, more than these workloads need. Left to itself it takes most of the memory, and 5 % longer."""


def ours(name: str = "ours", kind: str = "ours", *, goal: float | None = None, **settings: Any) -> Seat:
    return Seat(name, kind, {**COLD, **settings}, goal)


def toggle(name: str, title: str, workload: Workload, on: Any, off: Any, **rest: Any) -> Entry:
    """An entry that compares two settings of one toggle, ``goal`` being the least gain of ``on``."""
    goal, kind = rest.pop("goal", None), rest.pop("kind", "ours")
    names = (f"{name}={_word(on)}", f"{name}={_word(off)}")
    seats = (ours(names[0], kind, **{name: on}), ours(names[1], kind, goal=goal, **{name: off}))
    return Entry(name, title, workload, seats, **rest)


def _word(setting: Any) -> str:
    return {True: "on", False: "off"}[setting] if isinstance(setting, bool) else str(setting)


SERVING = Workload(32, (1, 208), mean_new_tokens=26, images=(1, 2), load=2.0)
TEXT = Workload(32, (1, 208), mean_new_tokens=26, words=(4, 48), load=2.0)
RAGGED = Workload(12, (1, 112), mean_new_tokens=14, words=(2, 20), load=2.0)
EVEN = Workload(8, (12, 12), words=(12, 12))
SMALL_IMAGES = Workload(32, (1, 1), images=(1, 1), cells=(1, 3))
PICTURES = Workload(32, (1, 1), images=(1, 2))
CONCURRENT = Workload(64, (32, 128), words=(16, 64))
GPU_MODELS = ("random-3b", "random-7b")
LONG_TEXT = Workload(16, (1, 1), images=(1, 2), words=(200, 400))

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "serving",
        "32 multimodal requests, ragged, Poisson arrivals, on the sentinel",
        SERVING,
        (
            ours(),
            Seat("generate, one by one", "generate", share=5),
            Seat("generate, padded batches", "generate-padded", goal=2.0),
            Seat("vLLM", "vllm", goal=1.0),
        ),
    ),
    Entry(
        "serving-http",
        "the same over HTTP",
        SERVING,
        (ours("ours, server", "ours-server"), Seat("transformers serve", "transformers-serve", goal=4.0)),
        rounds=6,
    ),
    Entry(
        "text",
        "32 text requests, ragged, Poisson arrivals, on the sentinel",
        TEXT,
        (
            ours(),
            Seat("generate, padded batches", "generate-padded", goal=2.0),
            CONTINUOUS,
            Seat("vLLM", "vllm", goal=1.0),
        ),
    ),
    Entry(
        "text-0.5b",
        "12 text requests, ragged, Poisson arrivals, on random weights of 0.5 B parameters",
        RAGGED,
        (
            ours(),
            Seat("generate, padded batches", "generate-padded", goal=2.0),
            CONTINUOUS,
            Seat("vLLM", "vllm", goal=1.0),
        ),
        model=HALF_BILLION,
        rounds=4,
    ),
    Entry(
        "even-0.5b",
        "8 text requests of one length, all at once: matrix products are the limit",
        EVEN,
        (ours(), Seat("generate, padded batches", "generate-padded", goal=1.0)),
        model=HALF_BILLION,
        rounds=4,
    ),
    toggle(
        "vit_batching", "32 small images: one encoder pass for all, or one an image", SMALL_IMAGES,
        "cross_request", "per_item", figure="encoder_seconds", goal=2.0,
    ),
    toggle(
        "encoder_cache", "32 small images seen before: rows kept, or encoded again", SMALL_IMAGES, True, False,
    ),
    toggle(
        "prefix_cache", "prompts seen before: keys and values kept, or computed again", LONG_TEXT, True, False,
    ),
    toggle(
        "avoid_retokenize", "making prompts ready: expansion in ids, or through text", LONG_TEXT,
        True, False, kind="ours-prompts", oracle="last seat",
    ),
    toggle(
        "reuse_processor_output", "making prompts ready: from what a processor made, or from images", PICTURES,
        True, False, kind="ours-processed-prompts", oracle="last seat",
    ),
    Entry(
        "native_decode", "20,000 ids of a slow tokenizer with 150,000 entries to text", Workload(4, (5000, 5000)),
        (
            Seat("native_decode=on", "ours-detokenizer", {"native_decode": True, "tokens": 150_000}),
            Seat("native_decode=off", "ours-detokenizer", {"native_decode": False, "tokens": 150_000}, goal=20.0),
        ),
        oracle="last seat",
    ),
)  # fmt: skip


def on_gpu(model: str) -> Entry:
    """64 requests at once on a card. In float32, so that answers can be the same token for token."""
    seats = (ours(cuda_graph=True), Seat("transformers continuous batching", "transformers-cb", goal=3.0))
    title = f"64 concurrent text requests on a GPU, {model}"
    return Entry(f"gpu-{model}", title, CONCURRENT, seats, model, figure="seconds", rounds=6, device="cuda")


GPU_ENTRIES = tuple(on_gpu(model) for model in GPU_MODELS)


def choose(names: Sequence[str]) -> list[Entry]:
    """Entries by name, all of them where none is named. Raises :class:`UsageError` listing the known ones."""
    known = {entry.name: entry for entry in (*ENTRIES, *GPU_ENTRIES)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"unknown entry {unknown[0]!r}; known: {', '.join(known)}")
    return [known[name] for name in names] or list(known.values())
