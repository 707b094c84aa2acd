"""Malformed requests among good ones: each is answered or refused in words, and the good ones never notice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ClassVar

import httpx2

from harness.asking import new_client
from harness.checks.answers import same_answers
from harness.checks.robustness import INVARIANT, SOURCE, Reply, answered_or_refused, refusals_in_words
from harness.jobs.base import Job, JobContext
from harness.launch.server import Server
from harness.observation import Observation, Prompt
from harness.workloads.hostile import Hostile, hostile_requests

SAMPLES, AT_ONCE = 10, 4


class HostileInputs(Job):
    name: ClassVar[str] = "hostile"
    title: ClassVar[str] = "malformed requests among good ones"
    about: ClassVar[str] = (
        "Every field of a good request is put to values that no field takes, ids to ids that are none, pictures to "
        "files that are none, and the body itself is broken. While those are sent, good requests are asked again and "
        "again: they must be answered as before, and the server must be as it was at the end."
    )
    sources: ClassVar[tuple[str, ...]] = (SOURCE,)
    compares: ClassVar[tuple[str, ...]] = ()
    plantable: ClassVar[bool] = True

    def run(self, context: JobContext) -> None:
        prompts = context.chat_prompts("good", context.samples or SAMPLES)
        context.record_prompts(self.name, prompts)
        with context.servers(self.name, {"server": context.launch({}, plant=context.plant)}) as servers:
            server = servers["server"]
            sent = hostile_requests(server.target.call(prompts[0], evidence=False, stream=False))
            alone = context.ask(self.name, server, prompts, concurrency=1)
            replies, during = self._among(context, server, prompts, alone, sent)
            after = context.ask(self.name, server, prompts, concurrency=1)
        context.record_tokens(self.name)
        context.recorder.event("hostile", job=self.name, replies=[vars(reply) for reply in replies])
        context.file(self.name, answered_or_refused(replies))
        context.file(self.name, refusals_in_words(replies))
        for name, answers in (("good ones meanwhile", during), ("good ones afterwards", after)):
            judged = same_answers(("before", name), prompts, (alone, answers), invariant=INVARIANT, source=SOURCE)
            context.file(self.name, judged)

    def _among(
        self,
        context: JobContext,
        server: Server,
        prompts: Sequence[Prompt],
        alone: Sequence[Observation],
        sent: Sequence[Hostile],
    ) -> tuple[list[Reply], list[Observation]]:
        """What each got; and what the good ones got meanwhile, asked again and again: of each the answer that was not
        as when alone, if there was one.
        """
        with ThreadPoolExecutor(AT_ONCE) as pool:
            waiting: list[Future[Reply]] = [pool.submit(send, server, one) for one in sent]
            try:
                kept = context.ask(self.name, server, prompts, concurrency=AT_ONCE)
                while not all(future.done() for future in waiting):
                    again = context.ask(self.name, server, prompts, concurrency=AT_ONCE)
                    kept = [_odder(old, new, first) for old, new, first in zip(kept, again, alone, strict=True)]
            finally:
                for future in waiting:
                    future.cancel()
            return [future.result() for future in waiting], kept


def _odder(old: Observation, new: Observation, alone: Observation) -> Observation:
    return old if (old.ok, old.output_ids, old.text) != (alone.ok, alone.output_ids, alone.text) else new


def send(server: Server, hostile: Hostile) -> Reply:
    """A stream that an odd field asked for is read as any answer: to its end, or for as long as a request may take."""
    try:
        answer = asyncio.run(_post(server, hostile))
    except (TimeoutError, httpx2.TimeoutException):
        return Reply(hostile.name, 0, f"not done after {server.request_timeout:g} s; --request-timeout allows more")
    except httpx2.HTTPError as error:
        return Reply(hostile.name, 0, f"{type(error).__name__}: {error}")
    try:
        json.loads(answer.content)
    except ValueError:
        return Reply(hostile.name, answer.status_code, answer.text[:300])
    return Reply(hostile.name, answer.status_code, answer.text[:300], is_json=True)


async def _post(server: Server, hostile: Hostile) -> httpx2.Response:
    """On a connection of its own: a server may close one that is idle while the next request is on its way."""
    async with asyncio.timeout(server.request_timeout), new_client(server, 1) as client:
        return await client.post(hostile.path, content=hostile.content, headers={"content-type": "application/json"})
