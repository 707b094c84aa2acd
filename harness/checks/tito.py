"""Token in, token out (sglang#23751): what a chat call made of token ids tells, of every choice, and refuses to tell.

Bodies are judged as they came; what the native way made of the same ids is what they are held against.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.checks.counted import none_wrong
from harness.observation import Observation, Prompt, words_of_error
from harness.verdict import Verdict

SOURCE = "sglang#23751"
ASKED = ("prompt_token_ids", "meta_info")


@dataclass(frozen=True)
class ChatReply:
    """One call's status and body; of a stream, its first lines."""

    request: str
    status: int
    body: Any

    @property
    def choices(self) -> list[Mapping[str, Any]]:
        found = self.body.get("choices") if isinstance(self.body, Mapping) else None
        return [choice for choice in found or [] if isinstance(choice, Mapping)]

    @property
    def words(self) -> str:
        return words_of_error(self.body)[:300]


def told_of_every_choice(
    prompts: Sequence[Prompt], native: Sequence[Observation], replies: Sequence[ChatReply], choices: int
) -> Verdict:
    """Ids as run are those of the native way, output ids too, and counts are their lengths; in each choice."""
    wrong = [
        {"request": prompt.name, "a": list(a.output_ids), "b": found}
        for prompt, a, reply in zip(prompts, native, replies, strict=True)
        if (found := _wrong(prompt, a, reply, choices)) is not None
    ]
    of = "one answer" if choices == 1 else f"each of {choices} choices"
    return none_wrong(f"token ids come back, of {of}", len(prompts), wrong, invariant=6, source=SOURCE)


def _wrong(prompt: Prompt, native: Observation, reply: ChatReply, choices: int) -> str | None:
    if reply.status != 200:
        return f"{reply.status}: {reply.words}"
    if len(reply.choices) != choices:
        return f"{len(reply.choices)} choices for n = {choices}"
    for number, choice in enumerate(reply.choices):
        where = f"choice {number}: "
        if missing := [name for name in ASKED if choice.get(name) is None]:
            return f"{where}no {missing[0]}"
        ran = tuple(choice["prompt_token_ids"])
        if native.prompt_ids is not None and ran != native.prompt_ids:
            as_sent = (
                f": those sent, without the rows of {len(prompt.pictures)} picture(s)"
                if prompt.pictures and ran == prompt.ids
                else ""
            )
            return f"{where}{len(ran)} prompt ids, others than the {len(native.prompt_ids)} run natively{as_sent}"
        made = [token for _, token, *_ in choice["meta_info"].get("output_token_logprobs") or ()]
        if tuple(made) != native.output_ids:
            return f"{where}output ids {made}"
        if choice["meta_info"].get("completion_tokens") != len(made):
            return f"{where}completion_tokens {choice['meta_info'].get('completion_tokens')} for {len(made)} ids"
    return None


def absent_unless_asked(replies: Sequence[ChatReply]) -> Verdict:
    """Of calls that asked for neither: the fields are left out, not null."""
    wrong = [
        {"request": reply.request, "a": "left out", "b": f"{name}: {choice[name]!r:.80}"}
        for reply in replies
        for choice in reply.choices
        for name in ASKED
        if name in choice
    ]
    answered = sum(bool(reply.choices) for reply in replies)
    return none_wrong("fields not asked for are left out", answered, wrong, invariant=9, source=SOURCE)


def streams_refuse(replies: Sequence[ChatReply]) -> Verdict:
    """A stream cannot carry them: 4xx, in words that name the stream."""
    wrong = [
        {"request": reply.request, "a": "4xx that speaks of stream", "b": f"{reply.status}: {reply.words}"}
        for reply in replies
        if not (400 <= reply.status < 500 and "stream" in reply.words)
    ]
    return none_wrong("refused when streaming, in words", len(replies), wrong, invariant=17, source=SOURCE)


def turns_continue(turns: Sequence[tuple[str, Sequence[int], Sequence[int]]]) -> Verdict:
    """Of each dialogue: the ids of a turn and its answer, and the ids run at the next turn, which begin with them."""
    wrong = [
        {"request": name, "a": list(before), "b": list(after[: len(before)])}
        for name, before, after in turns
        if list(after[: len(before)]) != list(before)
    ]
    check = "a next turn begins with the turn before, id for id"
    return none_wrong(check, len(turns), wrong, invariant=8, source=SOURCE)
