"""Whatever the toggles say, greedy output is the same.

Pairs of settings in the default suite (every setting of a toggle meets every setting of every other one), all
combinations of what meets in a step in the slow one. What is wanted comes from transformers' ``generate``, not from
another setting of ours.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_type_hints

import pytest
from allpairspy import AllPairs

from reference_engine import EngineConfig

NEEDS_COMPILER = "compile"
"""Compiling takes minutes on a CPU: off in every combination but one of the slow suite."""
OF_TEXT = ("avoid_retokenize", "reuse_processor_output", "native_decode", "skip_tokenizer_init")
SIZES = {"chunked_prefill": (0, 7)}
"""Settings of toggles that are numbers."""


def settings_of(toggle: str) -> tuple[Any, ...]:
    if toggle == NEEDS_COMPILER:
        return (False,)
    hint = get_type_hints(EngineConfig)[toggle]
    return (False, True) if hint is bool else SIZES.get(toggle) or get_args(hint)


def is_possible(settings: Mapping[str, Any]) -> bool:
    """Without a tokenizer ids cannot be decoded and tokenized again: that pair is refused when an engine is made."""
    return not settings.get("skip_tokenizer_init") or settings["avoid_retokenize"]


def pairs() -> list[dict[str, Any]]:
    names = EngineConfig.toggles()

    def fits(row: list[Any]) -> bool:
        chosen = dict(zip(names, row, strict=False))
        return is_possible({"avoid_retokenize": True} | chosen)

    rows = AllPairs([settings_of(name) for name in names], filter_func=fits)
    found = [dict(zip(names, row, strict=True)) for row in rows]
    defaults = EngineConfig().toggle_settings() | {NEEDS_COMPILER: False}
    for pair in possible_pairs():  # a filter makes AllPairs miss some
        if not any(pair.items() <= row.items() for row in found):
            found.append({name: (defaults | pair)[name] for name in names})
    return found


def possible_pairs() -> Iterator[dict[str, Any]]:
    for a, b in itertools.combinations(EngineConfig.toggles(), 2):
        for x, y in itertools.product(settings_of(a), settings_of(b)):
            if is_possible({"avoid_retokenize": True, a: x, b: y}):
                yield {a: x, b: y}


def combinations() -> Iterator[dict[str, Any]]:
    """Every combination of the toggles that meet in a step. Those that only concern how a prompt is read and an answer
    written act before and after it: their combinations take turns.
    """
    steps = [name for name in EngineConfig.toggles() if name not in OF_TEXT]
    texts = [dict(zip(OF_TEXT, row, strict=True)) for row in itertools.product(*map(settings_of, OF_TEXT))]
    turns = itertools.cycle(filter(is_possible, texts))
    for row in itertools.product(*map(settings_of, steps)):
        yield dict(zip(steps, row, strict=True)) | next(turns)


@pytest.fixture(scope="module")
def wanted(lively: Any, make_cases: Any) -> tuple[list[Any], list[list[int]]]:
    """Requests that go out as the tokenizer's own ids, two of them twice, so that caches are hit; and the answers."""
    cases = make_cases(10, seed=41, max_images=3)
    cases += cases[:2]
    return cases, [lively.oracle.generate(case).ids for case in cases]


def check(lively: Any, wanted: tuple[list[Any], list[list[int]]], settings: dict[str, Any]) -> None:
    cases, expected = wanted
    engine = lively.engine(**settings)
    for name in ("cold", "warm"):
        requests = [
            case.request(f"{name}-{i}", text=None, input_ids=lively.oracle.tokenizer(case.text)["input_ids"])
            for i, case in enumerate(cases)
        ]
        answers = engine.generate(requests)
        assert [answer.error for answer in answers] == [None] * len(cases)
        assert [answer.output_ids for answer in answers] == expected, name
    lively.engines.clear()


def name_of(settings: Mapping[str, Any]) -> str:
    return ",".join(f"{name}={value}" for name, value in settings.items())


@pytest.mark.parametrize("settings", pairs(), ids=name_of)
def test_pairs(lively: Any, wanted: Any, settings: dict[str, Any]) -> None:
    check(lively, wanted, settings)


def test_pairs_are_all_there() -> None:
    """Guards the list above: every possible pair of settings stands in some row, and every row is possible."""
    rows = pairs()
    assert all(is_possible(row) for row in rows)
    assert [pair for pair in possible_pairs() if not any(pair.items() <= row.items() for row in rows)] == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_combinations(lively: Any, wanted: Any) -> None:
    wrong = []
    for settings in combinations():
        try:
            check(lively, wanted, settings)
        except AssertionError as error:
            wrong.append(f"{name_of(settings)}: {str(error).splitlines()[0]}")
    assert wrong == []
