"""A subject and its oracle on one checkpoint: engines by their settings, and what each case gave alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from harness.differential.cases import Case, make_cases
from harness.differential.forms import Form, forms_of, poisoned
from harness.differential.models import Model
from harness.differential.open_picks import note, noted
from harness.differential.running import ask
from harness.differential.seen import Seen, leave_open
from reference_engine import Engine, EngineConfig

FORMED = ("text-1", "one", "three")
SCORED = ("text-2", "three")
POOL = 512
"""Blocks, enough for all cases at once."""


@dataclass
class Oracle:
    """What an engine that is trusted answers to each case alone, with empty caches; without and with evidence."""

    model: Model
    seed: int
    cases: Sequence[Case]
    plain: dict[str, Seen]
    with_evidence: dict[str, Seen]
    forms: Sequence[Form]
    poisoned: Sequence[Case]
    scores: dict[tuple[str, int], Seen]
    """Cases with the log-probabilities of their prompt from a position on."""

    @classmethod
    def of(cls, model: Model, seed: int) -> Oracle:
        cases = make_cases(model, seed)
        engine = make_engine(model, None)
        plain = {case.name: _ask(engine, case) for case in cases}
        evident = {case.name: _ask(engine, case, want_evidence=True) for case in cases if case.group == "plain"}
        formed = [case for case in cases if case.name in FORMED]
        forms = [form for case in formed for form in forms_of(engine, case)]
        plain |= {form.case.name: _ask(engine, form.case) for form in forms if not form.like}
        bad = [made for case in formed if (made := poisoned(engine, case)) is not None]
        scored = [case for case in cases if case.name in SCORED]
        scores = {
            (case.name, start): _ask(engine, case, logprob_start=start)
            for case in scored
            for start in starts(plain[case.name].prompt_tokens)
        }
        return cls(model, seed, cases, plain, evident, forms, bad, scores)


@lru_cache(maxsize=16)
def oracle_of(model: Model, seed: int) -> Oracle:
    """The same for every suite that wants it."""
    return Oracle.of(model, seed)


def _ask(engine: Engine, case: Case, **more: Any) -> Seen:
    with noted(engine) as picks:
        return note(ask(engine, case, **more), picks)


def starts(length: int) -> tuple[int, ...]:
    return 0, length // 2, length


def make_engine(model: Model, plant: str | None, **settings: Any) -> Engine:
    return Engine(EngineConfig(model=model.name, plant=plant, **{"num_blocks": POOL} | settings))


class Bench:
    def __init__(self, oracle: Oracle, plant: str | None = None, engines: dict[str, Engine] | None = None) -> None:
        """``engines`` of an earlier bench on the same checkpoint, with the same ``plant``, serve once more."""
        self.oracle = oracle
        self.plant = plant
        self._engines = {} if engines is None else engines

    @property
    def model(self) -> Model:
        return self.oracle.model

    def engine(self, **settings: Any) -> Engine:
        """The subject with these settings, idle, its caches empty. One that is not idle any more is made anew."""
        key = repr(sorted(settings.items()))
        if key in self._engines and not self._usable(self._engines[key]):
            del self._engines[key]
        if key not in self._engines:
            self._engines[key] = make_engine(self.model, self.plant, **settings)
        return self._engines[key]

    @staticmethod
    def _usable(engine: Engine) -> bool:
        if engine.has_work():
            return False
        try:
            engine.check_integrity()
            engine.flush_cache()
        except Exception:
            return False
        return True

    def cases(self, group: str = "plain", having: str = "") -> list[Case]:
        """Of a group, those whose names begin so."""
        return [case for case in self.oracle.cases if case.group == group and case.name.startswith(having)]

    @cached_property
    def pictured(self) -> list[Case]:
        """Plain cases with images or videos."""
        return [case for case in self.cases() if {"images", "videos"} & set(case.make())]

    @cached_property
    def alone(self) -> Alone:
        """What the subject itself answers to each plain case alone; asked when it is looked up."""
        return Alone(self)


class Alone(dict[str, Seen]):
    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self._bench = bench
        self._cases = {case.name: case for case in bench.cases()}

    def __missing__(self, name: str) -> Seen:
        seen = ask(self._bench.engine(), self._cases[name])
        self[name] = leave_open(seen, self._bench.oracle.plain[name])
        return self[name]
