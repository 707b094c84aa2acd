"""Checks of counts, ids and spans: what an image costs, by size, and what a text does."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from harness.observation import Picture
from harness.probe.asking import Ask, Reply
from harness.probe.bench import LAST, Bench
from harness.probe.outcomes import Lacking, Unsure, Wrong
from harness.probe.pictures import REPORTED

SHOWN = 6
OWN_IDS = "own ids inside spans"
"""Engines may fill an image's places with numbers of their own."""
Predicted = dict[str, Any]


def by_size(bench: Bench) -> str:
    """usage.prompt_tokens, for every size that reports named."""
    bench.speaks.need("images")
    wrong, refused, right = [], [], 0
    for picture, reply, predicted in _sized(bench):
        size = f"{picture.width}x{picture.height}"
        if isinstance(predicted, str):
            right += reply.status in (400, 413, 422)
            refused += [f"{size} is run, though the processor refuses it"] if reply.ok else []
        elif reply.status >= 500 or not reply.status:
            wrong.append(f"{size}: {reply.status or 'no answer'}, {reply.error[:120]}")
        elif not reply.ok:
            refused.append(f"{size} is refused ({reply.status}: {reply.error[:120]})")
        elif bench.counted(reply) != predicted["usage"]["prompt_tokens"]:
            wrong.append(f"{size}: {reply.prompt_tokens} tokens, not {predicted['usage']['prompt_tokens']}")
        else:
            right += 1
    if wrong:
        raise Wrong(f"{len(wrong)} of {len(REPORTED)} sizes: {'; '.join(wrong[:SHOWN])}", wrong=wrong)
    if refused:
        raise Unsure(f"{right} sizes as predicted; {'; '.join(refused[:SHOWN])}", refused=refused)
    return f"{right} sizes cost what the processor says, from {_size(REPORTED[12])} to {_size(REPORTED[0])}"


def ids_by_size(bench: Bench) -> str:
    """Prompt ids as run, and with them the span of every image."""
    bench.speaks.need("images", "prompt ids")
    exact, own, wrong = 0, 0, []
    for picture, reply, predicted in _sized(bench):
        if not reply.ok or isinstance(predicted, str) or reply.prompt_ids is None:
            continue
        kind = _ids_against(predicted, reply.prompt_ids)
        exact, own = exact + (kind == "same"), own + (kind == OWN_IDS)
        if kind not in ("same", OWN_IDS):
            wrong.append(f"{picture.width}x{picture.height}: {kind}")
    if wrong:
        raise Wrong(f"{len(wrong)} of {len(REPORTED)} sizes: {wrong[0]}", wrong=wrong)
    if not exact + own:
        raise Lacking("no answer told the prompt's ids")
    return f"{exact + own} prompts run as predicted, id for id" + (
        f", {own} with ids of its own inside spans" if own else ""
    )


def _sized(bench: Bench) -> list[tuple[Picture, Reply, Predicted | str]]:
    if bench.expected is None:
        raise Lacking("no model was named (--model), so nothing is predicted")
    made = []
    for picture in bench.reported:
        ask = Ask.user("see ", picture, LAST, max_tokens=1)
        known = bench.attempt(ask)
        made.append((picture, known, bench.expected.chat(ask)))
    return made


def _ids_against(predicted: Predicted, run: list[int]) -> str:
    wanted = predicted["prompt_ids"]
    if run == wanted:
        return "same"
    if len(run) != len(wanted):
        return f"{len(run)} ids are run, not {len(wanted)}"
    inside = {i for item in predicted["items"] for first, last in item["spans"] for i in range(first, last + 1)}
    outside = [i for i, (a, b) in enumerate(zip(run, wanted, strict=True)) if a != b and i not in inside]
    if not outside:
        return OWN_IDS
    return f"place {outside[0]} of {len(wanted)} is {run[outside[0]]}, not {wanted[outside[0]]}"


def several_images(bench: Bench) -> str:
    """Mixed sizes in one prompt, adjacent ones, one first, one last."""
    bench.speaks.need("images")
    if bench.expected is None:
        raise Lacking("no model was named (--model), so nothing is predicted")
    a, b, c = (bench.pictures.one(size) for size in ((84, 56), (56, 84), (153, 174)))
    many = bench.pictures.several((365, 211), 4)
    prompts: list[tuple[str | Picture, ...]] = [(a, b, c, "which?"), ("one", a, "two", c, b), (c, "x", a), (*many, "?")]
    for parts in prompts:
        ask = Ask.user(*parts, max_tokens=1)
        reply, predicted = bench.ask(ask), bench.expected.chat(ask)
        if isinstance(predicted, str):
            raise Lacking(f"the processor refuses it: {predicted}")
        wanted = predicted["usage"]["prompt_tokens"]
        if bench.counted(reply) != wanted:
            raise Wrong(f"{_form(parts)}: {reply.prompt_tokens} tokens, not {wanted}")
        if reply.prompt_ids and (kind := _ids_against(predicted, reply.prompt_ids)) not in ("same", OWN_IDS):
            raise Wrong(f"{_form(parts)}: {kind}")
    return "four prompts of two to four images as predicted"


def same_size(bench: Bench) -> str:
    bench.speaks.need("images")
    seen = {bench.cost(picture, LAST) for picture in bench.pictures.several((140, 84), 4)}
    if len(seen) > 1:
        raise Wrong(f"four images of 140x84 cost {', '.join(map(str, sorted(seen)))} prompt tokens")
    return f"four images of 140x84 cost the same ({seen.pop()} prompt tokens in all)"


