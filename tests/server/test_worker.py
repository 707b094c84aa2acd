from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from reference_engine import Request, SamplingParams
from reference_engine.server.errors import EngineStopped
from reference_engine.server.worker import EngineWorker, Prepared


@asynccontextmanager
async def running(engine: Any) -> AsyncIterator[EngineWorker]:
    worker = EngineWorker(engine)
    worker.start()
    try:
        yield worker
    finally:
        engine.go.set()
        await worker.stop()
        assert not worker.alive
        assert engine.closed == 1


def prepared(engine: Any, *texts: str, new: int = 50) -> list[Prepared]:
    requests = [Request(f"{i}-{text}", text=text, sampling=SamplingParams(new)) for i, text in enumerate(texts)]
    return [Prepared(request, engine.prepare(request)) for request in requests]


async def ask(worker: EngineWorker, work: Sequence[Prepared]) -> list[str]:
    return [answer.text for answer in await worker.run(work).answers()]


def test_all_of_the_engine_runs_in_one_thread_and_answers_find_their_callers(echo: Any) -> None:
    async def main() -> None:
        async with running(echo) as worker:
            texts = [f"number {i}" for i in range(30)]
            found = await asyncio.gather(*(ask(worker, prepared(echo, text)) for text in texts))
            assert found == [[text] for text in texts]

    asyncio.run(main())
    assert echo.threads == {"assay-engine"}
    assert threading.current_thread().name not in echo.threads


def test_requests_that_are_submitted_together_meet_in_one_batch(echo: Any) -> None:
    async def main() -> None:
        async with running(echo) as worker:
            assert await ask(worker, prepared(echo, "abc", "abcde", "a")) == ["abc", "abcde", "a"]

    asyncio.run(main())
    assert echo.batches[0] == 3


def test_closing_a_run_aborts_only_what_still_runs(echo: Any) -> None:
    async def main() -> None:
        async with running(echo) as worker:
            run, other = worker.run(prepared(echo, "ab", "a long one")), prepared(echo, "x", "y", "another")[2:]
            finished = [output async for output in _until_answer(run)]
            assert finished[-1].request_id == "0-ab"
            run.close()
            assert await ask(worker, other) == ["another"]

    asyncio.run(main())
    assert echo.aborted in ([], ["1-a long one"])
    assert "0-ab" not in echo.aborted


async def _until_answer(run: Any) -> AsyncIterator[Any]:
    async for output in run:
        yield output
        if output.answer is not None:
            return


def test_a_refusal_on_submission_is_that_requests_answer(echo: Any) -> None:
    async def main() -> None:
        async with running(echo) as worker:
            fine, refused = await worker.run(prepared(echo, "fine", "refuse me")).answers()
            assert fine.text == "fine"
            assert refused.error.message == "refused on submission"

    asyncio.run(main())


@pytest.mark.parametrize("texts", [("die",), ("fine", "die", "fine too")])
def test_when_the_thread_dies_everybody_hears_of_it(echo: Any, texts: tuple[str, ...]) -> None:
    async def main() -> None:
        async with running(echo) as worker:
            echo.go.clear()
            runs = [worker.run(work) for text in texts for work in [prepared(echo, text)]]
            later = asyncio.gather(*(run.answers() for run in runs), return_exceptions=True)
            echo.go.set()
            found = await asyncio.wait_for(later, 10)
            assert any(isinstance(f, EngineStopped) and "ZeroDivisionError: the echo" in str(f) for f in found)
            assert all(isinstance(f, (EngineStopped, list)) for f in found)
            assert not worker.alive
            with pytest.raises(EngineStopped, match="told to die"):
                worker.run(prepared(echo, "late"))

    asyncio.run(main())


def test_stopping_tells_those_who_wait(echo: Any) -> None:
    async def main() -> None:
        async with running(echo) as worker:
            echo.go.clear()
            waiting = asyncio.ensure_future(worker.run(prepared(echo, "patience")).answers())
            await asyncio.sleep(0.05)
            stopping = asyncio.ensure_future(worker.stop())
            await asyncio.sleep(0.05)
            echo.go.set()
            await stopping
            with pytest.raises(EngineStopped, match="shutting down"):
                await asyncio.wait_for(waiting, 10)

    asyncio.run(main())


def test_every_choice_is_delivered_in_order_and_one_abort_ends_them_all(echo: Any) -> None:
    def three(text: str) -> Prepared:
        request = Request(f"three {text}", text=text, sampling=SamplingParams(50, n=3))
        return Prepared(request, echo.prepare(request))

    async def main() -> None:
        async with running(echo) as worker:
            answers = await worker.run([three("fail"), three("refuse")]).answers()
            assert [(a.index, a.finish_reason) for a in answers[:3]] == [(0, "length"), (1, "length"), (2, "error")]
            assert [(a.index, a.error.message) for a in answers[3:]] == [(i, "refused on submission") for i in range(3)]
            echo.go.clear()
            worker.run([three("a long one")]).close()
            echo.go.set()
            assert await ask(worker, prepared(echo, "x")) == ["x"]

    asyncio.run(main())
    assert echo.aborted == ["three a long one"] * 3
