"""Checks over several turns, and of prompts that are token ids: what ran before must come first again, id for id."""

from __future__ import annotations

from collections.abc import Iterator

from harness.probe.asking import Ask
from harness.probe.bench import Bench
from harness.probe.outcomes import Lacking, Wrong

WORDS = ("Describe", "picture", "transcribe", "carefully", "position", "another")


def next_begins_with_last(bench: Bench) -> str:
    """Three turns with an image in each of two: each prompt begins with the one before, and its answer."""
    bench.speaks.need("images", "prompt ids", "answer ids")
    ask = Ask.user(bench.picture, "What is it?", max_tokens=6, ignore_eos=None)
    kept, rewritten = 0, 0
    for more in (("and this?", bench.pictures.one((84, 56))), ("sure?",)):
        reply = bench.ask(ask)
        ask = ask.then(reply.first.text, *more)
        following = bench.ask(ask).prompt_ids or []
        prompt, answer = reply.prompt_ids or [], reply.first.ids
        if following[: len(prompt)] != prompt:
            place = next((i for i, (a, b) in enumerate(zip(prompt, following, strict=False)) if a != b), len(following))
            raise Wrong(
                f"the next prompt leaves the one before at place {place} of {len(prompt)}",
                before=prompt,
                after=following,
            )
        said = _without_end(bench, reply.first.text, answer)
        if following[len(prompt) : len(prompt) + len(said)] == said:
            kept += 1
        elif not reply.first.text or bench.encode(reply.first.text) != said:
            rewritten += 1
        else:
            raise Wrong(
                f"the answer's ids {said} are not in the next prompt, though its text tokenizes to them",
                after=following,
            )
    if not kept:
        raise Lacking(
            f"prompts go on as they began, but none of {rewritten} answers has the ids that its text tokenizes to, "
            "so text cannot carry them"
        )
    return f"each of {kept} prompts begins with the one before and its answer, id for id"


def _without_end(bench: Bench, text: str, ids: list[int]) -> list[int]:
    """The answer's ids without the token that ended it, if its text tokenizes to just those."""
    if text and ids and bench.speaks.has.keys() & {"tokenizing"} and bench.encode(text) == ids[:-1]:
        return ids[:-1]
    return ids


def earlier_turns_count(bench: Bench) -> str:
    """By counts alone: nothing of an earlier answer may be lost, no line of it, no image before it."""
    first = Ask.user("a question", max_tokens=1)
    whole = bench.counted(bench.ask(first.then("first line\n\nsecond line, and\nthe last", "and?")))
    last = bench.counted(bench.ask(first.then("the last", "and?")))
    only = bench.counted(bench.ask(first))
    if not only < last < whole:
        raise Wrong(
            f"{only} prompt tokens before an answer of one line, {last} after it, {whole} after one of four lines"
        )
    if "images" in bench.speaks.has:
        shown = bench.counted(bench.ask(Ask.user("a question", bench.picture, max_tokens=1)))
        both = bench.counted(bench.ask(Ask.user("a question", bench.picture, max_tokens=1).then("the last", "and?")))
        if both - shown != last - only:
            raise Wrong(f"a turn costs {last - only} prompt tokens after a text, {both - shown} after an image")
    return "an earlier answer counts with all its lines, an earlier image with all its tokens"


def earlier_image_is_looked_at(bench: Bench) -> str:
    bench.speaks.need("images")
    a, b = bench.pictures.several((112, 84), 2)
    one, other = (bench.ask(Ask.user(p, "See this.", max_tokens=8).then("Yes.", "What was it?")) for p in (a, b))
    bench.differ(one, other, "two dialogues that differ in the image of an earlier turn")
    return "an image of an earlier turn is still looked at"


