"""A handful of requests that should not be: each refused or answered, none with a 5xx, and the server as it was.

Polite: one request of each kind, small bodies, nothing that is meant to exhaust memory.
"""

from __future__ import annotations

from typing import Any

from harness.observation import png_uri
from harness.probe.asking import Ask
from harness.probe.bench import Bench
from harness.probe.line import Gone
from harness.probe.outcomes import Lacking, Wrong
from harness.probe.speaking import CHAT


def requests(bench: Bench) -> dict[str, tuple[str, dict[str, Any]]]:
    """By name: where, and the body."""
    plain = {"model": bench.speaks.model, "max_tokens": 1, "temperature": 0.0}
    said = [{"role": "user", "content": "hi"}]
    made: dict[str, tuple[str, dict[str, Any]]] = {
        "no messages": (CHAT, plain | {"messages": []}),
        "a negative max_tokens": (CHAT, plain | {"messages": said, "max_tokens": -1}),
        "a bias on a token that is none": (CHAT, plain | {"messages": said, "logit_bias": {str(1 << 30): 1.0}}),
    }
    if (way := bench.speaks.ids_way) is not None:
        made["an id outside the vocabulary"] = (way.path, way.body(bench.speaks.model, [1 << 30, 5], (), 1))
        made["a negative id"] = (way.path, way.body(bench.speaks.model, [5, -7], (), 1))
        if way.pictures and "images" in bench.speaks.has and "prompt ids" in bench.speaks.has:
            ids = bench.ask(Ask.user(bench.picture, "so", max_tokens=1)).prompt_ids or []
            made["two images' places, one image"] = (
                way.path,
                way.body(bench.speaks.model, ids * 2, [bench.picture], 1),
            )
            made["an image without a place"] = (way.path, way.body(bench.speaks.model, ids[:1], [bench.picture], 1))
    if "images" in bench.speaks.has:
        png = bench.picture.png
        for name, data in {"an image cut short": png[: len(png) // 3], "an image that is none": b"none at all"}.items():
            content = [{"type": "image_url", "image_url": {"url": png_uri(data)}}, {"type": "text", "text": "?"}]
            made[name] = (CHAT, plain | {"messages": [{"role": "user", "content": content}]})
    return made


def refused_and_alive(bench: Bench) -> str:
    before = bench.ask(bench.text_ask, again=True)
    wrong, taken = [], []
    sent = requests(bench)
    last = "the first request"
    for name, (path, body) in sent.items():
        try:
            answer = bench.answer(path, body)
        except Gone as error:
            raise Gone(f"after {last}: {error}") from None
        last = name
        if answer.status >= 500 or not answer.status:
            wrong.append(f"{name}: {answer.status or 'no answer'}, {answer.told[:120]}")
        elif answer.ok:
            taken.append(name)
    bench.same(before, bench.ask(bench.text_ask, again=True), "a plain request before and after")
    if wrong:
        raise Wrong("; ".join(wrong), taken=taken)
    told = f" (taken: {', '.join(taken)})" if taken else ""
    return f"{len(sent)} malformed requests got 4xx or an answer{told}, and the server goes on as before"


def small_images(bench: Bench) -> str:
    """Sizes that a processor may refuse, but no server may stumble over."""
    bench.speaks.need("images")
    replies = {size: bench.attempt(_seen(bench, size)) for size in ((1, 1), (2, 2), (11, 3), (3, 11), (300, 1))}
    wrong = [
        f"{w}x{h}: {r.status or 'no answer'}, {r.error[:120]}"
        for (w, h), r in replies.items()
        if not 0 < r.status < 500
    ]
    if wrong:
        raise Wrong("; ".join(wrong))
    for size in ((11, 3), (26, 28)):
        one, other = (bench.attempt(Ask.user(p, "?", max_tokens=8)) for p in bench.pictures.several(size, 2))
        if one.ok and other.ok:
            bench.differ(one, other, f"two images of {size[0]}x{size[1]}")
    if not any(reply.ok for reply in replies.values()):
        raise Lacking("every image of a few pixels is refused")
    run = [f"{w}x{h}" for (w, h), reply in replies.items() if reply.ok]
    return f"images of a few pixels are answered ({', '.join(run)}) or refused"


def _seen(bench: Bench, size: tuple[int, int]) -> Ask:
    return Ask.user(bench.pictures.one(size), "?", max_tokens=1)


def as_at_first(bench: Bench) -> str:
    """After all of the probe: the server answers as it did at the beginning."""
    bench.speaks.need("images")
    early, late = bench.ask(bench.image_ask), bench.ask(bench.image_ask, again=True)
    bench.same(early, late, "the first request with an image, at the end of the probe")
    return "the first request with an image gets its first answer at the end, too"
