"""Runs requests on an engine in this process, and writes down what came of each, whatever the engine does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.differential.cases import Case
from harness.differential.seen import Choice, Seen
from reference_engine import Engine, Request, RequestError

STEPS_BEYOND = 60
"""Steps a run may take beyond one for every token there is."""
NO_ANSWER = 0


def ask(engine: Engine, case: Case, **more: Any) -> Seen:
    """One case by itself, caches emptied before."""
    engine.flush_cache()
    return ask_all(engine, [case], **more)[case.name]


def ask_all(
    engine: Engine, cases: Sequence[Case], *, apart: int = 0, after_step: Callable[[Engine], None] | None = None,
    **more: Any,
) -> dict[str, Seen]:  # fmt: skip
    """All cases as one continuous batch, each submitted ``apart`` steps after the one before."""
    return Run(engine, [(i * apart, case) for i, case in enumerate(cases)], after_step, more).to_the_end()


class Run:
    def __init__(
        self, engine: Engine, arrivals: Sequence[tuple[int, Case]], after_step: Callable[[Engine], None] | None,
        more: Mapping[str, Any],
    ) -> None:  # fmt: skip
        self.engine = engine
        self.seen: dict[str, Seen] = {}
        self._arrivals, self._after_step, self._more = list(arrivals), after_step, more
        self._unfinished: dict[str, int] = {}
        """Choices of each request that are still to come."""
        self._choices: dict[tuple[str, int], Choice] = {}
        self._allowed = STEPS_BEYOND

    def to_the_end(self) -> dict[str, Seen]:
        step = 0
        while self._arrivals or self._unfinished:
            while self._arrivals and self._arrivals[0][0] <= step:
                self._submit(self._arrivals.pop(0)[1])
            if step > self._allowed + (self._arrivals[-1][0] if self._arrivals else 0):
                self._give_up(f"no answer after {step} steps")
                break
            if not self._step():
                break
            step += 1
        return self.seen

    def _submit(self, case: Case) -> None:
        try:
            request = case.request(**self._more)
            self.engine.submit(request)
        except RequestError as error:
            self.seen[case.name] = Seen(error.status, str(error))
        except Exception as error:
            self.seen[case.name] = Seen(500, f"{type(error).__name__}: {error}")
        else:
            self._expect(request)

    def _expect(self, request: Request) -> None:
        name, count = request.request_id, request.sampling.n
        self.seen[name] = Seen(NO_ANSWER, "no answer", [Choice() for _ in range(count)])
        self._unfinished[name] = count
        lives = self.engine._live.get(name, [])
        self._allowed += sum(live.prompt_length + request.sampling.max_new_tokens for live in lives)

    def _step(self) -> bool:
        try:
            outputs = self.engine.step()
            if self._after_step is not None:
                self._after_step(self.engine)
        except Exception as error:
            self._give_up(f"the engine stopped: {type(error).__name__}: {error}")
            return False
        for output in outputs:
            self._take(output)
        return True

    def _take(self, output: Any) -> None:
        seen = self.seen[output.request_id]
        choice = seen.choices[output.index]
        choice.streamed_ids += output.new_ids
        choice.streamed_text += output.new_text
        choice.streamed_logprobs += [one.logprob for one in output.logprobs]
        if output.answer is None:
            return
        answer = output.answer
        choice.ids, choice.text, choice.finish = list(answer.output_ids), answer.text, answer.finish_reason
        choice.logprobs = list(answer.logprobs or ())
        seen.prompt_tokens = answer.prompt_tokens
        if answer.prompt_logprobs is not None:
            seen.prompt_logprobs = [None if one is None else one.logprob for one in answer.prompt_logprobs]
        seen.evidence = answer.evidence or seen.evidence
        self._unfinished[output.request_id] -= 1
        if answer.error is not None:
            seen.status, seen.error = answer.error.status, str(answer.error)
        elif seen.status == NO_ANSWER:
            seen.status, seen.error = 200, ""
        if not self._unfinished[output.request_id]:
            del self._unfinished[output.request_id]

    def _give_up(self, why: str) -> None:
        for name in self._unfinished:
            self.seen[name].status, self.seen[name].error = NO_ANSWER, why
        for _, case in self._arrivals:
            self.seen[case.name] = Seen(NO_ANSWER, why)
        self._unfinished.clear()
        self._arrivals.clear()