def ids_are_kept(bench: Bench) -> str:
    """Ids that a tokenizer would not have chosen ("D" + "escribe"): sglang#26555."""
    ids, word = _split(bench)
    sent = ids * 3
    reply = bench.ids(sent)
    if reply.prompt_ids is not None and reply.prompt_ids != sent:
        raise Wrong(f"{word} was sent as {ids}; {reply.prompt_ids[: len(ids)]} ran", sent=sent, run=reply.prompt_ids)
    if bench.counted(reply) != len(sent):
        raise Wrong(f"{len(sent)} ids were sent, {reply.prompt_tokens} ran: they were made text and tokenized again")
    how = "told back" if reply.prompt_ids is not None else "by their number"
    return f"{word} spelled in {len(ids)} ids runs as sent ({how})"


def ids_with_image(bench: Bench) -> str:
    """The same beside an image: its placeholder is expanded, once, and nothing else changes."""
    bench.speaks.need("images", "prompt ids")
    ids, word = _split(bench)
    plain = bench.ask(Ask.user(bench.picture, "so", max_tokens=1)).prompt_ids or []
    start, end = _longest_run(plain)
    if end - start < 2:
        raise Lacking("the image has one place only, so its expansion cannot be seen")
    sent = [*plain[: start + 1], *plain[end:], *ids]
    wanted = [*plain, *ids]
    reply = bench.ids(sent, [bench.picture])
    if bench.counted(reply) != len(wanted):
        raise Wrong(f"{len(sent)} ids with one placeholder: {reply.prompt_tokens} ran, not {len(wanted)}")
    if reply.prompt_ids is not None and reply.prompt_ids != wanted:
        raise Wrong(
            f"{word} after an image was sent as {ids}; {reply.prompt_ids[-len(ids) :]} ran", run=reply.prompt_ids
        )
    return f"{word} spelled in {len(ids)} ids after an image runs as sent, the placeholder expanded once"


def expanded_ids(bench: Bench) -> str:
    """Ids whose placeholder is expanded already run as they are."""
    bench.speaks.need("images", "prompt ids")
    plain = bench.ask(Ask.user(bench.picture, "so", max_tokens=1)).prompt_ids or []
    reply = bench.ids(plain, [bench.picture])
    if bench.counted(reply) != len(plain) or (reply.prompt_ids or plain) != plain:
        raise Wrong(f"{len(plain)} ids, expanded already: {reply.prompt_tokens} ran", run=reply.prompt_ids)
    return f"{len(plain)} ids with their places for the image run as they are"


def dialogue_of_ids(bench: Bench) -> str:
    """Token in, token out: the answer's ids are sent back as they came."""
    ids, _ = _split(bench)
    first = bench.ids(ids, max_tokens=4)
    if not first.first.ids:
        raise Lacking("answers to token ids do not tell theirs")
    sent = [*ids, *first.first.ids, *ids]
    reply = bench.ids(sent)
    if reply.prompt_ids is not None and reply.prompt_ids != sent:
        raise Wrong(f"{sent} was sent, {reply.prompt_ids} ran", sent=sent, run=reply.prompt_ids)
    if bench.counted(reply) != len(sent):
        raise Wrong(f"{len(sent)} ids were sent, {reply.prompt_tokens} ran")
    return f"a second turn of {len(sent)} ids, the answer's own among them, runs as sent"


def _split(bench: Bench) -> tuple[list[int], str]:
    """Ids that spell a word as no tokenizer would."""
    bench.speaks.need("token ids in")
    for word in WORDS:
        whole = bench.encode(word)
        for left, right in _cuts(word):
            ids = [*bench.encode(left), *bench.encode(right)]
            if len(ids) > len(whole):
                return ids, f"{left!r} + {right!r}"
    raise Lacking("no word was found that can be spelled in other ids")


def _cuts(word: str) -> Iterator[tuple[str, str]]:
    for cut in (1, 3, len(word) // 2):
        yield word[:cut], word[cut:]


def _longest_run(ids: list[int]) -> tuple[int, int]:
    best, start = (0, 0), 0
    for i in range(1, len(ids) + 1):
        if i == len(ids) or ids[i] != ids[start]:
            best = max(best, (start, i), key=lambda run: run[1] - run[0])
            start = i
    return best
