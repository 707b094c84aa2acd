from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.errors import UsageError
from harness.load.arrivals import ARRIVALS, Rate, Recorded, read_trace


def times(name: str, asked: Rate, seed: int = 0) -> list[float]:
    return ARRIVALS[name](asked, np.random.default_rng(seed))


@pytest.mark.parametrize("name", ["constant", "poisson", "bursty"])
def test_the_mean_rate_is_the_one_asked_for(name: str) -> None:
    found = times(name, Rate(50, 200))
    assert len(found) == pytest.approx(10_000, rel=0.05)
    assert found == sorted(found)
    assert found[0] >= 0
    assert found[-1] < 200
    assert found == times(name, Rate(50, 200))


def test_kinds_differ_in_how_even_their_gaps_are() -> None:
    variation = {}
    for name in ("constant", "poisson", "bursty"):
        gaps = np.diff(times(name, Rate(50, 200, shape=0.25)))
        variation[name] = gaps.std() / gaps.mean()
    assert variation["constant"] < 1e-9
    assert variation["poisson"] == pytest.approx(1.0, abs=0.05)
    assert variation["bursty"] == pytest.approx(2.0, abs=0.2)


def test_a_ramp_begins_and_ends_at_its_rates() -> None:
    found = np.array(times("ramp", Rate(20, 100, end_rate=180)))
    counts = np.histogram(found, bins=10, range=(0, 100))[0] / 10
    assert counts == pytest.approx(np.linspace(28, 172, 10), rel=0.2)
    down = np.array(times("ramp", Rate(40, 100, end_rate=0)))
    assert len(down[down < 50]) == pytest.approx(3 * len(down[down >= 50]), rel=0.2)
    assert len(times("ramp", Rate(30, 100, end_rate=30))) == pytest.approx(3000, rel=0.1)


@pytest.mark.parametrize(("field", "value"), [("rate", 0.0), ("duration", -1.0), ("shape", float("nan"))])
def test_a_rate_that_is_none_is_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"--{field} {value:g}: a number above 0"):
        Rate(**{"rate": 1.0, "duration": 1.0, field: value})


def test_a_trace_is_read_as_recorded(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text(
        '{"at": 0, "prompt_tokens": 80, "output_tokens": 16, "images": [[365, 211], [28, 28]]}\n\n'
        '{"at": 0.5, "prompt_tokens": 9, "output_tokens": 1}\n'
    )
    assert read_trace(trace) == [Recorded(0.0, 80, 16, ((365, 211), (28, 28))), Recorded(0.5, 9, 1)]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("", "holds no request"),
        ("{}", "trace.jsonl:1: at is missing"),
        ('{"at": 1, "prompt_tokens": 0, "output_tokens": 1}', ":1: a time from 0 up"),
        ('{"at": 1, "prompt_tokens": 1, "output_tokens": 1, "images": [[0, 4]]}', ":1: a time from 0 up"),
        ("[1]", ":1: .list. object has no"),
        (
            '{"at": 1, "prompt_tokens": 1, "output_tokens": 1}\n{"at": 0, "prompt_tokens": 1, "output_tokens": 1}',
            "do not ascend",
        ),
    ],
)
def test_a_trace_that_is_none_is_told_with_its_line(tmp_path: Path, lines: str, words: str) -> None:
    trace = tmp_path / "trace.jsonl"
    trace.write_text(lines)
    with pytest.raises(UsageError, match=words):
        read_trace(trace)
