"""Checks on what a server runs for a prompt, in whatever form it comes, and on what it says of its tokens."""

from __future__ import annotations

from collections.abc import Iterator

from harness.differential.seen import TOLERANCE, Choice, Seen, difference
from harness.differential.wire_bench import WireBench, differences

Finds = Iterator[str]
LIKELIEST = 4
SURVEYED = ("text-0", "one", "option-longer", "option-choices", "video-0")


def run_as_predicted(bench: WireBench) -> Finds:
    """Ids as run and tokens as counted are those that sizes, tokenizer and configuration make, without any server."""
    for name, seen in bench.first.items():
        yield from _unlike_its_prediction(bench, name, seen)


def _unlike_its_prediction(bench: WireBench, name: str, seen: Seen) -> Finds:
    """Of an answer; a refusal is another check's."""
    if not seen.ok:
        return
    predicted = bench.oracle.prompts[name]
    if seen.prompt_tokens != predicted.usage["prompt_tokens"]:
        yield f"{name}: {seen.prompt_tokens} prompt tokens, predicted are {predicted.usage['prompt_tokens']}"
    if seen.prompt_ids != predicted.prompt_ids:
        yield f"{name}: ids as run {_short(seen.prompt_ids)}, predicted are {_short(predicted.prompt_ids)}"


def _short(ids: list[int] | None) -> str:
    return f"{str(ids)[:80]}... ({len(ids)})" if ids else str(ids)


def every_form_the_same(bench: WireBench) -> Finds:
    """Ids, ids expanded already, ids that no tokenizer makes, a processor's output: one prompt, one answer."""
    for form in bench.oracle.forms:
        seen = bench.wire.ask(form.case, return_prompt_token_ids=True)
        yield from bench.compare({form.case.name: seen}, "alone")
        yield from _unlike_its_prediction(bench, form.case.name, seen)


def prompts_scored_the_same(bench: WireBench) -> Finds:
    """Log-probabilities of a prompt, from the start and from inside, whatever of it is kept from before."""
    cases = {case.name: case for case in bench.cases()}
    for (name, start), expected in bench.oracle.scores.items():
        for turn in ("once", "again"):
            seen = bench.wire.ask(cases[name], logprob_start_len=start)
            yield from differences({name: expected}, {name: seen}, f"scored from {start} {turn}")


def likeliest_are_likeliest(bench: WireBench) -> Finds:
    """Of the likeliest tokens none is less likely than one that is not told, and all change nothing else."""
    for case in (case for case in bench.cases() if case.name in SURVEYED):
        seen = bench.wire.ask(case, top_logprobs_num=LIKELIEST)
        found = difference(bench.first[case.name], seen)
        if found is not None:
            yield f"{case.name} with likeliest tokens: {found}"
        for choice in seen.choices:
            yield from (f"{case.name}: {found}" for found in wrong_among_likeliest(choice))


def wrong_among_likeliest(choice: Choice) -> Finds:
    """What cannot be of the likeliest tokens told beside each token of an answer."""
    if len(choice.likeliest) != len(choice.ids):
        yield f"likeliest tokens in {len(choice.likeliest)} places of {len(choice.ids)}"
    for token, logprob, likeliest in zip(choice.ids, choice.logprobs, choice.likeliest, strict=False):
        told = dict(likeliest)
        values = list(told.values())
        if len(told) != LIKELIEST or values != sorted(values, reverse=True):
            yield f"the {LIKELIEST} likeliest tokens are {likeliest}"
        elif abs(told.get(token, logprob) - logprob) > TOLERANCE or logprob > values[0 if token in told else -1]:
            yield f"token {token} has {logprob:.4f}, the likeliest ones {likeliest}"
