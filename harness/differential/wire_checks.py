"""What is asked of a server that is a black box: answers as another server gave them, and as its own at other times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from harness.differential.bench import FORMED, Oracle
from harness.differential.canary import Canary
from harness.differential.cases import Case
from harness.differential.seen import TOLERANCE, Seen, difference, leave_open
from harness.differential.wire import Wire, body_of, data_uri

Finds = Iterator[str]


@dataclass(frozen=True)
class WireOracle:
    """What a server that is trusted answered."""

    cases: tuple[Case, ...]
    answers: dict[str, Seen]
    calls: dict[str, tuple[int, Any]]
    """Bodies of other endpoints and shapes, by name."""

    @classmethod
    def of(cls, wire: Wire, inside: Oracle) -> WireOracle:
        """``inside`` is the same engine in this process, which knows what is open (see :mod:`open_picks`)."""
        known = tuple(inside.cases)
        answers = {case.name: leave_open(wire.ask(case), inside.plain[case.name]) for case in known}
        calls = {name: _told(wire.post(*call)) for name, call in calls_of(known, answers).items()}
        return cls(known, answers, calls)


class WireBench:
    def __init__(self, wire: Wire, oracle: WireOracle, canary: Canary) -> None:
        self.wire = wire
        self.oracle = oracle
        self.canary = canary

    def cases(self, group: str = "plain") -> list[Case]:
        return [case for case in self.oracle.cases if case.group == group]

    @cached_property
    def first(self) -> dict[str, Seen]:
        """Each plain case by itself, for the first time."""
        return {case.name: leave_open(self.wire.ask(case), self.oracle.answers[case.name]) for case in self.cases()}


@dataclass(frozen=True)
class WireCheck:
    name: str
    invariants: tuple[int, ...]
    find: Callable[[WireBench], Iterable[str]]


def calls_of(cases: Iterable[Case], answers: Mapping[str, Seen]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Calls of other shapes: several prompts at once, ids that come back, chats. Those whose ``answers`` have nothing
    open are asked at once."""
    known = {case.name: case for case in cases}
    texts = [
        case
        for name, case in known.items()
        if name.startswith("option-") and case.sampling.n == 1 and answers[name].is_settled
    ]
    made: dict[str, tuple[str, dict[str, Any]]] = {}
    bodies = [body_of(case) for case in texts]
    made["several prompts"] = (
        "/generate",
        {name: [body[name] for body in bodies] for name in ("text", "sampling_params")} | {"return_logprob": True},
    )
    for name in FORMED:
        if name in known:
            made[f"{name} with its ids"] = ("/generate", body_of(known[name]) | {"return_prompt_token_ids": True})
    if "one" in known:
        made |= _chats(data_uri(known["one"].make()["images"][0]), data_uri(known["other"].make()["images"][0]))
    return made


def _chats(first: str, second: str) -> dict[str, tuple[str, dict[str, Any]]]:
    def image(url: str) -> dict[str, Any]:
        return {"type": "image_url", "image_url": {"url": url}}

    def said(text: str) -> dict[str, Any]:
        return {"type": "text", "text": text}

    turn = {"role": "user", "content": [said("before "), image(first), said("between"), image(second), said("?")]}
    earlier = {"role": "assistant", "content": "first line\n\nsecond line, and\nthe last"}
    ids = {"return_prompt_token_ids": True, "max_tokens": 4}
    return {
        "chat": ("/v1/chat/completions", {"messages": [turn], "max_tokens": 4}),
        "chat with ids": ("/v1/chat/completions", {"messages": [turn], **ids}),
        "chat with meta": ("/v1/chat/completions", {"messages": [turn], **ids, "return_meta_info": True}),
        "dialogue": ("/v1/chat/completions", {"messages": [turn, earlier, {"role": "user", "content": "and?"}], **ids}),
        "chat of ids": (
            "/v1/chat/completions", {"messages": [{"role": "user", "content": "no"}], "input_ids": [70, 71, 9], **ids},
        ),
    }  # fmt: skip


MISSING = "(nothing)"
CHANGING = ("id", "created", "e2e_latency")


