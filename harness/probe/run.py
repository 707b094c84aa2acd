"""One probe: find out what is spoken, do the checks in their order, and file a verdict for each, whatever happens."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from harness.probe import answers, counts, dialogues, hostile, images
from harness.probe.bench import Bench
from harness.probe.line import Gone, Line, Spent
from harness.probe.outcomes import Lacking, Unsure, Wrong
from harness.probe.pictures import Pictures
from harness.probe.speaking import Speaks, find_out
from harness.progress import Progress
from harness.verdict import Filed, Status, Verdict


@dataclass(frozen=True)
class Check:
    name: str
    find: Callable[[Bench], str]
    """Returns the sentence of a pass; raises for anything else."""
    invariant: int
    source: str
    hostile: bool = False


ENDS = (Gone, Spent)
"""What ends the whole probe."""
GROUPS: dict[str, tuple[Check, ...]] = {
    "counts and ids": (
        Check("texts are counted", counts.texts, 7, "sglang#26555"),
        Check("images cost what the processor says", counts.by_size, 1, "vllm#45244"),
        Check("ids and spans are the predicted ones", counts.ids_by_size, 6, "sglang#26555"),
        Check("several images, mixed sizes", counts.several_images, 1, "sglang#26442"),
        Check("same size, same count", counts.same_size, 1, "vllm#45244"),
        Check("images add up", counts.adds_up, 1, "sglang#26442"),
        Check("an image beside a long text", counts.beside_long_text, 1, "local-inference-lab/vllm#313"),
        Check("larger is not cheaper", counts.larger, 1, "vllm#45244"),
        Check("a typed placeholder is text", counts.typed_placeholder, 16, "vllm#57740"),
    ),
    "pictures": (
        Check("the picture is looked at", images.looked_at, 5, "sglang-omni#258"),
        Check("each picture in its place", images.each_place, 2, "fastllm#750"),
        Check("order matters", images.order, 2, "sglang#11785"),
        Check("text between matters", images.apart, 16, "vllm#15125"),
        Check("pictures with the same beginning", images.lower_half, 4, "vllm-mlx#197"),
        Check("no two pictures alike", images.no_two_alike, 4, "sglang#36595"),
        Check("other proportions", images.other_proportions, 4, "dynamo#8340"),
        Check("going on as asked at once", images.going_on, 11, "sglang#11785"),
        Check("turned files", images.turned_upright, 1, "sglang#33464"),
        Check("grey, palette, alpha", images.in_other_modes, 4, "sglang#26751"),
        Check("alone and in a crowd", images.crowd, 2, "sglang#26442"),
    ),
    "dialogues and token ids": (
        Check("the next prompt begins with the last", dialogues.next_begins_with_last, 8, "sglang#26555"),
        Check("earlier turns count", dialogues.earlier_turns_count, 8, "slime#2288"),
        Check("earlier images are looked at", dialogues.earlier_image_is_looked_at, 5, "sglang#11785"),
        Check("ids run as sent", dialogues.ids_are_kept, 6, "sglang#26555"),
        Check("ids with an image run as sent", dialogues.ids_with_image, 6, "prime-rl#1739"),
        Check("expanded ids run as they are", dialogues.expanded_ids, 6, "prime-rl#1739"),
        Check("a dialogue of ids", dialogues.dialogue_of_ids, 8, "sglang#26555"),
    ),
    "answers": (
        Check("the same again", answers.repeated, 11, "vllm#51902"),
        Check("streamed as whole", answers.streamed, 7, "vllm#29074"),
        Check("text is what its ids say", answers.text_of_ids, 7, "vllm-mlx#109"),
        Check("max_tokens is exact", answers.exact_length, 7, "dynamo#14302"),
        Check("ids, log-probabilities and usage agree", answers.counted_alike, 7, "dynamo#14302"),
        Check("several choices", answers.several_choices, 9, "sglang#23751"),
        Check("seeds", answers.seeds, 9, "vllm#51902"),
        Check("stop strings", answers.stops, 7, "sglang#11462"),
        Check("probabilities", answers.normalised, 7, "rllm#816"),
        Check("no empty fields", answers.no_empty_fields, 9, "sglang#23751"),
    ),
    "hostile inputs": (
        Check("tiny images", hostile.small_images, 17, "PaddleX#5087", hostile=True),
        Check("malformed requests", hostile.refused_and_alive, 17, "vllm#54196", hostile=True),
        Check("at the end as at first", hostile.as_at_first, 17, "fastllm#750"),
    ),
}


@dataclass(frozen=True)
class Wishes:
    url: str
    model: str | None = None
    served_name: str | None = None
    """The model's name in requests; the first that the server lists, otherwise."""
    key: str | None = field(default=None, repr=False)
    hostile: bool = True
    requests: int = 400
    request_timeout: float = 60.0
    time_limit: float = 900.0
    seed: int | None = None


