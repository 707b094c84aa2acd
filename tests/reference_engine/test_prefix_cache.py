"""Sharing what prompts begin with: keys that tell images apart, and answers that do not tell warm from cold."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_engine import Request, SamplingParams
from reference_engine.block_pool import BlockPool
from reference_engine.multimodal.placeholders import build_padded_input_ids
from reference_engine.prefix_cache import KeyChain, cached_prefix, pad_value

IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
PLACEHOLDER = 9
contents = st.binary(min_size=32, max_size=32)


def chain_of(ids: list[int], block_size: int) -> KeyChain:
    chain = KeyChain(block_size)
    chain.extend(ids)
    return chain


@given(st.lists(st.integers(0, 200_000), max_size=60), st.integers(1, 9), st.lists(st.integers(0, 60), max_size=5))
def test_a_chain_does_not_depend_on_how_its_tokens_came(ids: list[int], size: int, cuts: list[int]) -> None:
    pieces, last = KeyChain(size), 0
    for cut in [*sorted(min(c, len(ids)) for c in cuts), len(ids)]:
        pieces.extend(ids[last:cut])
        last = cut
    whole = chain_of(ids, size)
    assert pieces == whole == whole.copy()
    assert len(whole.keys) == len(ids) // size


@given(contents, contents, st.integers(1, 20), st.integers(1, 20), st.integers(1, 5))
def test_another_image_changes_the_keys_from_its_first_token_on(
    a: bytes, b: bytes, before: int, tokens: int, size: int
) -> None:
    ids = [1] * before + [PLACEHOLDER] * tokens + [2] * size
    spans = [(before, before + tokens - 1)]
    keys = [chain_of(build_padded_input_ids(ids, [(spans, pad_value(c))]), size).keys for c in (a, b)]
    same = [x == y for x, y in zip(*keys, strict=True)]
    first = before // size
    assert same == ([True] * len(same) if a == b else [True] * first + [False] * (len(same) - first))


@given(contents, contents, st.integers(1, 5))
def test_an_image_that_follows_changes_nothing_before_it(a: bytes, b: bytes, size: int) -> None:
    ids = [1, PLACEHOLDER, PLACEHOLDER, 2]
    one = chain_of(build_padded_input_ids(ids, [([(1, 2)], pad_value(a))]), size).keys
    items = [([(1, 2)], pad_value(a)), ([(4, 7)], pad_value(b))]
    two = chain_of(build_padded_input_ids([*ids, *[PLACEHOLDER] * 4], items), size).keys
    assert two[: len(one)] == one


def test_a_pad_value_is_no_token_and_keeps_every_bit() -> None:
    assert pad_value(bytes(32)) > 1 << 255
    assert len({pad_value(bytes([*[0] * i, 1, *[0] * (31 - i)])) for i in range(32)}) == 32


def test_the_last_token_is_always_computed() -> None:
    pool, chain = BlockPool(4), chain_of(list(range(8)), 4)
    for block, key in zip(pool.allocate(2), chain.keys, strict=True):
        pool.publish(block, key)
    assert len(cached_prefix(pool, chain, 8)) == 1
    assert len(cached_prefix(pool, chain, 9)) == 2


def ask(engine: Any, case: Any, name: str = "a") -> Any:
    [answer] = engine.generate([case.request(name, want_evidence=True)])
    assert answer.error is None
    return answer


@pytest.mark.parametrize("chunked_prefill", [0, 7])
@pytest.mark.parametrize("block_size", [1, 4, 16])
def test_warm_equals_cold(lively: Any, make_cases: Any, chunked_prefill: int, block_size: int) -> None:
    cases = make_cases(10, seed=61, max_images=2)
    expected = [lively.oracle.generate(case) for case in cases]
    engine = lively.engine(block_size=block_size, num_blocks=8192 // block_size, chunked_prefill=chunked_prefill)
    inside = 0
    for _ in ("cold", "warm"):
        for case, right in zip(cases, expected, strict=True):
            answer = ask(engine, case)
            assert answer.output_ids == right.ids
            assert answer.logprobs == pytest.approx(right.logprobs, abs=2e-4)
            cached = answer.evidence.cached_tokens
            spans = [span for item in answer.evidence.items for span in item.spans]
            inside += any(start < cached <= end for start, end in spans)
    assert cached == (answer.prompt_tokens - 1) // block_size * block_size
    assert answer.evidence.toggles["prefix_cache"]["acted"] == (cached > 0)
    assert inside or block_size < 16, "no cached beginning ended inside an image"


def test_the_same_text_with_another_image_shares_only_the_text(lively: Any, make_case: Any, picture: Any) -> None:
    engine = lively.engine(block_size=4)
    cases = [make_case(f"{'read ' * 9}{IMAGE}row", [picture((140, 140), seed)], 6, True) for seed in (1, 2, 1)]
    first = engine.prepare(cases[0].request("p")).items[0].spans[0][0]
    answers = [ask(engine, case) for case in cases]
    assert [a.evidence.cached_tokens for a in answers[:2]] == [0, first // 4 * 4]
    assert answers[2].evidence.cached_tokens > first
    assert [a.output_ids for a in answers] == [lively.oracle.generate(case).ids for case in cases]


def test_a_text_may_warm_the_beginning_of_a_prompt_with_an_image(lively: Any, make_case: Any, picture: Any) -> None:
    """fastllm#750: a hit on the text let the image be skipped."""
    engine = lively.engine(block_size=4)
    text = "read " * 12
    ask(engine, make_case(text, [], 3, True))
    case = make_case(f"{text}{IMAGE}row", [picture((84, 56), 5)], 6, True)
    answer = ask(engine, case)
    assert answer.evidence.cached_tokens > 0
    assert answer.output_ids == lively.oracle.generate(case).ids


