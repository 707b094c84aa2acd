"""What is asked of an engine, and of its answers to whom they must be equal. A check yields the first things that are
wrong, in words; nothing where nothing is.

Every check knows the invariants that it states. None knows what may have been planted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from harness.differential.bench import Bench
from harness.differential.cases import Case
from harness.differential.check import Check
from harness.differential.running import ask, ask_all
from harness.differential.seen import Seen, difference, evidence_difference
from harness.differential.storms import STORM_CHECKS
from reference_engine import Engine

Finds = Iterator[str]


def _compare(
    expected: Mapping[str, Seen], got: Iterable[tuple[str, Seen]], how: str,
    differs: Callable[[Seen, Seen], str | None] = difference,
) -> Finds:  # fmt: skip
    for name, seen in got:
        found = differs(expected[name], seen)
        if found is not None:
            yield f"{name} {how}: {found}"


def _one_by_one(bench: Bench, cases: Iterable[Case], **settings: Any) -> Iterator[tuple[str, Seen]]:
    return ((case.name, ask(bench.engine(**settings), case)) for case in cases)


# -- against the oracle


def as_the_oracle(bench: Bench) -> Finds:
    """Each plain case alone."""
    yield from _compare(bench.oracle.plain, ((case.name, bench.alone[case.name]) for case in bench.cases()), "alone")


def as_run_by_the_oracle(bench: Bench) -> Finds:
    """Each plain case alone, by its evidence: ids, spans, positions, rows."""
    for case in bench.cases():
        seen, expected = ask(bench.engine(), case, want_evidence=True), bench.oracle.with_evidence[case.name]
        found = evidence_difference(expected.evidence, seen.evidence) or difference(expected, seen)
        if found is not None:
            yield f"{case.name} with evidence: {found}"


def refused_as_by_the_oracle(bench: Bench) -> Finds:
    """What the oracle refuses is refused with its status; what it answers is answered the same."""
    for case in bench.cases("refusable"):
        seen = ask(bench.engine(), case)
        if seen.status == 0 or seen.status >= 500:
            yield f"{case.name}: {seen.error or 'no answer'}"
        found = difference(bench.oracle.plain[case.name], seen)
        if found is not None:
            yield f"{case.name}: {found}"


def every_form_the_same(bench: Bench) -> Finds:
    """Text, ids, expanded ids, odd ids, a processor's output: the same prompt, the same answer."""
    for form in bench.oracle.forms:
        seen = ask(bench.engine(), form.case)
        found = difference(bench.oracle.plain[form.like or form.case.name], seen)
        if found is not None:
            yield f"{form.case.name}: {found}"


def prompts_scored_the_same(bench: Bench) -> Finds:
    """Log-probabilities of the prompt: from the start, from inside; cold, warm and in chunks."""
    cases = {case.name: case for case in bench.cases()}
    for settings in ({"block_size": 4}, {"block_size": 4, "chunked_prefill": 7}):
        for (name, start), expected in bench.oracle.scores.items():
            engine = bench.engine(**settings)
            for turn in ("cold", "warm"):
                found = difference(expected, ask_all(engine, [cases[name]], logprob_start=start)[name])
                if found is not None:
                    yield f"{name} scored from {start}, {settings}, {turn}: {found}"


# -- against itself


def in_a_crowd_as_alone(bench: Bench) -> Finds:
    yield from _compare(bench.alone, ask_all(bench.engine(), bench.cases()).items(), "in a crowd")
    yield from _compare(bench.alone, ask_all(bench.engine(), bench.cases()[::-1], apart=2).items(), "in a stream")


