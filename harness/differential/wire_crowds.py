"""Checks on many requests, at once and one after the other; and on what a server's own books say when they are done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.differential.cases import Case
from harness.differential.wire_bench import WireBench, differences

Finds = Iterator[str]
NEIGHBOURS = 12
"""Good requests that are sent among bad ones."""
ASKED_AGAIN = ("text-2", "one", "three", "video-1")
COMPUTED, FOUND = "assay_prompt_tokens_total", "assay_prefix_tokens_total"
ROWS, BYTES = ("assay_encoder_rows_pinned", "assay_encoder_rows_cached"), "assay_encoder_rows_bytes"


def together_as_alone(bench: WireBench) -> Finds:
    yield from differences(bench.first, bench.wire.ask_together(bench.cases()), "together")
    if not bench.wire.healthy():
        yield "the server is not healthy after many at once"


def bad_neighbours_harm_nobody(bench: WireBench) -> Finds:
    """Among requests that are refused or fail, each by itself, all others are answered as alone."""
    bad, good = [*bench.oracle.poisoned, *bench.cases("refusable")], bench.cases()[:NEIGHBOURS]
    mixed = [case for pair in zip(good, bad, strict=False) for case in pair] + good[len(bad) :] + bad[len(good) :]
    seen = bench.wire.ask_together(mixed)
    yield from differences(bench.first, {case.name: seen[case.name] for case in good}, "among bad requests")
    yield from bench.compare({case.name: seen[case.name] for case in bad}, "among good requests")


def many_pictures_are_told_apart(bench: WireBench) -> Finds:
    """One after the other, whatever is kept: no picture is taken for another one."""
    for case in [*bench.cases("alike"), *bench.cases("tiles")]:
        yield from bench.compare({case.name: bench.wire.ask(case)}, "after others")


def idle_when_done(bench: WireBench) -> Finds:
    yield from (f"{name} is {value} with nothing running" for name, value in bench.wire.gauges().items() if value)


def prompts_are_accounted_for(bench: WireBench) -> Finds:
    """Of every prompt, what is told to be computed and what is told to be found add up to its tokens; and the second
    time, something is found, where a prefix is kept at all."""
    before = bench.wire.metrics()
    if not {COMPUTED, FOUND} <= before.keys():
        return
    for case, turn in ((case, turn) for case in _asked_again(bench) for turn in ("once", "again")):
        seen = bench.wire.ask(case)
        before, earlier = bench.wire.metrics(), before
        computed, found = (before[name] - earlier[name] for name in (COMPUTED, FOUND))
        if seen.ok and computed + found != seen.prompt_tokens:
            yield f"{case.name} {turn}: {computed:.0f} tokens computed, {found:.0f} found, of {seen.prompt_tokens}"
        if seen.ok and turn == "again" and not found and _keeps_of(bench, seen.prompt_tokens):
            yield f"{case.name} again: none of {seen.prompt_tokens} tokens found, all computed"


def _asked_again(bench: WireBench) -> list[Case]:
    return [case for case in bench.cases() if case.name in ASKED_AGAIN]


def _keeps_of(bench: WireBench, tokens: int) -> bool:
    """Whether a prompt of so many tokens fills a block, with one more to compute."""
    return bench.settings.get("prefix_cache", True) and tokens > bench.settings.get("block_size", 16)


def rows_are_of_one_size(bench: WireBench) -> Finds:
    """Whatever encoder rows are held, there are as many bytes to each that is counted."""
    sizes: dict[str, float] = {}
    for case in _asked_again(bench):
        bench.wire.ask(case)
        size = _bytes_a_row(bench.wire.metrics())
        if size is not None:
            sizes[case.name] = size
    if len(set(sizes.values())) > 1:
        yield "bytes to a row: " + ", ".join(f"{size:.1f} after {name}" for name, size in sizes.items())


def _bytes_a_row(metrics: Mapping[str, float]) -> float | None:
    rows = sum(metrics.get(name, 0) for name in ROWS)
    return metrics.get(BYTES, 0) / rows if rows else None
