"""Replayed comparisons: what they keep of the recording, and that false promises turn the command red."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from harness.checks.performance import CPU_TIME, METRICS
from harness.cli import main
from harness.error_rates import cli
from harness.error_rates.cli import SLOWED, UNCHANGED
from harness.error_rates.recording import Pair, read_pairs
from harness.error_rates.replay import BLOCK, draw_blocks, real_comparisons, replay
from harness.error_rates.rules import RULES, signed_rank_joint
from harness.error_rates.slowed import slowed

RECORDED = Path(__file__).parents[3] / "results" / "ab"
FIGURES = {"throughput": 100.0, "TTFT": 0.2, "ITL": 0.02, "CPU time": 2.0, "peak memory": 500.0}


def write_recording(file: Path, *, noise: float, slower: float = 0.0, pairs: int = 60) -> None:
    """Two launches of pairs with ``noise``, the candidate ``slower`` by a share."""
    rng, lines = np.random.default_rng(1), []
    for launch in range(2):
        for number in range(pairs):
            sides = [
                {name: value * float(np.exp(noise * rng.normal())) for name, value in FIGURES.items()} for _ in "AB"
            ]
            sides[1]["throughput"] *= 1 - slower
            sides[1]["CPU time"] /= 1 - slower
            lines.append(json.dumps(asdict(Pair(launch, 2.0 * (number + 1), *sides))))
    file.write_text("\n".join(lines) + "\n")


def test_blocks_are_of_one_launch_and_in_its_order() -> None:
    rows = draw_blocks([30, 50], 40, 55, seed=0)
    assert rows.shape == (40, 55)
    for row in rows:
        assert len(set(row < 30)) == 1
        steps = np.diff(row[: 5 * BLOCK].reshape(5, BLOCK), axis=1)
        assert set(np.unique(steps)) <= {1, -29, -49}
    assert len({bool(row[0] < 30) for row in rows}) == 2


def test_a_recording_that_leans_to_one_side_is_no_false_regression_replayed_but_one_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    write_recording(file, noise=0.02, slower=0.10)
    recorded = read_pairs(file)
    _, red, seen = replay(recorded, comparisons=20)
    assert (red, seen) == (0.0, 1.0)
    assert {real.finding.outcome for real in real_comparisons(recorded, [CPU_TIME])} == {"regressed"}


def test_the_command_tells_what_it_promises_and_what_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "compare_rules", lambda seed: [])
    write_recording(tmp_path / UNCHANGED, noise=0.02)
    write_recording(tmp_path / SLOWED, noise=0.02, slower=0.10)
    line = ["ab-check", "--out", str(tmp_path), "--comparisons", "5", "--quiet"]
    assert main(line) == 0
    table = (tmp_path / "error-rates.md").read_text()
    assert "- kept: 10% slowdown planted in a real server, found: 2 of 2" in table
    assert table in capsys.readouterr().out
    write_recording(tmp_path / SLOWED, noise=0.02)
    assert main(line) == 1
    assert "- **NOT KEPT**: 10% slowdown planted in a real server, found: 0 of 2" in capsys.readouterr().out
    write_recording(tmp_path / UNCHANGED, noise=0.02, slower=0.10)
    assert main(line) == 1
    assert "- **NOT KEPT**: false regressions, any figure of 2 real comparisons: 4" in capsys.readouterr().out
    (tmp_path / SLOWED).unlink()
    assert main(line) == 2


def test_the_published_recordings_keep_the_promises() -> None:
    """Few comparisons of them; ``assay ab-check`` replays 200."""
    recorded = read_pairs(RECORDED / UNCHANGED)
    assert len(recorded) >= 5
    _, red, seen = replay(recorded, comparisons=15, seed=3)
    assert (red, seen) == (0.0, 1.0)
    assert all(real.finding.outcome != "regressed" for real in real_comparisons(recorded, METRICS))


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if rule is not signed_rank_joint])
def test_every_rule_decides_what_is_plain(name: str) -> None:
    rng = np.random.default_rng(0)
    rows = 0.01 * rng.normal(size=(3, 400))
    assert {outcome for outcome, _ in RULES[name](rows)} == {"not_regressed"}
    assert {outcome for outcome, _ in RULES[name](rows + np.log(0.5))} == {"regressed"}
    assert {outcome for outcome, _ in RULES[name](np.log(0.95) + 50 * rows)} == {"inconclusive"}


def test_a_slowed_step_costs_processor_time_in_proportion() -> None:
    def step(engine: object) -> str:
        until = time.thread_time() + 0.03
        while time.thread_time() < until:
            pass
        return "outputs"

    started = time.thread_time()
    assert slowed(step, 0.5)(None) == "outputs"
    assert time.thread_time() - started >= 0.06