def test_the_next_turn_finds_image_and_answer_of_the_last(lively: Any, picture: Any) -> None:
    """sglang#11785: a second image must not hide the first; the answer's own blocks are found too."""
    engine = lively.engine(block_size=4)
    images, sampling = (
        [picture((140, 140), 1), picture((84, 56), 2)],
        SamplingParams(max_new_tokens=12, ignore_eos=True),
    )
    ids = engine.tokenizer(f"{IMAGE}read the row")["input_ids"]
    [first] = engine.generate([Request("1", input_ids=ids, images=images[:1], sampling=sampling)])
    again = [*ids, *first.output_ids, *engine.tokenizer(f"{IMAGE}and this")["input_ids"]]
    follow_up = Request("2", input_ids=again, images=images, sampling=sampling, want_evidence=True)
    [second] = engine.generate([follow_up])
    known = first.prompt_tokens + len(first.output_ids) - 1
    assert second.evidence.cached_tokens == known // 4 * 4
    engine.flush_cache()
    assert engine.generate([follow_up])[0].output_ids == second.output_ids


def test_equal_prompts_at_once_are_computed_once(lively: Any, make_case: Any, picture: Any) -> None:
    engine = lively.engine(block_size=4, chunked_prefill=16)
    case = make_case(f"{IMAGE}read", [picture((140, 140), 3)], 8, True)
    before = engine.counters()
    answers = engine.generate([case.request(str(i), want_evidence=True) for i in range(6)])
    assert [a.output_ids for a in answers] == [lively.oracle.generate(case).ids] * 6
    prompt = answers[0].prompt_tokens
    shared = (prompt - 1) // 4 * 4
    assert [a.evidence.cached_tokens for a in answers] == [0, *[shared] * 5]
    after = engine.counters()
    assert after["prompt_tokens_total"] - before["prompt_tokens_total"] == prompt + 5 * (prompt - shared)
    assert after["prefix_hits_total"] - before["prefix_hits_total"] == 5


def test_a_small_pool_evicts_and_stays_right(lively: Any, make_cases: Any) -> None:
    cases = make_cases(12, seed=62, max_images=1)
    expected = [lively.oracle.generate(case).ids for case in cases]
    engine = lively.engine(num_blocks=20, block_size=8, check_every_step=True)
    before = engine.counters()["blocks_evicted_total"]
    for _ in range(2):
        answers = engine.generate([case.request(str(i)) for i, case in enumerate(cases)])
        assert [a.output_ids for a in answers] == expected
    after = engine.counters()
    assert after["blocks_evicted_total"] > before
    assert after["blocks_free"] == after["blocks_total"]


def test_flushing_while_something_runs_forgets_that_too(lively: Any, make_case: Any) -> None:
    engine = lively.engine(block_size=4)
    case = make_case("read " * 10, [], 9, True)
    engine.submit(case.request("runs"))
    engine.step()
    engine.flush_cache()
    while engine.has_work():
        engine.step()
        engine.check_integrity()
    assert engine.counters()["blocks_cached"] == 0
    assert ask(engine, case).evidence.cached_tokens == 0


def test_off_keeps_nothing_and_says_so(lively: Any, make_case: Any) -> None:
    engine = lively.engine(block_size=4, prefix_cache=False)
    for _ in range(2):
        answer = ask(engine, make_case("read " * 10, [], 9, True))
    assert answer.evidence.toggles["prefix_cache"] == {
        "setting": False, "acted": False, "reason": "prompts share nothing in this setting",
    }  # fmt: skip
    assert engine.counters()["blocks_cached"] == 0
