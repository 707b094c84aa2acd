from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from standin_workload import plain_questions

from harness.asking import ask_all
from harness.errors import TargetDied
from harness.jobs import JobContext
from harness.launch.server import Server
from harness.observation import Observation, Prompt
from harness.workloads.chat import chat_prompt

Serve = Callable[..., tuple[Server, list[Prompt]]]


@pytest.fixture
def serve(make_context: Callable[..., JobContext]) -> Iterator[Serve]:
    """A stand-in server and eight prompts for it."""
    open_servers: list[Any] = []

    def start(
        *flags: str, setting: str = "cross_request", request_timeout: float = 60.0
    ) -> tuple[Server, list[Prompt]]:
        context = make_context({"*": list(flags)}, request_timeout=request_timeout)
        servers = context.servers("job", {"one": context.launch({"vit_batching": setting})})
        open_servers.append(servers)
        questions = plain_questions(8, 0)
        prompts = [chat_prompt(context.vocabulary, f"p{n}", question) for n, question in enumerate(questions)]
        return servers.__enter__()["one"], prompts

    yield start
    for servers in open_servers:
        servers.__exit__(None, None, None)


def test_answers_come_in_the_prompts_order_and_each_is_handed_on(serve: Serve) -> None:
    server, prompts = serve()
    landed: list[str] = []

    def on_answer(prompt: Prompt, seen: Observation) -> None:
        landed.append(seen.request)

    found = ask_all(server, prompts, concurrency=3, on_answer=on_answer)
    assert [seen.request for seen in found] == [prompt.name for prompt in prompts]
    assert sorted(landed) == sorted(prompt.name for prompt in prompts)
    assert all(seen.right(prompt) and seen.seconds > 0 for seen, prompt in zip(found, prompts, strict=True))


def test_a_wave_meets_in_one_pass_and_a_single_caller_does_not(serve: Serve) -> None:
    server, prompts = serve()
    pictures = [len(prompt.pictures) for prompt in prompts]
    wave = ask_all(server, prompts, concurrency=8, arrival="waves")
    assert max(seen.encoder_batch for seen in wave) > max(pictures)
    alone = ask_all(server, prompts, concurrency=1)
    assert [seen.encoder_batch for seen in alone] == pictures


def test_a_server_that_does_not_answer_is_told_from_one_that_died(serve: Serve) -> None:
    server, prompts = serve("--delay", "20", request_timeout=0.5)
    with pytest.raises(TargetDied, match=r"did not answer while answering request p0 .*--request-timeout allows more"):
        ask_all(server, prompts[:1], concurrency=1)


def test_a_dead_server_is_told_with_its_exit(serve: Serve) -> None:
    server, prompts = serve("--dies-after", "2")
    with pytest.raises(TargetDied, match=r"(?s)ended with exit code 3.*told to die"):
        ask_all(server, prompts, concurrency=2)


def test_what_the_server_refuses_is_an_observation(serve: Serve) -> None:
    server, prompts = serve("--plant", "F1-01", "--slice-rows", "1")
    found = ask_all(server, prompts, concurrency=8, arrival="waves")
    refused = [seen for seen in found if not seen.ok]
    assert refused
    assert all(seen.status == 500 and seen.mismatch is not None for seen in refused)
