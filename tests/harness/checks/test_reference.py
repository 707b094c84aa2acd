from __future__ import annotations

from dataclasses import replace

from observations import JOINER, PAD, answer, prompt, refused

from harness.checks.identity import Placeholders
from harness.checks.reference import (
    TOLERANCES,
    Compared,
    answer_gaps,
    answered_as_reference,
    counts_as_reference,
    greedy_as_reference,
    prompt_gaps,
    prompts_as_reference,
    spans_as_reference,
)
from harness.observation import ItemSeen, Observation, Scored

TOLERANCE = TOLERANCES["float32"]
PROMPT_SCORES = (None, Scored(97, -3.0), None, None, None, None, Scored(98, -1.0), Scored(2, -2.0), Scored(3, -2.5))
REFERENCE = answer(scored=PROMPT_SCORES, logprobs=(-0.1, -0.2))
ANSWERED = (*PROMPT_SCORES, Scored(7, -0.1, ((7, -0.1), (8, -3.0))), Scored(0, -0.2, ((0, -0.2), (9, -2.0))))


def word(token: int) -> str:
    return f"t{token}"


def pair(seen: Observation, reference: Observation = REFERENCE) -> list[Compared]:
    return [Compared(prompt(), seen, reference, ANSWERED)]


def test_equal_answers_pass_every_check() -> None:
    same = pair(REFERENCE)
    verdicts = [
        answered_as_reference(same),
        prompts_as_reference(same, word),
        counts_as_reference(same),
        spans_as_reference(same, Placeholders(PAD, JOINER)),
        prompt_gaps(same, TOLERANCE, word),
        answer_gaps(same, TOLERANCE, word),
        greedy_as_reference(same, TOLERANCE, word),
    ]
    assert [verdict.status for verdict in verdicts] == ["pass"] * 7


def test_a_request_that_only_one_answers_is_a_difference() -> None:
    verdict = answered_as_reference(pair(refused()))
    assert verdict.status == "fail"
    assert "target refused with 500: no, reference answered" in verdict.message


def test_a_refusal_must_be_a_4xx_and_silence_is_none() -> None:
    both = refused(status=422)
    assert answered_as_reference(pair(both, both)).status == "pass"
    assert "target refused with 500" in answered_as_reference(pair(refused(), both)).message
    assert "target gave no answer: died" in answered_as_reference(pair(refused(status=0, error="died"), both)).message


def test_the_first_other_id_of_the_prompt_is_shown_between_its_neighbours() -> None:
    ran = replace(REFERENCE, prompt_ids=(1, 97, PAD, PAD, PAD, 98, 2, 3))
    verdict = prompts_as_reference(pair(ran), word)
    assert verdict.status == "fail"
    assert (
        "position 5: reference 99[t99] 99[t99] |99[t99]| 98[t98], ran 99[t99] 99[t99] |98[t98]| 2[t2]"
        in verdict.message
    )


def test_counts_and_spans() -> None:
    assert "8, not 9" in counts_as_reference(pair(replace(REFERENCE, prompt_tokens=8))).message
    shifted = replace(REFERENCE, items=(ItemSeen(0, ((1, 4),)),))
    verdict = spans_as_reference(pair(shifted), Placeholders(PAD, JOINER))
    assert "image 1: [((1, 4),)], not [((2, 5),)]" in verdict.message
    untold = replace(REFERENCE, items=(), lacks={"spans": "unsupported by x 1 (no)"})
    verdict = spans_as_reference(pair(untold), Placeholders(PAD, JOINER))
    assert (verdict.status, verdict.message) == ("not_exercised", "unsupported by x 1 (no)")


def test_a_gap_in_the_prompt_says_after_which_image_it_begins() -> None:
    scores = (*PROMPT_SCORES[:7], Scored(2, -2.01), Scored(3, -9.0))
    verdict = prompt_gaps(pair(replace(REFERENCE, scored=scores)), TOLERANCE, word)
    assert verdict.status == "fail"
    assert "p, position 7 (after image 1), token 2[t2]: -2.01000, the reference -2.00000" in verdict.message
    assert verdict.figure == 6.5
    near = (*PROMPT_SCORES[:8], Scored(3, -2.5005))
    assert prompt_gaps(pair(replace(REFERENCE, scored=near)), TOLERANCE, word).status == "pass"


def test_equal_tokens_do_not_hide_a_gap_in_the_answer() -> None:
    off = replace(REFERENCE, logprobs=(-0.1, -0.9))
    assert greedy_as_reference(pair(off), TOLERANCE, word).status == "pass"
    verdict = answer_gaps(pair(off), TOLERANCE, word)
    assert verdict.status == "fail"
    assert "position 10 (after image 1), token 0[t0]: -0.90000, the reference -0.20000" in verdict.message


def test_no_log_probabilities_are_no_pass() -> None:
    verdict = prompt_gaps(pair(answer()), TOLERANCE, word, "unsupported by x 1 (no)")
    assert (verdict.status, verdict.message) == ("not_exercised", "unsupported by x 1 (no)")
    assert answer_gaps(pair(answer(logprobs=())), TOLERANCE, word).status == "not_exercised"


def test_answers_that_part_fail_unless_the_reference_holds_both_tokens_as_likely() -> None:
    other = replace(REFERENCE, output_ids=(8, 0))
    held = (*PROMPT_SCORES, Scored(8, -3.0, ((7, -0.1), (8, -3.0))), ANSWERED[-1])
    verdict = greedy_as_reference([Compared(prompt(), other, REFERENCE, held)], TOLERANCE, word)
    assert verdict.status == "fail"
    told = "token 0: reference |7[t7]| 0[t0], target |8[t8]| 0[t0]; the reference holds 7[t7] -0.100 8[t8] -3.000"
    assert told in verdict.message
    tied = (*PROMPT_SCORES, Scored(8, -0.1001, ((7, -0.1), (8, -0.1001))), ANSWERED[-1])
    verdict = greedy_as_reference([Compared(prompt(), other, REFERENCE, tied)], TOLERANCE, word)
    assert verdict.status == "pass"
    assert "1 part where two tokens are as likely" in verdict.message
