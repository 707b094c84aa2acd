"""Invariant 6, id for id: the prompt as run, with each picture's span put back to one placeholder, is the prompt as
sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, groupby
from typing import Any

from harness.observation import ItemSeen, Observation, Prompt, why_untold
from harness.verdict import Verdict

SOURCE, INVARIANT = "sglang#26555", 6


@dataclass(frozen=True)
class Placeholders:
    """How a model family writes a picture: its placeholder, and what stands between two spans of one picture."""

    id: int
    joiner: tuple[int, ...] = ()


class SpanError(ValueError):
    """The spans that a target reports do not fit the ids that it reports."""


def collapse(
    ids: Sequence[int], items: Sequence[ItemSeen], placeholders: Placeholders, written: Sequence[Sequence[int]] = ()
) -> list[int]:
    """``ids`` with each item put back to one placeholder. Raises :class:`SpanError` when a span holds anything else.
    ``written`` is what each became, where that is known beforehand.
    """
    collapsed: list[int] = []
    position = 0
    for number, item in enumerate(items):
        if not item.spans:
            raise SpanError(f"item {item.item} has no span")
        expected = list(written[number]) if written else _written(item, placeholders)
        first, last = extent(item, expected, placeholders.id)
        if not position <= first <= last < len(ids):
            where = f"outside the {len(ids)} ids or over an earlier item"
            raise SpanError(f"item {item.item} spans {first} to {last}, {where}")
        if list(ids[first : last + 1]) != expected:
            raise SpanError(f"item {item.item}: positions {first} to {last} hold other ids than a picture's")
        collapsed += [*ids[position:first], placeholders.id]
        position = last + 1
    return [*collapsed, *ids[position:]]


def extent(item: ItemSeen, written: Sequence[int], placeholder: int) -> tuple[int, int]:
    """First and last place of all that an item became, tags around its spans included."""
    before, after = written.index(placeholder), written[::-1].index(placeholder)
    return item.spans[0][0] - before, item.spans[-1][1] + after


def _written(item: ItemSeen, placeholders: Placeholders) -> list[int]:
    written: list[int] = []
    for number, (start, end) in enumerate(item.spans):
        written += [*(placeholders.joiner if number else ()), *[placeholders.id] * (end - start + 1)]
    return written


def items_of(prompt: Prompt, seen: Observation, placeholders: Placeholders) -> tuple[ItemSeen, ...]:
    """Where the pictures lie in the prompt as run: as told, or, of a target that never tells, as its ids show: the runs
    of placeholders, in order. None where those are not as many as the pictures have spans.
    """
    if "spans" not in seen.lacks or seen.prompt_ids is None:
        return seen.items
    runs, position = [], 0
    for token, run in groupby(seen.prompt_ids):
        length = len(list(run))
        if token == placeholders.id:
            runs.append((position, position + length - 1))
        position += length
    written = prompt.written or ((placeholders.id,),) * len(prompt.pictures)
    counts = [sum(token == placeholders.id for token, _ in groupby(ids)) for ids in written]
    if sum(counts) != len(runs):
        return ()
    ends = list(accumulate(counts))
    return tuple(ItemSeen(number, tuple(runs[end - counts[number] : end])) for number, end in enumerate(ends))


def first_divergence(sent: Sequence[object], ran: Sequence[object]) -> int | None:
    """The first position at which the two differ, one being longer included; None when they are equal."""
    for position, (a, b) in enumerate(zip(sent, ran, strict=False)):
        if a != b:
            return position
    return None if len(sent) == len(ran) else min(len(sent), len(ran))


def ids_as_sent(
    setting: str,
    prompts: Sequence[Prompt],
    seen: Sequence[Observation],
    placeholders: Placeholders,
    token_text: Callable[[int], str] = str,
) -> Verdict:
    """Compares all ids of every answered request; names the first that differs, in its surroundings."""
    check = f"ids run = ids sent ({setting})"
    compared, wrong = 0, []
    for prompt, answer in zip(prompts, seen, strict=True):
        if answer.prompt_ids is None:
            continue
        compared += 1
        if (finding := _compare(prompt, answer, placeholders, token_text)) is not None:
            wrong.append(finding)
    evidence = {"setting": setting, "compared": compared, "wrong": wrong}
    equal = compared - len(wrong)
    end = partial(
        Verdict, check, invariant=INVARIANT, source=SOURCE, figure=equal, threshold=compared, evidence=evidence
    )
    if not compared:
        reason = "no answer carried the ids as run: not reported, or every request failed"
        return end("not_exercised", why_untold(seen, "prompt_ids") or reason)
    if wrong:
        return end("fail", f"{len(wrong)} of {compared} prompts ran other ids; {wrong[0]['message']}")
    return end("pass", f"every id of {compared} prompts equal, once spans are put back to placeholders")


def _compare(
    prompt: Prompt, seen: Observation, placeholders: Placeholders, token_text: Callable[[int], str]
) -> dict[str, Any] | None:
    ran = list(seen.prompt_ids or ())
    items = items_of(prompt, seen, placeholders)
    if len(items) != len(prompt.pictures):
        message = f"{prompt.name}: {len(prompt.pictures)} pictures sent, spans seen for {len(items)}"
        return {"request": prompt.name, "message": message}
    try:
        collapsed = collapse(ran, items, placeholders, prompt.written)
    except SpanError as error:
        return {"request": prompt.name, "message": f"{prompt.name}: {error}"}
    at = first_divergence(prompt.ids, collapsed)
    if at is None:
        return None
    sent_near, ran_near = (_near(ids, at, token_text) for ids in (prompt.ids, collapsed))
    message = f"{prompt.name}, position {at}: sent {sent_near}, ran {ran_near}"
    return {"request": prompt.name, "position": at, "message": message, "sent": list(prompt.ids), "ran": collapsed}


def _near(ids: Sequence[int], at: int, token_text: Callable[[int], str]) -> str:
    return " ".join(f"{token}[{token_text(token)}]" for token in ids[at : at + 3]) or "(end)"
