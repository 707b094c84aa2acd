"""Calls of other shapes than one prompt: several prompts at once, ids that come back, chats.

Only what every engine that is right must pick is asked for: a call is as long as its picks are settled, and one whose
first pick is open already is not made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from harness.differential.bench import FORMED
from harness.differential.cases import Case
from harness.differential.open_picks import open_greedily
from harness.differential.seen import TOLERANCE, Choice, Seen
from harness.differential.wire import Wire, body_of, data_uri

Call = tuple[str, dict[str, Any]]
CHAT = "/v1/chat/completions"
TOKENS = 4
"""That a chat is asked for, where they are settled."""
LIKELIEST = 5
"""Tokens whose log-probabilities say whether a greedy pick was open."""
MISSING = "(nothing)"
CHANGING = ("id", "created", "e2e_latency")


def calls_of(cases: Iterable[Case], answers: Mapping[str, Seen], settled: Mapping[str, int]) -> dict[str, Call]:
    """All calls, by name. ``settled`` says how many tokens of each chat are (see :func:`settled_in_chats`)."""
    known = {case.name: case for case in cases}
    made = {"several prompts": _several(known, answers)}
    for name in FORMED:
        count = min((choice.settled for choice in answers[name].choices), default=0) if name in known else 0
        if count:
            case = replace(known[name], sampling=replace(known[name].sampling, max_new_tokens=count))
            made[f"{name} with its ids"] = ("/generate", body_of(case) | {"return_prompt_token_ids": True})
    for name, chat in chats_of(known.values()).items():
        for asked, more in _asked(name).items():
            if settled.get(name):
                made[asked] = (CHAT, {**chat, "max_tokens": settled[name], **more})
    return made


def _several(known: Mapping[str, Case], answers: Mapping[str, Seen]) -> Call:
    """Prompts of text in one call: those whose answers have nothing open."""
    texts = [name for name, case in known.items() if name.startswith("option-") and case.sampling.n == 1]
    bodies = [body_of(known[name]) for name in texts if answers[name].is_settled]
    together = {name: [body[name] for body in bodies] for name in ("text", "sampling_params")}
    return "/generate", together | {"return_logprob": True}


def _asked(chat: str) -> dict[str, dict[str, Any]]:
    """The ways in which a chat is asked: nothing extra, and with more and more of what can come back."""
    ids = {"return_prompt_token_ids": True}
    if chat != "chat":
        return {chat: ids}
    return {"chat": {}, "chat with ids": ids, "chat with meta": ids | {"return_meta_info": True}}


def chats_of(cases: Iterable[Case]) -> dict[str, dict[str, Any]]:
    """Bodies, but for what is asked of the answer. None without pictures."""
    known = {case.name: case for case in cases}
    if "one" not in known:
        return {}
    first, second = (_image(data_uri(known[name].make()["images"][0])) for name in ("one", "other"))
    turn = {"role": "user", "content": [_said("before "), first, _said("between"), second, _said("?")]}
    earlier = {"role": "assistant", "content": "first line\n\nsecond line, and\nthe last"}
    return {
        "chat": {"messages": [turn]},
        "dialogue": {"messages": [turn, earlier, {"role": "user", "content": "and?"}]},
        "chat of ids": {"messages": [{"role": "user", "content": "no"}], "input_ids": [70, 71, 9]},
    }


def _image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def _said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def settled_in_chats(wire: Wire, cases: Iterable[Case]) -> dict[str, int]:
    """How many tokens of each chat any engine must pick, by what a trusted server says of the likeliest ones."""
    counts: dict[str, int] = {}
    for name, chat in chats_of(cases).items():
        more = {"max_tokens": TOKENS, "logprobs": True, "top_logprobs": LIKELIEST}
        _, body = wire.post(CHAT, {**chat, **more})
        places = body["choices"][0]["logprobs"]["content"]
        likeliest = [[(i, one["logprob"]) for i, one in enumerate(place["top_logprobs"])] for place in places]
        counts[name] = Choice(open=open_greedily(likeliest)).settled
    return counts


def told(answer: tuple[int, Any]) -> tuple[int, Any]:
    """Without what differs from call to call."""
    return answer[0], _plain(answer[1])


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items() if name not in CHANGING}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value


def first_difference(a: Any, b: Any, where: str = "") -> str | None:
    """Between two bodies, whatever their shape."""
    pairs: Iterable[tuple[Any, Any, str]] = ()
    if isinstance(a, dict) and isinstance(b, dict):
        pairs = ((a.get(name, MISSING), b.get(name, MISSING), f"{where}.{name}") for name in a.keys() | b.keys())
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        pairs = ((one, other, f"{where}[{i}]") for i, (one, other) in enumerate(zip(a, b, strict=True)))
    elif a != b and not (isinstance(a, float) and isinstance(b, float) and abs(a - b) <= TOLERANCE * max(1, abs(a))):
        return f"{where or 'answer'} is {str(b)[:160]}, not {str(a)[:160]}"
    return next((found for pair in pairs if (found := first_difference(*pair)) is not None), None)