def _told(answer: tuple[int, Any]) -> tuple[int, Any]:
    """Without what differs from call to call."""
    return answer[0], _plain(answer[1])


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items() if name not in CHANGING}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value


def first_as_the_oracle(bench: WireBench) -> Finds:
    yield from _compare(bench.oracle.answers, bench.first, "alone")


def calls_as_the_oracle(bench: WireBench) -> Finds:
    """Other shapes: fields that are there, ids that come back, prompts in a list, chats."""
    for name, call in calls_of(bench.oracle.cases, bench.oracle.answers).items():
        found = _first_difference(bench.oracle.calls[name], _told(bench.wire.post(*call)))
        if found is not None:
            yield f"{name}: {found}"


def _first_difference(a: Any, b: Any, where: str = "") -> str | None:
    pairs: Iterable[tuple[Any, Any, str]] = ()
    if isinstance(a, dict) and isinstance(b, dict):
        pairs = ((a.get(name, MISSING), b.get(name, MISSING), f"{where}.{name}") for name in a.keys() | b.keys())
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        pairs = ((one, other, f"{where}[{i}]") for i, (one, other) in enumerate(zip(a, b, strict=True)))
    elif a != b and not (isinstance(a, float) and isinstance(b, float) and abs(a - b) <= TOLERANCE * max(1, abs(a))):
        return f"{where or 'answer'} is {str(b)[:160]}, not {str(a)[:160]}"
    return next((found for pair in pairs if (found := _first_difference(*pair)) is not None), None)


def again_as_first(bench: WireBench) -> Finds:
    yield from _compare(bench.first, {case.name: bench.wire.ask(case) for case in bench.cases()}, "again")


def together_as_alone(bench: WireBench) -> Finds:
    yield from _compare(bench.first, bench.wire.ask_together(bench.cases()), "together")
    if not bench.wire.healthy():
        yield "the server is not healthy after many at once"


def refused_and_alive(bench: WireBench) -> Finds:
    for case in bench.cases("refusable"):
        seen = bench.wire.ask(case)
        if seen.status == 0 or seen.status >= 500:
            yield f"{case.name}: status {seen.status}, {seen.error}"
        yield from _compare(bench.oracle.answers, {case.name: seen}, "alone")
    if not bench.wire.healthy():
        yield "the server is not healthy after requests that it must refuse"


def streams_add_up(bench: WireBench) -> Finds:
    for case in bench.cases():
        seen = bench.wire.stream(case)
        yield from _compare(bench.first, {case.name: seen}, "streamed")
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


def idle_when_done(bench: WireBench) -> Finds:
    yield from (f"{name} is {value} with nothing running" for name, value in bench.wire.gauges().items() if value)


def many_pictures_are_told_apart(bench: WireBench) -> Finds:
    """One after the other, whatever is kept: no picture is taken for another one."""
    for case in bench.cases("alike"):
        yield from _compare(bench.oracle.answers, {case.name: bench.wire.ask(case)}, "after others")


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


def _compare(expected: dict[str, Seen], got: dict[str, Seen], how: str) -> Finds:
    for name, seen in got.items():
        found = difference(expected[name], seen)
        if found is not None:
            yield f"{name} {how}: {found}"


WIRE_CHECKS = (
    WireCheck("alone = oracle", (1, 2, 3, 4, 6, 7, 10, 11, 16, 17), first_as_the_oracle),
    WireCheck("counted as given", (7,), counted_as_given),
    WireCheck("refused, and alive", (1, 3, 16, 17), refused_and_alive),
    WireCheck("other calls = oracle's", (6, 7, 8, 9, 16), calls_as_the_oracle),
    WireCheck("again = first", (4, 5, 11), again_as_first),
    WireCheck("fetches only what it may", (17,), fetches_only_what_it_may),
    WireCheck("many pictures are told apart", (4, 5), many_pictures_are_told_apart),
    WireCheck("together = alone", (2, 10, 11, 14, 15, 17), together_as_alone),
    WireCheck("streams add up", (7,), streams_add_up),
    WireCheck("idle when done", (13, 14), idle_when_done),
)
