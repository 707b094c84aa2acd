"""Faults of refusing what cannot be run, and of keeping what goes wrong apart."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from reference_engine import sampler
from reference_engine.errors import RequestError
from reference_engine.faults.catalogue import Fault
from reference_engine.multimodal import content_key, placeholders, placing
from reference_engine.multimodal.placeholders import Expansion, Layout, Modality
from reference_engine.sampler import Sampled, SampleRow

STAYS_UP = "17: any input gives 2xx or 4xx and the server stays up"
ELSEWHERE = -1
"""Stands for a placeholder that is not looked at."""


def ids_of_any_vocabulary(ids: Sequence[int], vocabulary: int, refused: Mapping[int, Modality], field: str) -> None:
    if not ids:
        raise RequestError(field, "the prompt is empty")


def empty_prompts_too(ids: Sequence[int], vocabulary: int, refused: Mapping[int, Modality], field: str) -> None:
    if ids:
        placing.check_ids(ids, vocabulary, refused, field)


def any_sampling(params: Any, vocabulary: int, eos_ids: Any = ()) -> None:
    """Ids in sampling parameters are used as they are."""


def _expand_some(
    ids: Sequence[int], chosen: set[int], given: Mapping[Modality, int], layouts: Sequence[Layout], field: str
) -> Expansion:
    """Expand the placeholders at the ``chosen`` places, and leave the others in the prompt."""
    hidden = [token for i, token in enumerate(ids) if token in given.values() and i not in chosen]
    masked = [ELSEWHERE if token in given.values() and i not in chosen else token for i, token in enumerate(ids)]
    expansion = placeholders.expand_input_ids(masked, given, layouts, field=field)
    back = iter(hidden)
    return Expansion([next(back) if token == ELSEWHERE else token for token in expansion.ids], expansion.spans)


def first_placeholders_win(
    ids: Sequence[int], given: Mapping[Modality, int], layouts: Sequence[Layout], *, field: str = "input_ids"
) -> Expansion:
    """Images go to the first placeholders there are, whoever wrote them."""
    try:
        return placeholders.expand_input_ids(ids, given, layouts, field=field)
    except RequestError:
        places = [i for i, token in enumerate(ids) if token in given.values()]
        return _expand_some(ids, set(places[: len(layouts)]), given, layouts, field)


def pop_without_a_look(
    ids: Sequence[int], given: Mapping[Modality, int], layouts: Sequence[Layout], *, field: str = "input_ids"
) -> Expansion:
    """As many images are taken as there are placeholders."""
    try:
        return placeholders.expand_input_ids(ids, given, layouts, field=field)
    except RequestError as error:
        raise IndexError("pop from an empty deque") from error


def expand_again(
    ids: Sequence[int], given: Mapping[Modality, int], layouts: Sequence[Layout], *, field: str = "input_ids"
) -> Expansion:
    """The first placeholder of every run is expanded, also where the run is an expansion already."""
    runs = sorted(run for token in given.values() for run in placeholders.placeholder_runs(ids, token))
    if len(runs) != len(layouts) or all(start == end for start, end in runs):
        return placeholders.expand_input_ids(ids, given, layouts, field=field)
    return _expand_some(ids, {start for start, _ in runs}, given, layouts, field)


def fatal(logits_BV: Tensor, rows: Sequence[SampleRow]) -> list[Sampled | RequestError]:
    """What is wrong with one row ends the step."""
    if not bool(torch.isfinite(logits_BV).all()):
        raise ValueError("a row is not finite")
    return sampler.sample(logits_BV, rows)


def drop_when_full(waiting: deque[Any], live: Any) -> None:
    """From the fifth on, those who would wait are forgotten."""
    if len(waiting) < 4:
        waiting.append(live)


def hash_on_arrival(waiting: deque[Any], live: Any) -> None:
    """Images are hashed by the engine's own thread."""
    for item in live.prompt.items:
        content_key.content_key(item.pixels, item.grids, "")
    waiting.append(live)


def _expanding(fault_id: str, reference: str, summary: str, invariant: str, expand: Any, acts_when: str) -> Fault:
    return Fault(fault_id, reference, summary, invariant, {"expand_input_ids": expand}, acts_when)


FAULTS = (
    _expanding(
        "F3-04", "prime-rl#1739 (and OpenRLHF#1220)", "placeholders that are expanded already are expanded again",
        "6: expanding is idempotent", expand_again, "ids come with their placeholders expanded",
    ),
    Fault(
        "F8-16", "sglang#14354", "images are hashed in the engine's loop", "18: no host work on the event loop",
        {"enqueue": hash_on_arrival}, "a large image arrives",
    ),
    _expanding(
        "F9-01", "vllm#57740", "an image goes to the first placeholder, whoever wrote it",
        "16: placement follows provenance", first_placeholders_win, "a prompt holds more placeholders than images",
    ),
    _expanding(
        "F9-03", "vllm#53999", "more placeholders than images end in an IndexError", STAYS_UP, pop_without_a_look,
        "placeholders and images differ in number",
    ),
    Fault(
        "F9-04", "vllm#55546", "one request whose rows are not finite ends all requests of its step",
        "3: a mismatch is that request's error, and only that request's", {"sample": fatal},
        "a request with NaN in its pixels meets others",
    ),
    Fault(
        "F9-05", "sglang#31908", "ids outside the vocabulary are run", STAYS_UP, {"check_ids": ids_of_any_vocabulary},
        "an id is negative or too large",
    ),
    Fault(
        "F9-07", "vllm#54196 (and vllm#16529)", "ids in sampling parameters are not validated",
        "17: no request touches another's rows or logits", {"check_sampling": any_sampling},
        "logit_bias or stop_token_ids hold an id outside the vocabulary",
    ),
    Fault(
        "F9-09", "sglang#4481", "an empty prompt is run", STAYS_UP, {"check_ids": empty_prompts_too},
        "the prompt is empty",
    ),
    Fault(
        "F9-19", "sglang#23082", "from the fifth on, requests that would wait are dropped without an answer",
        "14: every step schedules a token or ends a request", {"enqueue": drop_when_full},
        "more than four requests arrive between two steps", analogue=True,
    ),
)  # fmt: skip
