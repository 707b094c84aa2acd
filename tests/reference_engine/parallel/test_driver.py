"""Two processes answer as one does; they end with the engine; a rank that dies is an error that says so."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from reference_engine import ConfigError, Engine, EngineConfig
from reference_engine.parallel.driver import WorkerLost

pytestmark = pytest.mark.slow


@pytest.fixture
def spread(lively: Any) -> Iterator[Engine]:
    config = EngineConfig(model=str(lively.path), num_blocks=256, tensor_parallel=2, chunked_prefill=11)
    engine = Engine(config)
    yield engine
    engine.close()
    assert not multiprocessing.active_children()


def test_greedy_output_is_that_of_one_process(spread: Engine, lively: Any, make_cases: Any) -> None:
    cases = make_cases(8, seed=21, max_images=2)
    answers = spread.generate([case.request(str(i)) for i, case in enumerate(cases)])
    assert len(multiprocessing.active_children()) == 1
    assert [a.error for a in answers] == [None] * len(cases)
    assert [a.output_ids for a in answers] == [lively.oracle.generate(case).ids for case in cases]


def test_a_rank_that_dies_ends_the_engine(spread: Engine, make_cases: Any) -> None:
    [case] = make_cases(1, seed=3, max_images=0)
    [rank] = multiprocessing.active_children()
    os.kill(rank.pid, signal.SIGKILL)
    with pytest.raises(WorkerLost, match="rank 1 ended with exit code -9; start the engine anew"):
        spread.generate([case.request("first")])
    with pytest.raises(WorkerLost, match="a rank was lost earlier"):
        spread.step()


def test_what_does_not_go_together_is_refused(lively: Any) -> None:
    config = EngineConfig(model=str(lively.path), tensor_parallel=2)
    with pytest.raises(ConfigError, match="tensor_parallel: 2 does not go with cuda_graph"):
        Engine(replace(config, cuda_graph=True))
    with pytest.raises(ConfigError, match="tensor_parallel: 3 does not divide"):
        Engine(replace(config, tensor_parallel=3))
    assert not multiprocessing.active_children()
