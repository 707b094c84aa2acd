"""What is asked of a server that is a black box: answers as another server gave them, and as its own at other times."""

from __future__ import annotations

from collections.abc import Iterator

from harness.differential.wire import body_of
from harness.differential.wire_bench import WireBench, WireCheck, differences
from harness.differential.wire_calls import calls_of, first_difference, told
from harness.differential.wire_crowds import (
    bad_neighbours_harm_nobody,
    idle_when_done,
    many_pictures_are_told_apart,
    prompts_are_accounted_for,
    rows_are_of_one_size,
    together_as_alone,
)
from harness.differential.wire_prompts import (
    every_form_the_same,
    likeliest_are_likeliest,
    prompts_scored_the_same,
    run_as_predicted,
)

Finds = Iterator[str]


def first_as_the_oracle(bench: WireBench) -> Finds:
    yield from bench.compare(bench.first, "alone")


def calls_as_the_oracle(bench: WireBench) -> Finds:
    """Other shapes: fields that are there, ids that come back, prompts in a list, chats."""
    oracle = bench.oracle
    for name, call in calls_of(oracle.cases, oracle.answers, oracle.settled).items():
        found = first_difference(oracle.calls[name], told(bench.wire.post(*call)))
        if found is not None:
            yield f"{name}: {found}"


def again_as_first(bench: WireBench) -> Finds:
    yield from differences(bench.first, {case.name: bench.wire.ask(case) for case in bench.cases()}, "again")


def refused_and_alive(bench: WireBench) -> Finds:
    for case in bench.cases("refusable"):
        seen = bench.wire.ask(case)
        if seen.status == 0 or seen.status >= 500:
            yield f"{case.name}: status {seen.status}, {seen.error}"
        yield from bench.compare({case.name: seen}, "alone")
    if not bench.wire.healthy():
        yield "the server is not healthy after requests that it must refuse"


def streams_add_up(bench: WireBench) -> Finds:
    for case in bench.cases():
        seen = bench.wire.stream(case)
        yield from differences(bench.first, {case.name: seen}, "streamed")
        for choice in seen.choices:
            if choice.streamed_ids != choice.ids[: len(choice.streamed_ids)]:
                yield f"{case.name}: the stream had ids {choice.streamed_ids}, the answer {choice.ids}"
            if not choice.text.startswith(choice.streamed_text):
                yield f"{case.name}: the stream had {choice.streamed_text!r}, the answer {choice.text!r}"
            if len(choice.streamed_ids) != len(choice.ids) - 1:
                yield f"{case.name}: {len(choice.streamed_ids)} ids before the last event of {len(choice.ids)}"


def counted_as_given(bench: WireBench) -> Finds:
    for name, seen in bench.first.items():
        for choice in seen.choices:
            if not len(choice.ids) == len(choice.logprobs) == choice.counted:
                yield (
                    f"{name}: {len(choice.ids)} ids, {len(choice.logprobs)} log-probabilities, {choice.counted} counted"
                )


def fetches_only_what_it_may(bench: WireBench) -> Finds:
    """A picture is fetched from the host that was allowed, and from no other, however its name is come by."""
    pictured = next((case for case in bench.cases() if case.name == "one"), None)
    if pictured is None:
        return
    canary = bench.canary
    urls = {
        "allowed": f"{canary.door}/picture",
        "inside": f"{canary.inside}/named",
        "led on": f"{canary.door}/elsewhere",
    }
    for said, url in urls.items():
        status, body = bench.wire.post("/generate", body_of(pictured) | {"image_data": [f"http://{url}"]})
        if canary.visits:
            yield f"{said}: a server that it may not ask was asked for {canary.visits}"
        if said == "allowed" and status != 200:
            yield f"{said}: status {status}, {str(body)[:160]}"
        elif said != "allowed" and not 400 <= status < 500:
            yield f"{said}: status {status}"


WIRE_CHECKS = (
    WireCheck("alone = oracle", (1, 2, 3, 4, 6, 7, 10, 11, 16, 17), first_as_the_oracle),
    WireCheck("run as predicted", (1, 6, 7, 16), run_as_predicted),
    WireCheck("counted as given", (7,), counted_as_given),
    WireCheck("refused, and alive", (1, 3, 16, 17), refused_and_alive),
    WireCheck("every form the same", (6, 9, 10, 16), every_form_the_same),
    WireCheck("other calls = oracle's", (6, 7, 8, 9, 16), calls_as_the_oracle),
    WireCheck("prompts scored the same", (6, 7, 11), prompts_scored_the_same),
    WireCheck("likeliest are likeliest", (7,), likeliest_are_likeliest),
    WireCheck("prompts are accounted for", (5, 7), prompts_are_accounted_for),
    WireCheck("rows are of one size", (1, 14), rows_are_of_one_size),
    WireCheck("together = alone", (2, 10, 11, 14, 15, 17), together_as_alone),
    WireCheck("again = first", (4, 5, 11), again_as_first),
    WireCheck("fetches only what it may", (17,), fetches_only_what_it_may),
    WireCheck("bad neighbours harm nobody", (3, 14, 17), bad_neighbours_harm_nobody),
    WireCheck("many pictures are told apart", (4, 5), many_pictures_are_told_apart),
    WireCheck("streams add up", (7,), streams_add_up),
    WireCheck("idle when done", (13, 14), idle_when_done),
)