def adds_up(bench: Bench) -> str:
    """Marginal costs, so that what a template writes once does not matter."""
    bench.speaks.need("images")
    a, b = bench.pictures.one((84, 56)), bench.pictures.one((153, 174))
    aa, ab, ba, bb = (bench.cost(x, y, LAST) for x, y in ((a, a), (a, b), (b, a), (b, b)))
    if ab != ba or aa + bb != ab + ba:
        raise Wrong(
            f"84x56 twice {aa}, 153x174 twice {bb}, one of each {ab} and {ba} prompt tokens: they do not add up"
        )
    return f"two images cost the sum of both, in either order ({aa}, {ab}, {bb} prompt tokens)"


def larger(bench: Bench) -> str:
    bench.speaks.need("images")
    costs = [bench.cost(bench.pictures.one((side, side)), LAST) for side in (56, 112, 224, 448)]
    if costs != sorted(costs):
        raise Wrong(f"squares of 56, 112, 224 and 448 pixels cost {', '.join(map(str, costs))} prompt tokens")
    return f"squares of 56 to 448 pixels: {', '.join(map(str, costs))} prompt tokens"


def texts(bench: Bench) -> str:
    """Of chats of text: against the prediction, or the server's own tokenizer."""
    ways = ("short", "naïve 图像 🙂 <b> 12,345\n\n", "word and number 7, " * 150)
    for text in ways:
        ask = Ask.user(text, max_tokens=1)
        wanted = _text_count(bench, ask)
        if bench.counted(bench.ask(ask)) != wanted:
            raise Wrong(f"a text of {len(text)} characters: {bench.ask(ask).prompt_tokens} prompt tokens, not {wanted}")
    return f"{len(ways)} texts, the longest of {wanted} tokens, are counted as they tokenize"


def beside_long_text(bench: Bench) -> str:
    """An image costs the same after a short text and a long one, and is not refused there."""
    bench.speaks.need("images")
    short, long = "word ", "word and number 7, " * 60
    costs = []
    for text in (short, long):
        reply = bench.attempt(Ask.user(text, bench.picture, LAST, max_tokens=1))
        plain = bench.cost(text, LAST)
        if not reply.ok:
            raise Wrong(f"an image after a text of {plain} tokens in all: {reply.status}, {reply.error}")
        costs.append(bench.counted(reply) - plain)
    if costs[0] != costs[1]:
        raise Wrong(f"an image costs {costs[0]} prompt tokens after a short text, {costs[1]} after a long one")
    return f"an image costs {costs[0]} prompt tokens after a short text and a long one"


def _text_count(bench: Bench, ask: Ask) -> int:
    if bench.expected is not None:
        predicted = bench.expected.chat(ask)
        if isinstance(predicted, str):
            raise Lacking(f"the model's files make no chat prompt: {predicted}")
        return int(predicted["usage"]["prompt_tokens"])
    bench.speaks.need("tokenizing chats")
    return len(bench.answer("/tokenize", {"model": bench.speaks.model, "messages": ask.messages()}).get("tokens") or ())


def typed_placeholder(bench: Bench) -> str:
    """A user types what stands for an image: no image may go there."""
    typed = _placeholder_text(bench)
    alone = bench.attempt(Ask.user(f"what does {typed} mean?", max_tokens=1))
    _survived(alone, f"{typed!r} typed in a text")
    if "images" not in bench.speaks.has:
        return f"a typed {typed!r} is text"
    plain = bench.ask(Ask.user(bench.picture, LAST, max_tokens=1))
    before = bench.attempt(Ask.user(f"{typed} ", bench.picture, LAST, max_tokens=1))
    _survived(before, f"{typed!r} typed before an image")
    if not plain.prompt_ids or not before.prompt_ids:
        raise Lacking("the server does not tell the prompt's ids, so where the image went cannot be seen")
    slot = _most_repeated(plain.prompt_ids)
    one, other = plain.prompt_ids.count(slot), before.prompt_ids.count(slot)
    if one != other:
        raise Wrong(
            f"{typed!r} typed before an image: {other} places of id {slot}, not {one}", prompt_ids=before.prompt_ids
        )
    return f"a typed {typed!r} is text, alone and before an image ({one} places for the image)"


def _survived(reply: Reply, what: str) -> None:
    if reply.status >= 500 or not reply.status:
        raise Wrong(f"{what}: {reply.status or 'no answer'}, {reply.error}")
    if not reply.ok:
        raise Unsure(f"{what} is refused ({reply.status}: {reply.error}): it is taken for more than text")


def _placeholder_text(bench: Bench) -> str:
    """By the model's files, or the first of the usual ones that the server's tokenizer knows as one token."""
    if bench.expected is not None:
        for text, token in bench.expected.special.items():
            if token == bench.expected.placeholder:
                return text
    known = [text for text in PLACEHOLDERS if len(bench.encode(text)) == 1]
    if not known:
        raise Lacking(
            f"none of the usual placeholders ({', '.join(PLACEHOLDERS)}) is one token here; name the model (--model)"
        )
    return known[0]


PLACEHOLDERS = (
    "<|image_pad|>",
    "<image>",
    "<|image|>",
    "<image_soft_token>",
    "<IMG_CONTEXT>",
    "[IMG]",
    "<start_of_image>",
)


def _most_repeated(ids: list[int]) -> int:
    return max(((len(list(run)), token) for token, run in groupby(ids)))[1]


def _form(parts: tuple[str | Picture, ...]) -> str:
    return " ".join(repr(part) if isinstance(part, str) else f"{part.width}x{part.height}" for part in parts)


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
