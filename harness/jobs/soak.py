"""Load for a while, with requests given up in the middle: answers stay what they were, and memory stays level."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import ClassVar

import httpx2

from harness.asking import ask_all, ask_whole
from harness.checks.answers import same_answers
from harness.checks.soak import CHECK, INVARIANT, SOURCE, memory_level, nothing_held
from harness.jobs.base import Job, JobContext
from harness.launch.server import Server
from harness.load.process_meter import ProcessMeter, meter_of
from harness.metrics import totals
from harness.observation import Observation, Prompt
from harness.targets.base import Launch

REQUESTS, PROMPTS, AT_ONCE = 600, 20, 8
CHUNK = "8"
WAITS = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Seconds before each look at what is held."""
PATIENCE = 1.2
"""Of an idle server's median time for an answer: when a request that is given up is so at the latest."""
FAR_AWAY = "the server's processes are not of this machine: its memory cannot be seen"


class Soak(Job):
    name: ClassVar[str] = "soak"
    title: ClassVar[str] = "load for a while, every third request given up in the middle"
    about: ClassVar[str] = (
        "The same requests are asked round after round, and as many again as half of them are given up by their "
        "clients after a moment: while they wait, while their pictures are encoded, while they decode. What such a "
        "request held must be given back. Answers are held against those of an idle server, and memory in the last "
        "third of the rounds against the middle third."
    )
    sources: ClassVar[tuple[str, ...]] = (SOURCE,)
    compares: ClassVar[tuple[str, ...]] = ()
    plantable: ClassVar[bool] = True

    def run(self, context: JobContext) -> None:
        prompts = context.chat_prompts("soak", PROMPTS)
        context.record_prompts(self.name, prompts)
        rounds = max(1, (context.samples or REQUESTS) // PROMPTS)
        with context.servers(self.name, {"server": _launch(context)}) as servers:
            server = servers["server"]
            alone = context.ask(self.name, server, prompts, concurrency=1)
            meter = meter_of(server.running)
            patience = PATIENCE * median(seen.seconds for seen in alone)
            found, memory = self._rounds(context, server, prompts, rounds, patience, meter)
            after = context.ask(self.name, server, prompts, concurrency=1)
            context.file(self.name, nothing_held(*gauges(server)))
        context.record_tokens(self.name)
        everything = [*found, *after]
        times = rounds + 1
        verdict = same_answers(
            ("when idle", f"in {rounds} rounds and after"), [*prompts] * times, ([*alone] * times, everything),
            invariant=INVARIANT, source=SOURCE,
        )  # fmt: skip
        context.file(self.name, verdict)
        if meter is None:
            context.unexercised(self.name, CHECK, FAR_AWAY, INVARIANT, SOURCE)
        else:
            context.file(self.name, memory_level(memory))

    def _rounds(
        self,
        context: JobContext,
        server: Server,
        prompts: Sequence[Prompt],
        rounds: int,
        patience: float,
        meter: ProcessMeter | None,
    ) -> tuple[list[Observation], list[int]]:
        """Answers of all rounds, and resident bytes at the end of each."""
        rng = random.Random(context.seed)
        found: list[Observation] = []
        memory: list[int] = []
        context.progress.step(f"{rounds} rounds of {len(prompts)} requests", rounds)
        for _ in range(rounds):
            given_up = set(rng.sample([prompt.name for prompt in prompts], k=len(prompts) // 2))
            answers = ask_round(server, prompts, given_up, lambda: rng.uniform(0, patience))
            found += answers
            for seen in answers:
                context.recorder.answer(self.name, seen)
            if meter is not None:
                memory.append(meter.resident())
                context.recorder.event("memory", job=self.name, bytes=memory[-1])
            context.progress.advance()
        return found, memory


def _launch(context: JobContext) -> Launch:
    """With prompts in small chunks where the target can, so that clients hang up in the middle of them."""
    chunks = {"chunked_prefill": CHUNK} if "chunked_prefill" in context.target.spellings else {}
    return context.launch(chunks | dict(context.toggles), plant=context.plant)


def ask_round(
    server: Server, prompts: Sequence[Prompt], given_up: set[str], patience: Callable[[], float]
) -> list[Observation]:
    """Everybody's answers; beside each prompt that is named in ``given_up``, the same one asked and given up."""

    async def ask(client: httpx2.AsyncClient, server: Server, prompt: Prompt) -> Observation:
        if prompt.name in given_up:
            await give_up(client, server, prompt, patience())
        return await ask_whole(client, server, prompt)

    return ask_all(server, prompts, concurrency=AT_ONCE, ask=ask)


def gauges(server: Server) -> tuple[dict[str, float], Sequence[str], str]:
    """What the target's page of metrics says of that which must be 0 when idle; those names; why there is nothing. A
    server may take a moment to notice that a client is gone.
    """
    target, found = server.target, dict[str, float]()
    url = server.url + target.metrics_path
    for wait in WAITS if target.held else ():
        time.sleep(wait)
        try:
            told = totals(httpx2.get(url, headers=dict(server.headers), timeout=10.0, trust_env=False).text)
        except (httpx2.HTTPError, ValueError) as error:
            return {}, target.held, f"{target.metrics_path}: {type(error).__name__}"
        found = {held: told[held] for held in target.held if held in told}
        if not any(found.values()):
            break
    return found, target.held, ""


async def give_up(client: httpx2.AsyncClient, server: Server, prompt: Prompt, patience: float) -> None:
    """Ask, streamed, and hang up after ``patience`` seconds, if it has not come to its end by then."""
    call = server.target.call(prompt, evidence=False, stream=True)
    try:
        async with asyncio.timeout(patience), client.stream("POST", call.path, json=call.body) as answer:
            async for _ in answer.aiter_lines():
                pass
    except (TimeoutError, httpx2.HTTPError):
        return