@dataclass
class Report:
    speaks: Speaks
    filed: list[Filed]
    requests: int
    seconds: float
    seed: int
    model: str | None
    tolerance: float
    ended: str | None = None
    """Why it ended early."""


def probe(wishes: Wishes, progress: Progress) -> Report:
    """Raises :class:`~harness.errors.UsageError` where nothing can be asked."""
    started = time.monotonic()
    seed = secrets.randbelow(1 << 31) if wishes.seed is None else wishes.seed
    expected = None
    if wishes.model is not None:
        progress.step("reading the model's processor files")
        from harness.probe.expecting import Expected

        expected = Expected(wishes.model)
    line = Line(
        wishes.url, key=wishes.key, requests=wishes.requests, seconds=wishes.request_timeout,
        time_limit=wishes.time_limit,
    )  # fmt: skip
    try:
        progress.step("finding out what the server speaks")
        speaks, early = Speaks(), None
        try:
            find_out(line, speaks, Pictures(seed ^ 1).one((56, 56)), wishes.served_name)
        except ENDS as error:
            early = error
        bench = Bench(line, speaks, expected, seed)
        filed, ended = _all(bench, wishes.hostile, progress, early)
        tolerance = bench.__dict__.get("tolerance", 0.0)
        return Report(speaks, filed, line.sent, time.monotonic() - started, seed, wishes.model, tolerance, ended)
    finally:
        line.close()


def _all(
    bench: Bench, with_hostile: bool, progress: Progress, early: Exception | None
) -> tuple[list[Filed], str | None]:
    """Every check's verdict, and why the probe ended before the last one; ``early`` is why it did before the first."""
    filed: list[Filed] = []
    ended: str | None = None
    progress.step("asking", sum(map(len, GROUPS.values())))
    for group, check in _in_order():
        verdict = early or _judged(check, bench, ended, with_hostile)
        early = None
        if isinstance(verdict, Exception):
            ended = str(verdict)
            verdict = _ended(check, verdict)
        filed.append(Filed(group, verdict))
        progress.verdict(filed[-1])
        progress.advance()
    return filed, ended


def _in_order() -> Iterable[tuple[str, Check]]:
    return ((group, check) for group, checks in GROUPS.items() for check in checks)


def _judged(check: Check, bench: Bench, ended: str | None, with_hostile: bool) -> Verdict | Exception:
    if ended is not None:
        return _verdict(check, "not_exercised", f"the probe had ended: {ended}")
    if check.hostile and not with_hostile:
        return _verdict(check, "not_exercised", "left out (--no-hostile)")
    try:
        return _verdict(check, "pass", check.find(bench))
    except Wrong as wrong:
        return _verdict(check, "fail", str(wrong), wrong.evidence)
    except Lacking as lacking:
        return _verdict(check, "not_exercised", str(lacking), lacking.evidence)
    except Unsure as unsure:
        return _verdict(check, "cannot_tell", str(unsure), unsure.evidence)
    except ENDS as error:
        return error
    except Exception as error:  # what a server may answer has no end: one check's trouble is not the others'
        return _verdict(check, "fail", f"what came could not be judged: {type(error).__name__}: {error}")


def _ended(check: Check, error: Exception) -> Verdict:
    if isinstance(error, Gone):
        return _verdict(check, "fail", f"the server went away: {error}")
    return _verdict(check, "not_exercised", str(error))


def _verdict(check: Check, status: Status, message: str, evidence: dict[str, object] | None = None) -> Verdict:
    return Verdict(check.name, status, message, check.invariant, check.source, evidence=evidence or {})
