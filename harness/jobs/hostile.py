"""Malformed requests among good ones: each is answered or refused in words, and the good ones never notice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ClassVar

import httpx2

from harness.checks.answers import same_answers
from harness.checks.robustness import INVARIANT, SOURCE, Reply, answered_or_refused, refusals_in_words
from harness.errors import TargetDied
from harness.jobs.base import Job, JobContext
from harness.launch.server import Server
from harness.observation import Observation, Prompt
from harness.verdict import Verdict
from harness.workloads.hostile import Hostile, hostile_requests

SAMPLES, AT_ONCE, SECONDS = 10, 4, 30.0
ALIVE = "the server lives through it"


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
            try:
                replies, during = self._among(context, server, prompts, alone, sent)
                after = context.ask(self.name, server, prompts, concurrency=1)
            except TargetDied as death:
                context.file(self.name, Verdict(ALIVE, "fail", str(death).replace("\n", " ")[:600], INVARIANT, SOURCE))
                return
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
        # No connection is used twice: a server may close one that is idle while the next request is on its way.
        client = httpx2.Client(
            base_url=server.url,
            headers=dict(server.headers),
            timeout=SECONDS,
            limits=httpx2.Limits(max_keepalive_connections=0),
            trust_env=False,
        )
        with client, ThreadPoolExecutor(AT_ONCE) as pool:
            waiting: list[Future[Reply]] = [pool.submit(send, client, one) for one in sent]
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


def send(client: httpx2.Client, hostile: Hostile) -> Reply:
    """A stream that an odd field asked for is read to its end as any answer."""
    try:
        answer = client.post(hostile.path, content=hostile.content, headers={"content-type": "application/json"})
    except httpx2.HTTPError as error:
        return Reply(hostile.name, 0, f"{type(error).__name__}: {error}")
    try:
        json.loads(answer.content)
    except ValueError:
        return Reply(hostile.name, answer.status_code, answer.text[:300])
    return Reply(hostile.name, answer.status_code, answer.text[:300], is_json=True)