def in_a_small_pool_as_alone(bench: Bench) -> Finds:
    """Blocks, encoder rows and seats are short: requests wait, are preempted and come back."""
    longest = max(seen.prompt_tokens for seen in bench.oracle.plain.values())
    blocks, rows = -(-(longest + 40) // 4), max(64, longest)
    engine = bench.engine(num_blocks=blocks, block_size=4, encoder_rows=rows, max_batch_size=6)
    yield from _compare(bench.alone, ask_all(engine, bench.cases(), apart=1).items(), "in a small pool")


def warm_as_cold(bench: Bench) -> Finds:
    """One after the other with caches kept, twice; pictures of one size after the same text among them."""
    engine = bench.engine(block_size=4)
    for turn in ("after others", "the second time"):
        for case in bench.cases():
            seen = ask_all(engine, [case])
            yield from _compare(bench.alone, seen.items(), turn)
            if seen[case.name].status == 0:
                engine = bench.engine(block_size=4)


def in_chunks_as_whole(bench: Bench) -> Finds:
    """Also chunks that are smaller than a block."""
    few = bench.pictured[:4] or bench.cases(having="text-")
    for size, block, cases in ((5, 4, few), (3, 16, few[:1]), (16, 16, bench.pictured + bench.cases(having="text-"))):
        got = _one_by_one(bench, cases, chunked_prefill=size, block_size=block)
        yield from _compare(bench.alone, got, f"in chunks of {size}")
    crowd = ask_all(bench.engine(chunked_prefill=16, block_size=8), bench.cases())
    yield from _compare(bench.alone, crowd.items(), "in chunks, in a crowd")


SETTINGS: tuple[Mapping[str, Any], ...] = (
    {"encoder_cache": False}, {"prefix_cache": False}, {"vit_batching": "per_item"}, {"cuda_graph": True},
    {"encoder_cache": False, "prefix_cache": False, "chunked_prefill": 16},
)  # fmt: skip


def with_settings_as_without(bench: Bench) -> Finds:
    """Toggles change no answer."""
    for settings in SETTINGS:
        if settings.get("cuda_graph") and bench.engine().family.traits.recurrent:
            continue
        said = ", ".join(f"{name}={value}" for name, value in settings.items())
        cases = bench.cases()
        yield from _compare(bench.alone, ask_all(bench.engine(**settings), cases).items(), f"with {said}")
        yield from _compare(
            bench.alone, ask_all(bench.engine(**settings), cases[:4], apart=1).items(), f"with {said}, few"
        )


def after_bad_neighbours(bench: Bench) -> Finds:
    """Among requests that are refused or fail, all others are answered as alone."""
    bad = [*bench.cases("refusable"), *bench.oracle.poisoned]
    good = bench.cases()[:8]
    mixed = [case for pair in zip(good, bad, strict=False) for case in pair] + good[len(bad) :] + bad[len(good) :]
    seen = ask_all(bench.engine(), mixed)
    yield from _compare(bench.alone, ((case.name, seen[case.name]) for case in good), "among bad requests")
    for case in bench.oracle.poisoned:
        if seen[case.name].status == 200:
            yield f"{case.name}: answered"
    yield from _compare(bench.alone, _one_by_one(bench, good[:2]), "after bad requests")


def sampled_placeholders_are_text(bench: Bench) -> Finds:
    """A model that samples its own placeholder goes on, and so do its neighbours."""
    engine = bench.engine()
    if not bench.pictured:
        return
    first = bench.pictured[0]
    placeholder = engine.prepare(first.request()).items[0]
    feature = engine.prepare(first.request()).ids[placeholder.spans[0][0]]
    sampling = first.sampling.__class__(max_new_tokens=4, ignore_eos=True, logit_bias={feature: 100.0})
    seen = ask_all(engine, [first, *bench.cases(having="text-")])
    yield from _compare(bench.alone, seen.items(), "beside others")
    alone = ask(engine, first, sampling=sampling)
    if not alone.ok or alone.choices[0].ids != [feature] * 4:
        yield f"{first.name} made to sample {feature}: {alone.error or alone.choices[0].ids}"


# -- of every answer by itself


def answers_add_up(bench: Bench) -> Finds:
    """Ids, log-probabilities, text and stream of an answer are of one piece."""
    crowd = ask_all(bench.engine(), bench.cases(), apart=1)
    alone = {case.name: bench.alone[case.name] for case in bench.cases()}
    for name, seen in [*alone.items(), *crowd.items()]:
        for index, choice in enumerate(seen.choices if seen.ok else ()):
            said = f"{name}, choice {index}"
            if len(choice.ids) != len(choice.logprobs):
                yield f"{said}: {len(choice.ids)} ids, {len(choice.logprobs)} log-probabilities"
            if choice.streamed_ids != choice.ids:
                yield f"{said}: streamed ids {choice.streamed_ids}, in the answer {choice.ids}"
            if choice.streamed_text != choice.text:
                yield f"{said}: streamed {choice.streamed_text!r}, in the answer {choice.text!r}"
            if choice.streamed_logprobs != choice.logprobs:
                yield f"{said}: streamed log-probabilities are not the answer's"
            if any(value > 0 for value in choice.logprobs):
                yield f"{said}: a log-probability above 0"
            if not _decodes(bench.engine(), choice.ids, choice.text, choice.finish):
                yield f"{said}: text {choice.text!r} is not that of ids {choice.ids}"


def _decodes(engine: Engine, ids: list[int], text: str, finish: str) -> bool:
    if finish == "length":
        return text == engine.codec.text(ids)
    return engine.codec.text(ids).startswith(text)


def text_can_be_sent(bench: Bench) -> Finds:
    """Answers cut anywhere are text that UTF-8 can hold."""
    for name, seen in ((case.name, bench.alone[case.name]) for case in bench.cases()):
        for choice in seen.choices:
            try:
                choice.text.encode()
            except UnicodeEncodeError as error:
                yield f"{name}: {error}"


# -- of the books


def books_agree(bench: Bench) -> Finds:
    """After every step of a crowd that is short of room, with some aborted on the way; and at the end."""
    longest = max(seen.prompt_tokens for seen in bench.oracle.plain.values())
    engine = bench.engine(
        num_blocks=-(-(longest + 40) // 4), block_size=4, chunked_prefill=24, encoder_rows=max(64, longest),
    )  # fmt: skip
    steps = iter(range(1 << 30))

    def look(running: Engine) -> None:
        running.check_integrity()
        if next(steps) % 5 == 2 and running._live:
            running.abort(sorted(running._live)[0])

    before = _gauges(engine)
    seen = ask_all(engine, bench.cases(), after_step=look, apart=1)
    yield from (f"{name}: {one.error}" for name, one in seen.items() if one.status == 0)
    if not any(one.status == 0 for one in seen.values()):
        engine.flush_cache()
        yield from (
            f"{name} is {value} when all is done, not {before[name]}"
            for name, value in _gauges(engine).items()
            if value != before[name]
        )


def _gauges(engine: Engine) -> dict[str, float]:
    return {name: value for name, value in engine.counters().items() if not name.partition("{")[0].endswith("_total")}


def nothing_left_after_a_flush(bench: Bench) -> Finds:
    engine = bench.engine(block_size=4)
    cases = bench.cases()[:6]
    ask_all(engine, cases)
    engine.flush_cache()
    for case in cases:
        engine.flush_cache()
        evidence = ask_all(engine, [case], want_evidence=True)[case.name].evidence
        sources = {item.source for item in evidence.items if evidence} if evidence else set()
        if evidence and (evidence.cached_tokens or sources - {"encoded", "shared"}):
            yield f"{case.name} after a flush: {evidence.cached_tokens} tokens cached, rows {sorted(sources)}"


def counts_are_possible(bench: Bench) -> Finds:
    """What is said to come from a cache is at most what there is."""
    engine = bench.engine(block_size=4)
    for _ in range(2):
        for name, seen in ask_all(engine, bench.cases(), apart=1, want_evidence=True).items():
            if seen.evidence and not 0 <= seen.evidence.cached_tokens < max(1, seen.prompt_tokens):
                yield f"{name}: {seen.evidence.cached_tokens} of {seen.prompt_tokens} prompt tokens cached"


CHECKS = (
    Check("alone = oracle", (1, 2, 3, 4, 6, 7, 10, 11, 16, 17), as_the_oracle),
    Check("refused as by the oracle", (1, 3, 16, 17), refused_as_by_the_oracle),
    Check("evidence = oracle's", (1, 2, 3, 4, 6, 10, 16), as_run_by_the_oracle),
    Check("every form the same", (6, 9, 10, 16), every_form_the_same),
    Check("answers add up", (7, 17), answers_add_up),
    Check("text can be sent", (17,), text_can_be_sent),
    Check("crowd = alone", (2, 10, 11, 12, 14, 15, 17), in_a_crowd_as_alone),
    Check("warm = cold", (4, 5, 11), warm_as_cold),
    Check("chunks = whole", (10, 11, 12, 14, 15), in_chunks_as_whole),
    Check("small pool = alone", (4, 11, 13, 14), in_a_small_pool_as_alone),
    Check("any setting = default", (2, 4, 11, 12, 15), with_settings_as_without),
    Check("bad neighbours harm nobody", (3, 14, 17), after_bad_neighbours),
    Check("sampled placeholders are text", (16,), sampled_placeholders_are_text),
    Check("prompts scored the same", (6, 7, 11), prompts_scored_the_same),
    Check("books agree", (13, 14), books_agree),
    Check("a flush leaves nothing", (13,), nothing_left_after_a_flush),
    Check("counts are possible", (7, 13), counts_are_possible),
    *STORM_CHECKS,
)
