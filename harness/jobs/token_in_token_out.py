"""Token in, token out over the chat API (sglang#23751), with and without a tokenizer in the server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from harness.asking import ask_all, asking
from harness.checks import tito
from harness.checks.tito import ChatReply
from harness.errors import Lacking
from harness.jobs.base import Job, JobContext
from harness.launch.server import Server
from harness.observation import Observation, Prompt
from harness.targets.base import Call, Target
from harness.toggles import TOGGLES
from harness.verdict import Verdict
from harness.workloads.drift import drift_prompts

SAMPLES, AT_ONCE, CHOICES = 16, 4, 3
TOGGLE = TOGGLES["skip_tokenizer_init"]
INVARIANT = 6
REUSED = "misleading text that the template would make another prompt of"


class TokenInTokenOut(Job):
    name: ClassVar[str] = "token-in-token-out"
    title: ClassVar[str] = "chat calls of token ids: what ran and what came, id for id"
    about: ClassVar[str] = (
        "A training loop sends the ids that it sampled, as a chat whose messages hold the pictures. The ids must "
        "outrank the messages and be run as they are, every choice must tell prompt and output ids, streams must "
        "refuse that in words, and the next turn must begin with the ids of the turn before. The same again of a "
        "server that has loaded no tokenizer."
    )
    sources: ClassVar[tuple[str, ...]] = (tito.SOURCE,)
    compares: ClassVar[tuple[str, ...]] = (TOGGLE.name,)
    plantable: ClassVar[bool] = True

    def run(self, context: JobContext) -> None:
        questions = context.questions(context.samples or SAMPLES, context.seed)
        made = drift_prompts(context.vocabulary, questions, context.seed, context.markup)
        prompts = [replace(prompt, question=REUSED) for prompt in made]
        context.record_prompts(self.name, prompts)
        for setting in TOGGLE.settings:
            if setting != TOGGLE.off and (lack := context.target.why_without(TOGGLE.name)) is not None:
                context.unexercised(self.name, "without a tokenizer", lack, INVARIANT, tito.SOURCE)
                continue
            toggles = {TOGGLE.name: setting} if TOGGLE.name in context.target.spellings else {}
            words = "" if setting == TOGGLE.off else " (without a tokenizer)"
            with context.servers(self.name, {setting: context.launch(toggles, plant=context.plant)}) as servers:
                for verdict in self._judge(context, servers[setting], prompts):
                    context.file(self.name, replace(verdict, check=verdict.check + words))
        context.record_tokens(self.name)

    def _judge(self, context: JobContext, server: Server, prompts: Sequence[Prompt]) -> list[Verdict]:
        native = context.ask(self.name, server, prompts, concurrency=AT_ONCE)
        try:
            asked = [_chat(server, prompts, choices=n) for n in (1, CHOICES)]
            plain = _chat(server, prompts[:4], wishes=False)
            streamed = _chat(server, prompts[:4], stream=True)
        except Lacking as lack:
            return [Verdict("token ids come back", "not_exercised", str(lack), INVARIANT, tito.SOURCE)]
        return [
            *(
                tito.told_of_every_choice(prompts, native, replies, n)
                for replies, n in zip(asked, (1, CHOICES), strict=True)
            ),
            tito.absent_unless_asked(plain),
            tito.streams_refuse(streamed),
            tito.turns_continue(_second_turns(server, prompts, asked[0])),
        ]


def _chat(
    server: Server, prompts: Sequence[Prompt], *, choices: int = 1, stream: bool = False, wishes: bool = True
) -> list[ChatReply]:
    """Statuses and bodies, in the prompts' order."""
    replies: dict[str, ChatReply] = {}

    def make(target: Target, prompt: Prompt) -> Call:
        return target.chat_of_ids(prompt, choices=choices, stream=stream, wishes=wishes)

    def read(server: Server, prompt: Prompt, status: int, body: Any) -> Observation:
        replies[prompt.name] = ChatReply(prompt.name, status, body)
        return Observation(prompt.name, server.setting, status)

    ask_all(server, prompts, concurrency=AT_ONCE, ask=asking(make, read))
    return [replies[prompt.name] for prompt in prompts]


def _second_turns(
    server: Server, prompts: Sequence[Prompt], replies: Sequence[ChatReply]
) -> list[tuple[str, list[int], list[int]]]:
    """Each dialogue goes on with the ids that came back; its first prompt's beginning stands for a new turn."""
    before: list[list[int]] = []
    following: list[Prompt] = []
    for prompt, reply in zip(prompts, replies, strict=True):
        if reply.status != 200 or not all(choice.get(name) for choice in reply.choices for name in tito.ASKED):
            continue
        [choice] = reply.choices
        made = [token for _, token, *_ in choice["meta_info"].get("output_token_logprobs") or ()]
        before.append([*choice["prompt_token_ids"], *made])
        following.append(replace(prompt, ids=(*before[-1], *prompt.ids[:2])))
    after = _chat(server, following)
    return [
        (prompt.name, old, list(reply.choices[0].get("prompt_token_ids") or ()) if reply.choices else [])
        for prompt, old, reply in zip(following, before, after, strict=True)
    ]
