"""A worker in a Python of its own: calls, refusals in the engine's words, what it cannot be asked, and its death."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.implementations import remote
from harness.implementations.base import Expansion, Positions, Refusal, Segment, Unsupported

FUNCTIONS = """
from loop import Unsupported
VERSION, OFFERS = "3.1", ("expand_ids", "pad_ids", "split_rows", "place_segments")
FAMILIES = {"place_segments": ["toy_vl"]}
def place_segments(family, segments):
    return [[[length] for kind, length, grid, seconds in segments], len(family)]
def expand_ids(ids, placeholder, replacements):
    print("noise of the engine")
    return [[*ids, placeholder], [[[0, 1]]]]
def pad_ids(ids, items):
    raise Unsupported("pads nothing") if items else ValueError("no items")
def split_rows(rows, counts, placeholders):
    import os
    os._exit(7)
"""


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> remote.Implementation:
    (tmp_path / "loop.py").write_text((remote.WORKERS / "loop.py").read_text())
    (tmp_path / "toy_functions.py").write_text(FUNCTIONS)
    monkeypatch.setattr(remote, "WORKERS", tmp_path)
    return remote.remote_implementation("toy", sys.executable)


def test_functions_are_called_in_the_worker(engine: remote.Implementation) -> None:
    assert (engine.name, engine.version) == ("toy", "3.1")
    assert engine.supported() == ("expand_ids", "pad_ids", "split_rows", "place_segments")
    assert engine.expand_ids is not None
    assert engine.expand_ids([1], 7, []) == Expansion([1, 7], [[(0, 1)]])


def test_segments_and_families_cross_over(engine: remote.Implementation) -> None:
    assert engine.place_segments is not None
    [family] = engine.families["place_segments"]
    assert engine.place_segments(family, [Segment("text", 4)], 2) == Positions([[4]], 6)


def test_refused_and_unsupported_are_told_apart(engine: remote.Implementation) -> None:
    assert engine.pad_ids is not None
    with pytest.raises(Refusal, match="ValueError: no items"):
        engine.pad_ids([1], [])
    with pytest.raises(Unsupported, match="pads nothing"):
        engine.pad_ids([1], [([], 5)])


def test_a_dead_worker_says_how_it_ended(engine: remote.Implementation) -> None:
    assert engine.split_rows is not None
    with pytest.raises(remote.WorkerDied, match="exit code 7"):
        engine.split_rows([], [], [])


def test_a_python_that_is_not_there_is_an_import_error() -> None:
    with pytest.raises(ImportError, match="no-such-python"):
        remote.remote_implementation("sglang", "no-such-python")


def test_an_engine_that_is_not_installed_is_an_import_error() -> None:
    with pytest.raises(ImportError, match="No module named"):
        remote.remote_implementation("sglang", sys.executable)
