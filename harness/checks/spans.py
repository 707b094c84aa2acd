"""Invariants 1 and 3: every span of every picture got exactly the encoder rows that it has placeholders for
(sglang#26442).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from harness.observation import ItemSeen, Observation, Prompt, why_untold
from harness.verdict import Verdict

SOURCE, INVARIANT = "sglang#26442", 1
CHECK = "span length = encoder rows"
SKETCH_TOLERANCE, SKETCH_NOISE = 1e-3, 1e-4
"""Relative to the largest sum, and absolute: noise between batches is far below, another picture's rows far beyond."""


def rows_fill_spans(setting: str, prompts: Sequence[Prompt], seen: Sequence[Observation]) -> Verdict:
    """Names request, picture and span of every mismatch, whether the evidence or the target's own error tells of it."""
    check = f"{CHECK} ({setting})"
    wrong: list[dict[str, Any]] = []
    spans = several = 0
    for prompt, answer in zip(prompts, seen, strict=True):
        several += sum(count > 1 for count in prompt.spans_per_item)
        spans += sum(len(item.spans) for item in answer.items if item.encoder_rows is not None)
        spans += len(answer.mismatch.spans) if answer.mismatch else 0
        wrong += _mismatches(prompt, answer)
    evidence = {"setting": setting, "spans": spans, "pictures_with_several_spans": several, "wrong": wrong}
    end = partial(Verdict, check, invariant=INVARIANT, source=SOURCE, figure=len(wrong), threshold=0, evidence=evidence)
    if wrong:
        return end("fail", f"{len(wrong)} mismatches; {wrong[0]['message']}")
    if not spans:
        return end("not_exercised", why_untold(seen, "encoder_rows") or "no answer told of any span")
    return end("pass", f"{spans} spans filled exactly; {several} pictures have several")


def rows_unchanged(
    names: tuple[str, str], prompts: Sequence[Prompt], seen: tuple[Sequence[Observation], Sequence[Observation]]
) -> Verdict:
    """Invariant 2: a picture's rows do not depend on its batch. Sees a neighbour's rows of the right number."""
    check = f"each picture's own rows ({names[1]} as {names[0]})"
    compared, wrong = 0, []
    for prompt, a, b in zip(prompts, *seen, strict=True):
        for before, after in zip(a.items, b.items, strict=False):
            if not before.rows_sketch or not after.rows_sketch:
                continue
            compared += 1
            if not _alike(before.rows_sketch, after.rows_sketch):
                message = (
                    f"{prompt.name}, image {after.item + 1}: {len(after.spans)} span(s) hold another picture's rows"
                )
                wrong.append({"request": prompt.name, "item": after.item, "message": message})
    evidence = {"settings": list(names), "compared": compared, "wrong": wrong}
    end = partial(Verdict, check, invariant=2, source=SOURCE, figure=len(wrong), threshold=0, evidence=evidence)
    if wrong:
        return end("fail", f"{len(wrong)} of {compared} pictures got other rows; {wrong[0]['message']}")
    if not compared:
        reason = why_untold([*seen[0], *seen[1]], "encoder_rows") or "the target gives no sketch of the rows"
        return end("not_exercised", reason)
    return end("pass", f"{compared} pictures have the same rows in both")


def _alike(a: Sequence[float], b: Sequence[float]) -> bool:
    scale = max(map(abs, (*a, *b)), default=0.0)
    return all(abs(x - y) <= SKETCH_TOLERANCE * scale + SKETCH_NOISE for x, y in zip(a, b, strict=True))


def _mismatches(prompt: Prompt, seen: Observation) -> list[dict[str, Any]]:
    found = [entry for item in seen.items for entry in _item(prompt.name, item)]
    if seen.mismatch is not None:
        told = seen.mismatch
        message = (
            f"{prompt.name}, image {told.item + 1}: spans {_spans(told.spans)} hold {told.expected} placeholders, "
            f"the encoder's rows for it are {told.rows}"
        )
        placeholders = [end - start + 1 for start, end in told.spans]
        found.append(
            {"request": prompt.name, "item": told.item, "span": list(told.spans), "placeholders": placeholders}
            | {"rows": [told.rows], "expected": told.expected, "message": message, "refused": True}
        )
    for item, wanted in zip(seen.items, prompt.spans_per_item, strict=False):
        if len(item.spans) != wanted:
            message = f"{prompt.name}, image {item.item + 1}: {len(item.spans)} spans, made for {wanted}"
            found.append({"request": prompt.name, "item": item.item, "message": message, "span": list(item.spans)})
    return found


def _item(request: str, item: ItemSeen) -> list[dict[str, Any]]:
    if item.encoder_rows is None:
        return []
    if len(item.spans) != len(item.encoder_rows):
        message = f"{request}, image {item.item + 1}: {len(item.spans)} spans but rows for {len(item.encoder_rows)}"
        entry = {"request": request, "item": item.item, "span": list(item.spans), "rows": list(item.encoder_rows)}
        return [entry | {"message": message}]
    found = []
    for span, rows in zip(item.spans, item.encoder_rows, strict=True):
        length = span[1] - span[0] + 1
        where = f"{request}, image {item.item + 1}, span {_spans([span])}"
        entry = {"request": request, "item": item.item, "span": [span], "placeholders": [length], "rows": [rows]}
        if length != rows:
            found.append(
                entry | {"expected": length, "message": f"{where}: {length} placeholders, {rows} encoder rows"}
            )
    return found


def _spans(spans: Sequence[tuple[int, int]]) -> str:
    return ", ".join(f"{start} to {end}" for start, end in spans)
